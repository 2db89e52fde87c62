"""Writes the cells of a row as one line of text, for many rows at once, and reads them again."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Between the cells of a row, and between rows, once all cells are escaped.
CELL_END, ROW_END = "\t", "\n"
_ESCAPES = {"\\": r"\\", CELL_END: r"\t", ROW_END: r"\n", "\r": r"\r"}
_ESCAPED = {written: character for character, written in _ESCAPES.items()}
_WRITTEN = re.compile(r"\\[\\tnr]")
_TABLE = str.maketrans(_ESCAPES)
# Characters that a cell can't have as they are, besides CELL_END.
ESCAPED = ("\\", ROW_END, "\r")


def pack(rows: Sequence[Sequence[str]], ends: int) -> list[str]:
    """Return the cells of each row in one line, with CELL_END between them.

    Cells seldom need escapes, and one look at all of them together is faster than one at each.

    ends: the CELL_ENDs that come between the cells of all rows.
    """
    lines = [*map(CELL_END.join, rows)]
    together = "".join(lines)
    if together.count(CELL_END) != ends or any(each in together for each in ESCAPED):
        return [CELL_END.join(cell.translate(_TABLE) for cell in row) for row in rows]
    return lines


def unpack(line: str, count: int) -> list[str]:
    """Return the first `count` cells of a line of chunk.cells; a missing cell is empty."""
    cells = line.split(CELL_END)[:count]
    if "\\" in line:
        cells = [_WRITTEN.sub(lambda found: _ESCAPED[found[0]], cell) for cell in cells]
    return cells + [""] * (count - len(cells))
