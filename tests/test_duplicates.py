import random
from tempfile import TemporaryFile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import duplicates
from duplicates import Seen


def repeated(parts):
    """What Seen says of keys that come in these parts, each from a line ten times its place."""
    found, place = {}, 0
    with TemporaryFile() as keys_file, TemporaryFile() as records_file:
        seen = Seen(keys_file, records_file)
        for part in parts:
            lines = range(10 * place, 10 * (place + len(part)), 10)
            said = seen.add(part, lines)
            found |= {place + position: line for position, line in said.items()}
            place += len(part)
    return found


def expected(parts):
    first, found = {}, {}
    for place, key in enumerate(key for part in parts for key in part):
        if first.setdefault(key, place) != place:
            found[place] = 10 * first[key]
    return found


KEYS = st.sampled_from(["a", "ab", "b", "ba", "aba", "ü", "üü", "ü\n", "", "\ud7ff", "x" * 300])


@settings(deadline=None)
@example([["a", "a"], ["a"]])
@given(st.lists(st.lists(KEYS, max_size=12), max_size=6))
def test_says_which_keys_were_there_before_and_where(parts):
    assert repeated(parts) == expected(parts)


@pytest.mark.parametrize("different", [1, 50, 3_000, 10**9])
def test_of_many_too(different):
    rng = random.Random(7)
    keys = [f"user{rng.randrange(different)}@x.de" for _ in range(30_000)]
    parts = [keys[start : start + 1234] for start in range(0, len(keys), 1234)]
    assert repeated(parts) == expected(parts)


def test_keys_with_the_same_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(duplicates, "hash", len, raising=False)
    monkeypatch.setattr(duplicates, "_SLOTS", 4)
    parts = [
        [str(number % 700) for number in range(start, start + 100)] for start in range(0, 900, 90)
    ]
    assert repeated(parts) == expected(parts) != {}


def test_takes_ten_or_so_bytes_a_key():
    with TemporaryFile() as keys_file, TemporaryFile() as records_file:
        seen = Seen(keys_file, records_file)
        for start in range(0, 1_000_000, 10_000):
            seen.add(
                [f"a.rather.long.address.{n}@example.com" for n in range(start, start + 10_000)],
                range(10_000),
            )
        arrays = [value for value in vars(seen).values() if hasattr(value, "nbytes")]
        assert sum(array.nbytes for array in arrays) < 14_000_000
