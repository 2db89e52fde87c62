"""Rows of a table that follow one another, the unit in which files are read and results written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeVar

from tabular.plain import PlainRows

# With fewer rows than these, making all their cells is faster than NumPy.
FEW = 200

Item = TypeVar("Item")


class Block:
    """Rows that follow one another.

    numbers: the line that each row begins on, in order.
    lines: the rows as they are written, each with its quotes closed; None if the file is no CSV.
    rows: the cells of each row; None if splitting the lines at the delimiter gives the cells.
    addresses: the address of each row; None if it is the stripped cell in the address column.
    parts: the place of each address in its row of the file, from 0, where a row of the file with
        several addresses is several rows here; None if each is a single row.
    text: all lines in one text, instead of `lines`, which are then made when they are asked for.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        lines: list[str] | None = None,
        rows: Sequence[list[str]] | None = None,
        addresses: Sequence[str] | None = None,
        parts: Sequence[int] | None = None,
        *,
        text: str | None = None,
    ) -> None:
        self.numbers = numbers
        self._lines = lines
        self.rows = rows
        self.addresses = addresses
        self.parts = parts
        self._text = text

    @property
    def lines(self) -> list[str] | None:
        """The rows as they are written; see above."""
        if self._lines is None and self._text is not None:
            self._lines = self._text.removesuffix("\n").split("\n")
        return self._lines

    def __len__(self) -> int:
        return len(self.numbers)

    def cells(self, delimiter: str) -> Sequence[list[str]]:
        """Return the cells of each row."""
        if self.rows is not None:
            return self.rows
        return [line.split(delimiter) if line else [] for line in self.lines or ()]

    def plain(self, delimiter: str) -> PlainRows | None:
        """Return the rows as PlainRows; None if there are few, or they weren't read as one text."""
        if self._text is None or len(self) < FEW:
            return None
        return PlainRows(self._text, delimiter)

    def with_addresses(self, addresses: Sequence[str]) -> Block:
        """Return the block with the address of each row."""
        return Block(self.numbers, self._lines, self.rows, addresses, self.parts, text=self._text)

    def part(self, start: int, stop: int) -> Block:
        """Return the rows from position `start` to before `stop` as a block."""
        here = slice(start, stop)
        lines, text = None, None
        if self._lines is not None:
            lines = self._lines[here]
        elif self._text is not None and start < len(self) <= stop:
            text = self._text.split("\n", start)[-1]
        elif self._text is not None:  # without a string for each line behind the part
            lines = self._text.split("\n", stop)[: len(self)][here]
        return Block(
            self.numbers[here],
            lines,
            self.rows and self.rows[here],
            self.addresses and self.addresses[here],
            self.parts and self.parts[here],
            text=text,
        )

    def picked(self, positions: list[int]) -> Block:
        """Return the rows at these positions as a block."""
        return Block(
            _picked(self.numbers, positions),
            self.lines and _picked(self.lines, positions),
            self.rows and _picked(self.rows, positions),
            self.addresses and _picked(self.addresses, positions),
            self.parts and _picked(self.parts, positions),
        )

    def positions(self, keys: list[tuple[int, int]]) -> list[int] | None:
        """Return the positions of the rows with these lines and parts; None if one is missing."""
        if self.parts is not None:
            places = {key: n for n, key in enumerate(zip(self.numbers, self.parts, strict=True))}
            found = [places.get(key, -1) for key in keys]
            return None if -1 in found else found
        if isinstance(self.numbers, range):
            found = [number - self.numbers.start for number, _ in keys]
        else:
            found = [bisect_left(self.numbers, number) for number, _ in keys]
        there = [(self.numbers[position], 0) for position in found if 0 <= position < len(self)]
        return found if there == keys else None


def _picked(items: Sequence[Item], positions: list[int]) -> list[Item]:
    return [items[position] for position in positions]
