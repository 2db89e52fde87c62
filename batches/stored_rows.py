"""A new batch's emails and chunks, as COPY takes them; those of a small list, as INSERT does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from batches.pieces import Piece
from postgres.copy_in import Insert, Spool, bigint, binary_row, integer
from postgres.database import Session

EMAILS = "email (batch_id, id, row_number, email)"
# Bytes of addresses and cells at which a chunk ends, however few emails it has: a worker holds a
# whole chunk in memory, and each turn on a part of it reads all of its cells. The default
# of chunk_size takes half of it, at 25 bytes an address.
CHUNK_BYTES = 2_000_000
# A row of emails as binary_row() would return it, without the address at its end.
_EMAIL = np.dtype(
    [
        ("columns", ">i2"),
        *(("batch_id bytes", ">i4"), ("batch_id", ">i8")),
        *(("id bytes", ">i4"), ("id", ">i4")),
        *(("row_number bytes", ">i4"), ("row_number", ">i4")),
        ("email bytes", ">i4"),
    ]
)


def binary_emails(
    batch_id: int, pieces: Iterable[Piece], chunks: Chunks, go_on: Callable[[], None]
) -> Iterator[bytes]:
    """Yield the emails, numbered from 1, in COPY's binary form, and cut them into chunks.

    `go_on` is called before each piece, and may raise.
    """
    first = 1
    for piece in pieces:
        go_on()
        chunks.extend(piece)
        number = len(piece.lines)
        rows = np.empty(number, _EMAIL)
        rows["columns"] = 4
        rows["batch_id bytes"], rows["batch_id"] = 8, batch_id
        rows["id bytes"], rows["id"] = 4, np.arange(first, first + number)
        rows["row_number bytes"], rows["row_number"] = 4, piece.lines
        rows["email bytes"] = piece.addresses.lengths
        first += number
        if number:
            # The address comes behind the fixed part of its row.
            fixed: list[bytes] = rows.view(f"V{_EMAIL.itemsize}").tolist()
            yield b"".join(chain.from_iterable(zip(fixed, piece.addresses.each, strict=True)))


class Chunks(Spool):
    """The chunks of a new batch. Must be closed."""

    def __init__(self, batch_id: int, size: int, *, with_cells: bool) -> None:
        super().__init__(_chunk_columns(with_cells), is_binary=True)
        self._batch_id = batch_id
        self._size = size
        self._with_cells = with_cells
        self._begin(1)

    def _begin(self, first_id: int) -> None:
        """Begin a chunk with this email."""
        self._first_id = first_id
        self._number = 0
        self._bytes = 0
        self._are_lines = True
        # Only the bytes to be stored; whole pieces, with their arrays and lists, would take 3 MB.
        self._addresses: list[bytes] = []
        self._cells: list[bytes] = []

    def extend(self, piece: Piece) -> None:
        """Add the next emails' addresses and cells."""
        start = 0
        while start < len(piece.lines):
            stop = min(len(piece.lines), start + self._size - self._number)
            part = piece.part(start, stop)
            self._addresses.append(part.addresses.content)
            self._are_lines &= part.addresses.are_lines
            if part.cells is not None:
                self._cells.append(part.cells.content)
            self._number += stop - start
            self._bytes += part.size
            if self._number == self._size or self._bytes >= CHUNK_BYTES:
                self._cut()
            start = stop

    def _cut(self) -> None:
        """End the chunk that has been begun."""
        last_id = self._first_id + self._number - 1
        # An address that contains a line end could not be told from two: store none of the chunk's.
        columns = [b"".join(self._addresses)[:-1] if self._are_lines else None]
        if self._with_cells:
            columns.append(b"".join(self._cells)[:-1])
        ids = bigint(self._batch_id), integer(self._first_id), integer(last_id)
        self.add(binary_row(*ids, *columns))
        self.flush()  # a chunk may have megabytes
        self._begin(last_id + 1)

    def copy(self, current: Session) -> None:
        if self._number:
            self._cut()
        super().copy(current)


def inserts(batch_id: int, emails: Piece, chunk_size: int) -> list[Insert]:
    """Return the emails of a small list, numbered from 1, and their chunks."""
    each = zip(emails.lines.tolist(), emails.addresses.strings(), strict=True)
    rows = [(batch_id, number, line, address) for number, (line, address) in enumerate(each, 1)]
    chunks = []
    for start in range(0, len(rows), chunk_size):
        stop = min(len(rows), start + chunk_size)
        part = emails.part(start, stop)
        # As in Chunks.
        columns = [part.addresses.content[:-1].decode() if part.addresses.are_lines else None]
        if part.cells is not None:
            columns.append(part.cells.content[:-1].decode())
        chunks.append((batch_id, start + 1, stop, *columns))
    into = _chunk_columns(emails.cells is not None)
    return [Insert(EMAILS, rows), Insert(into, chunks)]


def _chunk_columns(with_cells: bool) -> str:
    """Return into what the chunks are stored."""
    return f"chunk (batch_id, first_id, last_id, addresses{', cells' if with_cells else ''})"
