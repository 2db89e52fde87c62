"""Stores an uploaded file as a batch: emails without duplicates, chunks, skipped rows, the file.

Neither the file nor a list of its rows is ever in memory as a whole. Rows flow from the file into
PostgreSQL's COPY in pieces. A small list is read at once, and INSERTed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from batches import stored_rows
from batches.accounting import Rows, read_addresses
from batches.kept_columns import KeptColumns, kept_columns
from batches.kept_files import KeptPieces, SkippedRows, whole_file
from batches.pieces import Piece
from batches.stored_rows import EMAILS, Chunks, binary_emails
from models import Batch
from postgres import database
from postgres.copy_in import Insert, copy_binary, insert
from postgres.database import UNREACHABLE, Session, fetch_one, fetch_value, session
from runtime.ahead import ahead
from runtime.in_order import InOrder, LineFullError
from tabular import reader
from tabular.formats import Format, IntakeError, Overrides
from tabular.reader import Table

# The most pieces of COPY's data that are made while PostgreSQL takes those before them. Without a
# thread for that, each waits for the other in turn, and a million rows take a tenth longer.
PIECES_AHEAD = 4
# Begins a transaction, and returns its time and two ids in the same message. The batch's is needed
# first, because its emails are copied before its row is stored; the transaction's is for
# was_committed().
_BEGIN = """
BEGIN;
SELECT nextval(pg_get_serial_sequence('batch', 'id')), pg_current_xact_id()::text, now()
"""
# The most bytes of a text whose batch, but for its skipped rows, is stored by the message that
# commits it, not by an INSERT and three COPYs: a twentieth less time for 10 addresses, and no more
# for 40.
SMALL = 1000
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
    size = file.seek(0, os.SEEK_END)
    turn = _turn(go_on) if size > LARGE else nullcontext()
    # Looking at a file may take seconds, so no connection is held meanwhile.
    looked = reader.known(file, found) if found else reader.read(file, overrides)
    with closing(looked) as table:
        kept = kept_columns(table.format, upload.columns, upload.taken)
        is_small = size <= SMALL and table.format.encoding is not None
        try:
            with turn, session() as current, database.own_transactions():
                batch_id, begun, now = fetch_one(_BEGIN) or ()
                new = _New(
                    batch_id, now, file, filename, table, upload, kept, chunk_size, max_rows, go_on
                )
                batch, inserts = (_small if is_small else _copied)(new, current)
                go_on()
                transaction = int(begun)  # from now on, it may be committed
                insert(inserts, current, commit=True)
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


class _New(NamedTuple):
    """A batch that is being stored, and what store() was told of it.

    created_at: when its transaction began.
    kept: the columns whose cells it keeps; None for none.
    go_on: called before each piece of a file that is copied; may raise.
    """

    batch_id: int
    created_at: datetime
    file: BinaryIO
    filename: str
    table: Table
    upload: Upload
    kept: KeptColumns | None
    chunk_size: int
    max_rows: int
    go_on: Callable[[], None]

    def read(self, counts: Rows, skipped: SkippedRows) -> Generator[Piece, None, None]:
        return read_addresses(self.table, counts, self.max_rows, skipped, self.kept)

    def batch(self, counts: Rows) -> Batch:
        """Return the batch's own row, once the whole file is read."""
        upload, found = self.upload, _stored_format(self.table.format, counts)
        return Batch(
            id=self.batch_id,
            filename=self.filename,
            uploaded_by=upload.by,
            created_at=self.created_at,
            paused_at=fetch_value("SELECT clock_timestamp()") if upload.paused else None,
            paused_by=upload.by if upload.paused else None,
            resume_at=upload.start_at,
            per_minute=upload.per_minute,
            processor=upload.processor,
            options=dict(upload.options),
            columns=[] if self.kept is None else self.kept.names(found),
            total_emails=counts.emails,
            total_rows=counts.total,
            duplicate_rows=counts.duplicates,
            rows_without_address=counts.without_address,
            blank_rows=counts.blank,
            further_addresses=counts.further,
            rows_with_others=counts.others,
            format=found.to_json(),
        )


def _copied(new: _New, current: Session) -> tuple[Batch, list[Insert]]:
    """Store all of a batch, and return it; nothing is left to insert."""
    counts = Rows()
    with (
        closing(SkippedRows(new.batch_id)) as skipped,
        closing(Chunks(new.batch_id, new.chunk_size, with_cells=new.kept is not None)) as chunks,
        closing(KeptPieces(new.batch_id, new.file)) as kept_pieces,
    ):
        with (
            closing(new.read(counts, skipped)) as pieces,
            closing(
                ahead(binary_emails(new.batch_id, pieces, chunks, new.go_on), PIECES_AHEAD)
            ) as rows,
        ):
            copy_binary(EMAILS, rows, current)
        skipped.copy(current)
        batch = new.batch(counts)
        insert([batch.as_insert()], current)
        chunks.copy(current)
        new.table.close()
        kept_pieces.copy(current)
    return batch, []


def _small(new: _New, current: Session) -> tuple[Batch, list[Insert]]:
    """Return a batch of a small file, and what is left to insert: all but the skipped rows."""
    counts = Rows()
    with closing(SkippedRows(new.batch_id)) as skipped:
        with closing(new.read(counts, skipped)) as pieces:
            emails = Piece.joined([*pieces])
        skipped.copy(current)
    batch = new.batch(counts)
    rows = stored_rows.inserts(new.batch_id, emails, new.chunk_size)
    return batch, [batch.as_insert(), *rows, whole_file(new.batch_id, new.file)]


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
