"""Numbers of short texts are found as a dictionary finds them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors import short_texts
from processors.short_texts import LONGEST, NONE, Numbers, keys, padded

# Mostly such as differ in little.
TEXTS = st.text("ab\0é", max_size=4) | st.text("a", max_size=LONGEST) | st.text(max_size=12)


def found(numbers, texts):
    """Return what is found for these texts, which must be short enough."""
    encoded = [text.encode("utf-8") for text in texts]
    lengths = np.array([*map(len, encoded)], np.intp)
    return numbers.find(keys(padded(b"".join(encoded)), lengths.cumsum() - lengths, lengths))


@given(st.dictionaries(TEXTS, st.integers(0, 127)), st.lists(TEXTS))
def test_each_text_has_its_number_and_no_other(numbers, others):
    texts = [*numbers, *others]
    assert found(Numbers.of(numbers), texts).tolist() == [numbers.get(text, NONE) for text in texts]


@given(st.dictionaries(TEXTS, st.just(1)), st.dictionaries(TEXTS, st.just(2)))
def test_both_together_have_the_numbers_of_each_and_the_first_counts(some, others):
    both = Numbers.of(some) | Numbers.of(others)
    assert found(both, [*some, *others]).tolist() == [
        *map({**others, **some}.get, [*some, *others])
    ]
    assert len(both) == len({**others, **some})


def test_of_texts_with_the_same_hash_one_is_found(monkeypatch):
    monkeypatch.setattr(short_texts, "_hashes", lambda keys: np.zeros(len(keys), np.uint64))
    texts = ["a", "b", "c"]
    numbers = found(Numbers.of({"a": 0, "b": 1, "c": 2}), texts).tolist()
    assert sorted(numbers)[:2] == [NONE, NONE]
    assert max(numbers) in range(3)


def test_each_text_is_found_among_hashes_that_begin_with_the_same_bits(monkeypatch):
    def first_byte(keys):
        return keys.view(np.uint8)[:, 0].astype(np.uint64)

    monkeypatch.setattr(short_texts, "_hashes", first_byte)
    texts = ["a", "b", "c", "z"]
    numbers = Numbers.of({"c": 2, "a": 0, "b": 1})
    assert found(numbers, texts).tolist() == [0, 1, 2, NONE]


def test_texts_that_differ_in_few_bits_have_different_hashes():
    signs = "abcdefghijklmnopqrstuvwxyz0123456789"
    texts = [f"xab{x}efg{x}ijk{y}mno{y}xyz.com" for x in signs for y in signs]
    texts += [f"{x}{y}.com" for x in signs for y in signs]
    numbers = Numbers.of({text: at % 100 for at, text in enumerate(texts)})
    assert found(numbers, texts).tolist() == [at % 100 for at in range(len(texts))]
