"""Many texts in one piece of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.texts import Texts, count, places_of

TEXTS = st.lists(
    st.sampled_from(["", "a", "b@x.de", "\n", "a\n\nb", "ü", "İ", "Σ", "ΑΣ"]), max_size=8
)


@given(TEXTS)
def test_all_are_there(each):
    texts = Texts.of(each)
    assert len(texts) == len(each)
    assert texts.strings() == each == [texts[n] for n in range(len(each))]
    assert texts.are_lines == (not any("\n" in text for text in each))
    assert texts.lengths.tolist() == [len(text.encode()) for text in each]
    assert Texts(texts.content, texts.ends).each == [text.encode() for text in each]


@given(TEXTS)
def test_each_is_lowered_by_itself(each):
    assert Texts.of(each).lowered().strings() == [text.lower() for text in each]


@given(TEXTS, st.integers(0, 8), st.integers(0, 8))
def test_parts_and_what_is_joined_are_like_those_of_lists(each, start, stop):
    texts = Texts.of(each)
    assert texts.part(start, stop).strings() == each[start:stop]
    pieces = [texts.part(0, start), texts.part(start, len(each)), Texts.of(each)]
    assert Texts.joined(pieces).strings() == each + each


@given(TEXTS, st.dictionaries(st.integers(0, 7), TEXTS, max_size=4))
def test_any_number_of_texts_takes_the_place_of_one(each, new):
    new = {n: new[n] for n in sorted(new) if n < len(each)}
    due = [text for n, old in enumerate(each) for text in new.get(n, [old])]
    assert Texts.of(each).replaced(new).strings() == due


@pytest.mark.parametrize(("content", "places"), [(b"", []), (b"@", [0]), (b"a@b@", [1, 3])])
def test_the_places_of_a_byte_are_found(content, places):
    assert places_of(b"@", content).tolist() == places
    assert count(b"@", content) == len(places)
