import random
from contextlib import closing

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batches import duplicates, hashes
from batches.duplicates import AddressSet
from runtime.texts import Texts


def repeated(parts):
    """What the set says of keys that come in these parts, each from a line ten times its place."""
    found, place = {}, 0
    with closing(AddressSet()) as seen:
        for part in parts:
            lines = np.arange(10 * place, 10 * (place + len(part)), 10)
            said = seen.add(Texts.of(part), lines)
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


@example([["a", "a"], ["a"]], 0)
@given(st.lists(st.lists(KEYS, max_size=12), max_size=6), st.sampled_from([0, 1, 15, 100]))
def test_says_which_keys_were_there_before_and_where(parts, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "FEW", few)
        assert repeated(parts) == expected(parts)


def test_few_that_are_long_are_not_kept_in_memory():
    with closing(AddressSet()) as seen:
        assert seen.add(Texts.of(["a" * 130_000]), np.array([1])) == {}
        assert seen._many is None
        assert seen.add(Texts.of([each * 130_000 for each in "abcdefgh"]), np.arange(2, 10)) == {
            0: 1
        }
        assert seen._many is not None
        assert not seen._few


@pytest.mark.parametrize("different", [1, 50, 3_000, 10**9])
def test_of_many_too(different):
    rng = random.Random(7)
    keys = [f"user{rng.randrange(different)}@x.de" for _ in range(30_000)]
    parts = [keys[start : start + 1234] for start in range(0, len(keys), 1234)]
    assert repeated(parts) == expected(parts)


def test_keys_with_the_same_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(duplicates, "FEW", 0)
    monkeypatch.setattr(duplicates, "hash", len, raising=False)
    parts = [
        [str(number % 700) for number in range(start, start + 100)] for start in range(0, 900, 90)
    ]
    assert repeated(parts) == expected(parts) != {}


@pytest.mark.parametrize("alike", [hash, lambda key: hash(key) % 50 << 32])
@pytest.mark.parametrize("most", [1, 100, 2_500])
def test_what_went_to_the_disk_is_found_too(monkeypatch, most, alike):
    monkeypatch.setattr(duplicates, "hash", alike, raising=False)
    monkeypatch.setattr(hashes, "_MOST", most)
    monkeypatch.setattr(hashes, "_AT_ONCE", 700)
    rng = random.Random(8)
    keys = [f"user{rng.randrange(5_000)}@x.de" for _ in range(6_000)]
    parts = [keys[start : start + 77] for start in range(0, len(keys), 77)]
    assert repeated(parts) == expected(parts)


def test_takes_no_more_memory_for_more_keys():
    def held(seen):
        known = seen._many._hashes
        return sum(array.nbytes for array in (known._filter, known._index, *known._runs))

    with closing(AddressSet()) as seen:
        sizes, lines = [], np.arange(10_000)
        for start in range(0, 3_000_000, 10_000):
            seen.add(Texts.of([f"{n}@example.com" for n in range(start, start + 10_000)]), lines)
            sizes.append(held(seen))
    assert max(sizes[:100]) < 14_000_000
    assert max(sizes[100:]) < 1.02 * max(sizes[:100])
