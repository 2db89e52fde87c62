"""Long runs of empty rows and columns of a sheet, which are left out; and XML in pieces.

python-calamine keeps a sheet in memory as a rectangle, in which one cell far from the others takes
room for millions.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TypeVar

Row = TypeVar("Row")

# Of longer runs of empty rows and columns, all but one row or column is left out.
ROWS, COLUMNS = 1000, 100
# The most rows and columns of a sheet.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
_BLOCK = 1 << 20


class Gaps:
    """The long runs of empty rows, or of empty columns, of which all but one are left out."""

    def __init__(self, used: bytearray | None = None, longest: int = 0) -> None:
        """Find the runs.

        used: for each row or column, from 0, whether something is in it.
        longest: how many may be empty one after another.
        """
        self._ends: list[int] = []
        self._left_out: list[int] = []
        for run in re.finditer(rb"\0{%d,}" % (longest + 1), (used or b"").rstrip(b"\0")):
            self.leave_out(run.end(), run.end() - run.start() - 1)

    def leave_out(self, end: int, length: int) -> None:
        """Leave out `length` positions before `end`, which is behind all those left out so far."""
        self._ends.append(end)
        self._left_out.append(length + (self._left_out[-1] if self._left_out else 0))

    def __bool__(self) -> bool:
        return bool(self._ends)

    def moved(self, position: int) -> int:
        """Return where a position is without those that are left out."""
        run = bisect_right(self._ends, position)
        new = position - (self._left_out[run - 1] if run else 0)
        return min(new, self._ends[run] - self._left_out[run]) if run < len(self._ends) else new

    def as_json(self) -> list[tuple[int, int]]:
        """Return for each run the new position of what follows it, and how many are out before."""
        return [(end - out, out) for end, out in zip(self._ends, self._left_out, strict=True)]


def numbered(rows: Iterable[Row], left_out: Sequence[Sequence[int]]) -> Iterator[tuple[int, Row]]:
    """Yield the rows, each with the number that it has in the sheet, from 1.

    left_out: what Gaps.as_json() returned.
    """
    runs = iter([*left_out, (sys.maxsize, 0)])
    out = 0
    following, more = next(runs)
    for number, row in enumerate(rows, start=1):
        while number > following:
            out = more
            following, more = next(runs)
        yield number + out, row


def pieces(part: IO[bytes]) -> Iterator[bytes]:
    """Yield the XML of a part, cut behind rows."""
    rest: list[bytes] = []
    while block := part.read(_BLOCK):
        end = block.rfind(b"row>") + 4
        if end < 4:
            rest.append(block)
            continue
        yield b"".join((*rest, block[:end]))
        rest = [block[end:]]
    yield b"".join(rest)
