"""Cells as lines of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches import cells

ODD = st.text(st.sampled_from("\\\t\n\rtnr ab\u2028\v\f\x1a\x85"), max_size=8)
ROWS = st.lists(st.lists(ODD | st.text(max_size=8), max_size=4), max_size=8)


def packed(rows):
    return cells.pack(rows, sum(len(row) - 1 for row in rows if row))


@given(ROWS)
def test_all_cells_are_read_as_they_were(rows):
    lines = packed(rows)
    text = "\n".join(lines)
    assert text.split("\n") == (lines or [""])
    for row, line in zip(rows, lines, strict=True):
        assert cells.unpack(line, len(row)) == row
        assert cells.unpack(line, 5) == row + [""] * (5 - len(row))


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([], []),
        ([[], ["a"], ["a", ""]], ["", "a", "a\t"]),
        ([["a b", "ü,"]], ["a b\tü,"]),
        ([["a\tb", "c"], ["d", "\\t"]], [r"a\tb" "\tc", "d\t" r"\\t"]),
        ([["a\r\nb"]], [r"a\r\nb"]),
    ],
)
def test_only_what_must_be_is_escaped(rows, lines):
    assert packed(rows) == lines


def test_no_more_cells_are_read_than_asked_for():
    assert cells.unpack("a\tb\tc", 2) == ["a", "b"]
