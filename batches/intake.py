"""Stores an uploaded file as a batch: emails without duplicates, chunks, skipped rows, the file.

Neither the file nor a list of its rows is ever in memory as a whole. Rows flow from the file into
PostgreSQL's COPY in pieces. Only a small list is stored by one statement.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from itertools import chain
from math import inf
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from batches.accounting import Rows, read_addresses
from batches.kept_columns import KeptColumns, kept_columns
from batches.kept_files import KeptPieces, SkippedRows
from batches.pieces import Piece
from models import Batch
from postgres import database
from postgres.copy_in import (
    FEW_BYTES,
    STALL_SECONDS,
    Few,
    Spool,
    bigint,
    binary_row,
    copy_binary,
    integer,
)
from postgres.database import UNREACHABLE, Session, fetch_one, fetch_value, pool, session
from runtime.ahead import ahead
from runtime.in_order import InOrder, LineFullError
from tabular import reader
from tabular.formats import Format, IntakeError, Overrides
from tabular.reader import Table

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
# The most pieces of COPY's data that are made while PostgreSQL takes those before them. Without a
# thread for that, each waits for the other in turn, and a million rows take a tenth longer.
PIECES_AHEAD = 4
# Begins a transaction, and returns two ids in the same message. The batch's is needed first,
# because its emails are copied before its row is stored; the transaction's is for was_committed().
_BEGIN = """
BEGIN;
SELECT nextval(pg_get_serial_sequence('batch', 'id')), pg_current_xact_id()::text
"""
_EMAILS = "email (batch_id, id, row_number, email)"
DETECT_ALL = Overrides()
# Large files, by their bytes, of which only so many are stored at a time by a process. More at once
# would be no faster, and take the connections that all other requests need.
LARGE, MOST_LARGE = 1 << 20, 3
# The most that wait for that, each on a thread of its own.
MOST_WAITING = 40
_large = InOrder(MOST_LARGE, MOST_WAITING)


class Upload(NamedTuple):
    """What is said of an upload beside its file.

    by: the name of the user, None if it is unknown.
    paused: whether the batch begins paused.
    start_at: when it is to be resumed then; None until a person resumes it.
    per_minute: the batch's rate, the most emails a minute; None without.
    processor: the name of the processor; None for a batch that names none.
    options: what is chosen for this batch of the processor's options.
    columns: the names of the columns whose cells the processor gets, in any order, as
        tabular.columns.cell_names() has them; `*` for all.
    taken: more of them, which may be missing from the list.
    """

    by: str | None = None
    paused: bool = False
    start_at: datetime | None = None
    per_minute: int | None = None
    processor: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    columns: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


PLAIN = Upload()


def store(
    file: BinaryIO,
    filename: str,
    *,
    chunk_size: int,
    max_rows: int,
    overrides: Overrides = DETECT_ALL,
    found: Format | None = None,
    upload: Upload = PLAIN,
    abandoned: Callable[[], bool] = lambda: False,
) -> Batch:
    """Store the seekable binary `file` as a batch in one transaction, and return the batch.

    A large file waits until the ones that came before it are stored, all but the last few.

    found: the format that the file was read with before, in place of a look at it.
    abandoned: tells whether the client has closed its connection; called before each piece and at
        the end, and while the file waits.

    Raises UNREACHABLE, and IntakeError. After `database_lost` the batch may be stored or not, and
    after any other error nothing is stored: after `abandoned` the client has gone, and after
    `too_many_uploads` MOST_WAITING large files wait already.
    """

    def go_on() -> None:
        refuse_abandoned(abandoned)

    transaction = None
    turn = _turn(go_on) if file.seek(0, os.SEEK_END) > LARGE else nullcontext()
    # Looking at a file may take seconds, so no connection is held meanwhile.
    looked = reader.known(file, found) if found else reader.read(file, overrides)
    with closing(looked) as table:
        kept = kept_columns(table.format, upload.columns, upload.taken)
        try:
            with turn, session() as current, database.own_transactions():
                batch_id, begun = fetch_one(_BEGIN) or ()
                batch = _store(
                    batch_id,
                    file,
                    table,
                    filename,
                    upload,
                    kept,
                    chunk_size,
                    max_rows,
                    current,
                    go_on,
                )
                go_on()
                transaction = int(begun)  # from now on, it may be committed
                pool.commit()
        except UNREACHABLE:
            # The commit may have taken place although its answer was lost.
            if transaction is None or not _was_committed(transaction):
                raise
    return batch


@contextmanager
def _turn(go_on: Callable[[], None]) -> Iterator[None]:
    """Wait until a large file may be stored."""
    try:
        with _large.turn(go_on):
            yield
    except LineFullError:
        raise IntakeError(
            "too_many_uploads",
            "Many large files are being stored at the moment. Please try again in some minutes.",
        ) from None


def refuse_abandoned(abandoned: Callable[[], bool]) -> None:
    """Raise IntakeError if the client has closed its connection."""
    if abandoned():
        raise IntakeError("abandoned", "The upload was broken off, and nothing was stored.")


def _store(
    batch_id: int,
    file: BinaryIO,
    table: Table,
    filename: str,
    upload: Upload,
    kept: KeptColumns | None,
    chunk_size: int,
    max_rows: int,
    current: Session,
    go_on: Callable[[], None],
) -> Batch:
    counts = Rows()
    with (
        closing(SkippedRows(batch_id)) as skipped,
        closing(_Chunks(batch_id, chunk_size, with_cells=kept is not None)) as chunks,
        closing(KeptPieces(batch_id, file)) as kept_pieces,
    ):
        with closing(read_addresses(table, counts, max_rows, skipped, kept)) as pieces:
            few = _store_emails(batch_id, _cut(pieces, chunks, go_on), current)
        skipped.copy(current)
        found = _stored_format(table.format, counts)
        columns = [] if kept is None else kept.names(found)
        table.close()
        few += chunks.few() + kept_pieces.few()
        batch = _stored_batch(batch_id, filename, upload, counts, found, columns, few)
        chunks.copy(current)
        kept_pieces.copy(current)
    return batch


def _cut(pieces: Iterable[Piece], chunks: _Chunks, go_on: Callable[[], None]) -> Iterator[Piece]:
    """Yield the pieces, and cut them into chunks. `go_on` is called for each, and may raise."""
    for piece in pieces:
        go_on()
        chunks.extend(piece)
        yield piece


def _store_emails(batch_id: int, pieces: Iterator[Piece], current: Session) -> list[Few]:
    """Store the emails, numbered from 1. If they are few, return them instead, one at least."""
    current.extend(inf)  # there may be very many rows that become no emails
    try:
        first, are_all = _begin(pieces)
    finally:
        current.extend(STALL_SECONDS)
    if are_all:
        return _few_emails(batch_id, first)
    rows = _rows(batch_id, chain(first, pieces))
    del first  # it may have a megabyte
    with closing(ahead(rows, PIECES_AHEAD)) as coming:
        copy_binary(_EMAILS, coming, current)
    return []


def _begin(pieces: Iterator[Piece]) -> tuple[list[Piece], bool]:
    """Return pieces up to FEW_BYTES and one more, and whether they are all that there are."""
    first: list[Piece] = []
    while sum(piece.size for piece in first) <= FEW_BYTES:
        piece = next(pieces, None)
        if piece is None:
            return first, True
        if len(piece.lines):
            first.append(piece)
    return first, False


def _few_emails(batch_id: int, pieces: list[Piece]) -> list[Few]:
    lines = chain.from_iterable(piece.lines.tolist() for piece in pieces)
    addresses = chain.from_iterable(piece.addresses.strings() for piece in pieces)
    each = enumerate(zip(lines, addresses, strict=True), 1)
    rows = [(batch_id, number, line, address) for number, (line, address) in each]
    return [Few(_EMAILS, rows)]


def _stored_batch(
    batch_id: int,
    filename: str,
    upload: Upload,
    counts: Rows,
    found: Format,
    columns: list[str],
    few: list[Few],
) -> Batch:
    """Store the batch's own row, with `few` of other tables, and return it.

    columns: those whose cells it keeps.
    """
    return Batch.store(
        *few,
        id=batch_id,
        filename=filename,
        uploaded_by=upload.by,
        paused_at=fetch_value("SELECT clock_timestamp()") if upload.paused else None,
        paused_by=upload.by if upload.paused else None,
        resume_at=upload.start_at,
        per_minute=upload.per_minute,
        processor=upload.processor,
        options=dict(upload.options),
        columns=columns,
        total_emails=counts.emails,
        total_rows=counts.total,
        duplicate_rows=counts.duplicates,
        rows_without_address=counts.without_address,
        blank_rows=counts.blank,
        further_addresses=counts.further,
        rows_with_others=counts.others,
        format=found.to_json(),
    )


def _stored_format(found: Format, counts: Rows) -> Format:
    """Return the format with the width of the widest row, and how cells are to be read again."""
    cells = "whole" if counts.plain else found.cells  # spares results a look at each cell
    return replace(found, columns=max(found.columns, counts.width), cells=cells)


def _was_committed(transaction: int) -> bool:
    try:
        with session():
            return database.was_committed(transaction)
    except UNREACHABLE as error:
        raise IntakeError(
            "database_lost",
            "The connection to the database was lost while the file was stored. Before you upload"
            " the file again, see whether it is among the recent batches.",
        ) from error


def _rows(batch_id: int, pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield the emails, numbered from 1, in COPY's binary form."""
    first = 1
    for piece in pieces:
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


class _Chunks(Spool):
    """The chunks of a new batch. Must be closed."""

    def __init__(self, batch_id: int, size: int, *, with_cells: bool) -> None:
        cells = ", cells" if with_cells else ""
        super().__init__(f"chunk (batch_id, first_id, last_id, addresses{cells})", is_binary=True)
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

    def _texts(self) -> list[bytes | None]:
        """Return what the chunk that has been begun stores of its emails."""
        # An address that contains a line end could not be told from two: store none of the chunk's.
        addresses = b"".join(self._addresses)[:-1] if self._are_lines else None
        return [addresses, b"".join(self._cells)[:-1]] if self._with_cells else [addresses]

    def _cut(self) -> None:
        """End the chunk that has been begun."""
        last_id = self._first_id + self._number - 1
        ids = bigint(self._batch_id), integer(self._first_id), integer(last_id)
        self.add(binary_row(*ids, *self._texts()))
        self.flush()  # a chunk may have megabytes
        self._begin(last_id + 1)

    def few(self) -> list[Few]:
        """Return the only chunk if it is small, in place of what copy() would store."""
        if not self._number or self._first_id > 1 or self._bytes > FEW_BYTES:
            return []
        texts = [None if text is None else text.decode() for text in self._texts()]
        row = (self._batch_id, 1, self._number, *texts)
        self._begin(1)
        return [Few(self.into, [row])]

    def copy(self, current: Session) -> None:
        if self._number:
            self._cut()
        super().copy(current)
