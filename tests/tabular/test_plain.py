"""Cells that are taken out of plain text without making its rows."""

from hypothesis import example, given
from hypothesis import strategies as st

from tabular.plain import PlainRows

CELL = st.text("a@ ü.", max_size=4)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=6)


def without_spaces(cell):
    """The cell without two spaces at most at each end."""
    for _ in range(2):
        cell = cell.removeprefix(" ")
        cell = cell.removesuffix(" ")
    return cell


@example([[""], ["a", "b"]], 0, ",", "")
@example([["a"], [""]], 1, ",", "")
@given(ROWS, st.integers(0, 4), st.sampled_from(",;\t"), st.sampled_from(["", "\n"]))
def test_cells_are_those_that_splitting_lines_gives(rows, column, delimiter, end):
    lines = [delimiter.join(row) for row in rows]
    text = "\n".join(lines) + ("\n" if not lines[-1] else end)
    due = [line.split(delimiter) if line else [] for line in lines]
    plain = PlainRows(text, delimiter)
    assert len(plain) == len(rows)
    assert plain.rows() == due == [plain.row(n) for n in range(len(rows))]
    assert plain.width == max(map(len, due))
    cells = [row[column] if column < len(row) else "" for row in due]
    assert plain.cells(column).strings() == [*map(without_spaces, cells)]
    for last in range(column, 5):
        spans = [delimiter.join(row[column : last + 1]) for row in due]
        assert plain.span(column, last).strings() == spans
    assert plain.span(column, None).strings() == [delimiter.join(row[column:]) for row in due]
