"""Stores an uploaded file as a batch: emails without duplicates, chunks, skipped rows, the file.

Neither the file nor a list of its rows is ever in memory as a whole. Rows flow from the file into
PostgreSQL's COPY in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from batches import kept_files
from batches.accounting import Piece, Rows, read_addresses
from batches.kept_columns import KeptColumns, kept_columns
from batches.kept_files import SkippedRows
from models import Batch
from postgres import database
from postgres.copy_in import Spool, copy, escaped_all
from postgres.database import UNREACHABLE, Session, fetch_value, pool, session
from runtime.in_order import InOrder, LineFullError
from tabular import reader
from tabular.formats import Format, IntakeError, Overrides
from tabular.reader import Table

# Characters of addresses and cells at which a chunk ends, however few emails it has: a worker holds
# a whole chunk in memory. The largest chunk_size has half as many, at 40 an address.
CHUNK_CHARACTERS = 8_000_000
# A line end in COPY's text form.
_LINE_END = "\\n"
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
            with turn, session() as current, pool.atomic():
                batch = _store(table, filename, upload, kept, chunk_size, max_rows, current, go_on)
                table.close()
                kept_files.keep(batch.id, file, current)
                go_on()
                transaction = database.transaction_id()
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
    # The id of the batch to be stored, because its emails are copied first.
    batch_id = int(fetch_value("SELECT nextval(pg_get_serial_sequence('batch', 'id'))"))
    with (
        closing(SkippedRows(batch_id)) as skipped,
        closing(_Chunks(batch_id, chunk_size, with_cells=kept is not None)) as chunks,
    ):
        pieces = read_addresses(table, counts, max_rows, skipped, kept)
        copy(
            "email (batch_id, id, email, row_number) FROM STDIN",
            _copy_pieces(batch_id, pieces, chunks, go_on),
            current,
        )
        skipped.copy(current)
        found = _stored_format(table.format, counts)
        columns = [] if kept is None else kept.names(found)
        batch = _stored_batch(batch_id, filename, upload, counts, found, columns)
        chunks.copy(current)
    return batch


def _stored_batch(
    batch_id: int, filename: str, upload: Upload, counts: Rows, found: Format, columns: list[str]
) -> Batch:
    """Store the batch's own row, and return it; `columns` are those whose cells it keeps."""
    return Batch.store(
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


def _copy_pieces(
    batch_id: int, pieces: Iterable[Piece], chunks: _Chunks, go_on: Callable[[], None]
) -> Iterator[bytes]:
    """Yield the emails, numbered from 1, in COPY's text form, and cut them into chunks.

    `go_on` is called before each piece, and may raise.
    """
    batch, first = f"{batch_id}\t", 1
    for piece in pieces:
        go_on()
        texts = escaped_all(piece.addresses)
        chunks.extend(texts, piece.cells)
        numbers = range(first, first + len(texts))
        rows = [
            f"{batch}{number}\t{text}\t{line}\n"
            for number, text, line in zip(numbers, texts, piece.lines, strict=True)
        ]
        first = numbers.stop
        if rows:
            yield "".join(rows).encode()


class _Chunks(Spool):
    """The chunks of a new batch. Must be closed."""

    def __init__(self, batch_id: int, size: int, *, with_cells: bool) -> None:
        cells = ", cells" if with_cells else ""
        super().__init__(f"chunk (batch_id, first_id, last_id, addresses{cells})")
        self._batch_id = batch_id
        self._size = size
        self._with_cells = with_cells
        # Addresses and cells of the emails that are in no chunk yet, and the id of the first of
        # them.
        self._texts: list[str] = []
        self._cells: list[str] = []
        self._characters = 0
        self._first_id = 1

    def extend(self, texts: list[str], cells: list[str]) -> None:
        """Add the next emails' addresses and cells, both in COPY's text form."""
        self._texts += texts
        self._cells += cells
        self._characters += _characters(texts, cells)
        while len(self._texts) >= self._size:
            self._cut(self._size)
        if self._characters >= CHUNK_CHARACTERS:
            self._cut(len(self._texts))

    def _cut(self, count: int) -> None:
        """Make a chunk of the next emails, so many."""
        texts, cells = self._texts[:count], self._cells[:count]
        # An address that contains a line end could not be told from two: store none of the chunk's.
        addresses = _LINE_END.join(texts)
        if addresses.count(_LINE_END) != count - 1:
            addresses = "\\N"
        last_id = self._first_id + count - 1
        row = f"{self._batch_id}\t{self._first_id}\t{last_id}\t{addresses}"
        if self._with_cells:
            row = f"{row}\t{_LINE_END.join(cells)}"
        self.add(f"{row}\n")
        self.flush()  # a chunk may have megabytes
        self._first_id = last_id + 1
        self._texts, self._cells = self._texts[count:], self._cells[count:]
        self._characters -= _characters(texts, cells)

    def copy(self, current: Session) -> None:
        if self._texts:
            self._cut(len(self._texts))
        super().copy(current)


def _characters(texts: list[str], cells: list[str]) -> int:
    return len("".join(texts)) + len("".join(cells))  # faster than the sum of their lengths
