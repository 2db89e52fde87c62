"""Addresses on their way from a file into the database, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.texts import Texts

# Numbers of lines in the file.
Lines = npt.NDArray[np.int64]


@dataclass
class Piece:
    """Addresses that follow one another in the file.

    lines: for each address, the line that its row begins on.
    parts: for each address that is not the first of its row, its place there, from 0, by its
        position in `addresses`.
    cells: for each address, the kept cells of its row in one line, as KeptColumns.lines() returns
        them; None if none are kept.
    """

    addresses: Texts
    lines: Lines
    parts: dict[int, int] = field(default_factory=dict)
    cells: Texts | None = None

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        """Return the addresses of several pieces, one after another; there must be one at least."""
        if len(pieces) == 1:
            return pieces[0]
        parts: dict[int, int] = {}
        start = 0
        for piece in pieces:
            parts |= {start + position: part for position, part in piece.parts.items()}
            start += len(piece.lines)
        cells = [piece.cells for piece in pieces if piece.cells is not None]
        return cls(
            Texts.joined([piece.addresses for piece in pieces]),
            np.concatenate([piece.lines for piece in pieces]),
            parts,
            Texts.joined(cells) if cells else None,
        )

    @property
    def size(self) -> int:
        """The number of bytes of all addresses and cells, with a line end behind each."""
        return len(self.addresses.content) + len(self.cells.content if self.cells else b"")

    def part(self, start: int, stop: int) -> Piece:
        """Return the addresses from position `start` to before `stop`; it may lack their parts."""
        if (start, stop) == (0, len(self.lines)):
            return self
        cells = None if self.cells is None else self.cells.part(start, stop)
        return Piece(self.addresses.part(start, stop), self.lines[start:stop], cells=cells)

    def without(self, positions: list[int]) -> Piece:
        """Return the piece without the addresses at these positions, and without its parts."""
        return Piece(
            self.addresses.without(positions),
            np.delete(self.lines, positions),
            cells=None if self.cells is None else self.cells.without(positions),
        )
