"""Takes cells out of plain text: each line is a row, and each delimiter ends a cell.

Most lines of most files are plain. NumPy finds the cells of a column in a third of the time that it
takes to make a string of each line and each cell.
"""

from __future__ import annotations

import numpy as np

from runtime.texts import Places, Texts, places_of

# How many spaces PlainRows.cells() takes off each end; a cell seldom has more.
_SPACES = 2


class PlainRows:
    """The rows of a plain text."""

    def __init__(self, text: str, delimiter: str) -> None:
        """Prepare for a text of whole lines; `delimiter` must be a character of ASCII."""
        self.delimiter = delimiter
        self.content = text.encode()
        if not self.content.endswith(b"\n"):
            self.content += b"\n"
        self._ends = places_of(b"\n", self.content)
        self._delimiters = places_of(delimiter.encode(), self.content)
        self._starts = np.zeros_like(self._ends)
        self._starts[1:] = self._ends[:-1] + 1
        # For each row, the first delimiter at or behind its start, as a position in _delimiters,
        # and how many delimiters the row has.
        self._first = np.searchsorted(self._delimiters, self._starts)
        self._number = np.diff(self._first, append=len(self._delimiters))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def width(self) -> int:
        """The cells of the widest row; a blank row has none."""
        most = int(self._number.max())
        return most + 1 if most or len(self.content) > len(self) else 0

    def row(self, position: int) -> list[str]:
        """Return the cells of a row."""
        return self._split(self.content[self._starts[position] : self._ends[position]].decode())

    def rows(self) -> list[list[str]]:
        """Return the cells of each row."""
        return [*map(self._split, self.content.decode().split("\n")[:-1])]

    def _split(self, line: str) -> list[str]:
        return line.split(self.delimiter) if line else []

    def cells(self, column: int) -> Texts:
        """Return each row's cell in a column, without a space or two around it.

        The cell is empty if the row is too short.
        """
        starts, ends = self._around(column, column)
        characters = np.frombuffer(self.content, np.uint8)
        for _ in range(_SPACES):
            before = (characters[starts] == ord(" ")) & (starts < ends)
            starts = starts + before
            behind = (characters[ends - 1] == ord(" ")) & (starts < ends)
            ends = ends - behind
            if not before.any() and not behind.any():
                break
        return self._between(starts, ends)

    def span(self, first: int, last: int | None) -> Texts:
        """Return each row from one column to another, as it is written.

        last: None for all further columns. A row that is too short has fewer cells.
        """
        return self._between(*self._around(first, last))

    def _around(self, first: int, last: int | None) -> tuple[Places, Places]:
        """Return the places where the columns begin and end in each row."""
        starts, ends = self._starts, self._ends
        if first:
            starts = np.where(self._number >= first, self._delimiter_at(first - 1) + 1, self._ends)
        if last is not None:
            ends = np.where(self._number > last, self._delimiter_at(last), self._ends)
        return starts, ends

    def _delimiter_at(self, number: int) -> Places:
        """Return the place of each row's delimiter number 0, 1, …; any place if it has none."""
        if not len(self._delimiters):
            return self._ends
        return self._delimiters[np.minimum(self._first + number, len(self._delimiters) - 1)]

    def _between(self, starts: Places, ends: Places) -> Texts:
        """Return the texts between these places."""
        # These bounds cut the content into pieces, of which every second one is kept: a text, and
        # the byte behind it, which becomes its line end. A running sum of 1 and -1 would take ten
        # times as long.
        bounds = np.column_stack([starts, ends + 1]).ravel()
        wanted = np.repeat(np.tile([False, True], len(starts)), np.diff(bounds, prepend=0))
        characters = np.frombuffer(self.content, np.uint8, len(wanted))[wanted]
        new_ends = np.cumsum(ends - starts + 1) - 1
        characters[new_ends] = ord("\n")
        return Texts(characters.tobytes(), new_ends, are_lines=True)
