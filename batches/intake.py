"""An uploaded file in, one batch with its emails out: drop duplicates, COPY, keep the file.

Nothing here holds the file or a list of its rows: they flow through PostgreSQL's COPY, many at a
time, because most rows need no look of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol

from batches import kept_files
from batches.chunks import Chunks
from batches.duplicates import Seen
from models import Batch
from postgres import database
from postgres.copy_in import copy, escaped_all
from postgres.database import UNREACHABLE, Session, pool, session
from tabular import columns, reader
from tabular.formats import Format, IntakeError, Overrides
from tabular.formulas import undefused
from tabular.reader import Table

__all__ = ["IntakeError", "Rows", "clean_filename", "read_addresses", "store"]

# Addresses that are looked at together, and make one piece of the COPY stream; or a few more. Two
# or three such pieces fit into the socket's buffer (200 kB on Linux), so that PostgreSQL has one to
# work at while the next is made; with pieces as large as the buffer, each waits for the other.
PIECE = 1400
# Characters of them at which a piece ends, however few they are.
PIECE_CHARACTERS = 1 << 18
# Characters of a file's name that are looked at.
MAX_NAME = 1000
DETECT_ALL = Overrides()

# Addresses, and the line that the row of each begins on.
Piece = tuple[list[str], list[int]]


class Skipped(Protocol):
    """Takes the rows that give no address; files.Spool stores them."""

    def duplicate(self, line: int, first_line: int, address: str) -> None: ...

    def without_address(self, line: int, cells: list[str]) -> None: ...

    def blank(self, line: int) -> None: ...


@dataclass
class Rows:
    """What became of the file's rows, its header aside."""

    emails: int = 0
    duplicates: int = 0
    blank: int = 0
    without_address: int = 0
    # The cells of the widest row.
    width: int = field(default=0, compare=False)

    @property
    def total(self) -> int:
        return self.emails + self.duplicates + self.blank + self.without_address


def store(
    file: BinaryIO,
    filename: str,
    *,
    chunk_size: int,
    max_rows: int,
    overrides: Overrides = DETECT_ALL,
    uploaded_by: str | None = None,
    abandoned: Callable[[], bool] = lambda: False,
) -> Batch:
    """Store the seekable binary `file` as a batch, in one transaction: all of it, or nothing.

    `uploaded_by` is who did, where that is known. `abandoned` tells whether whoever sent the file
    has gone, and is asked until the end. Raises IntakeError, then too, and UNREACHABLE when the
    database is out of reach; nothing is stored then, except perhaps with the IntakeError
    `database_lost`.
    """

    def go_on() -> None:
        if abandoned():
            raise IntakeError("abandoned", "The upload was broken off, and nothing was stored.")

    transaction, batch = None, None
    # To look at a file may take seconds, and is done before a connection waits for it.
    with closing(reader.read(file, overrides)) as table:
        try:
            with session() as current, pool.atomic():
                transaction = database.transaction_id()
                batch = _store(table, filename, uploaded_by, chunk_size, max_rows, current, go_on)
                table.close()
                kept_files.keep(batch.id, file, current)
                go_on()
        except UNREACHABLE:
            # Without an answer to the commit, the batch may be stored or not.
            if transaction is None or batch is None or not _was_committed(transaction):
                raise
    return batch


def _store(
    table: Table,
    filename: str,
    uploaded_by: str | None,
    chunk_size: int,
    max_rows: int,
    current: Session,
    go_on: Callable[[], None],
) -> Batch:
    counts = Rows()
    batch_id = _reserve_batch_id()
    with TemporaryFile() as rows_file, TemporaryFile() as chunks_file:
        skipped = kept_files.Spool(batch_id, rows_file)
        chunks = Chunks(batch_id, chunk_size, chunks_file)
        copy(
            "email (batch_id, id, email, row_number) FROM STDIN",
            _copy_pieces(batch_id, read_addresses(table, counts, max_rows, skipped), chunks, go_on),
            current,
        )
        skipped.store(current)
        batch = Batch(
            id=batch_id,
            filename=filename,
            uploaded_by=uploaded_by,
            total_emails=counts.emails,
            total_rows=counts.total,
            duplicate_rows=counts.duplicates,
            rows_without_address=counts.without_address,
            blank_rows=counts.blank,
            format=replace(table.format, columns=max(table.format.columns, counts.width)).to_json(),
        )
        batch.save(force_insert=True)
        chunks.store(current)
    return batch


def _was_committed(transaction: int) -> bool:
    try:
        with session():
            return database.was_committed(transaction)
    except UNREACHABLE as error:
        raise IntakeError(
            "database_lost",
            "The database was lost at the moment when the file was stored. Before you upload it"
            " again, look whether it is among the recent batches.",
        ) from error


def clean_filename(name: str) -> str:
    """The file's own name, without a path or control characters, 200 characters at most."""
    name = re.split(r"[/\\]", name)[-1][:MAX_NAME]
    name = "".join(c if c.isprintable() else " " for c in name)
    return name.strip()[:200] or "unnamed.csv"


def read_addresses(
    table: Table, counts: Rows, max_rows: int, skipped: Skipped
) -> Generator[Piece, None, None]:
    """Yield each address of the table once, with its line, and count every row in `counts`.

    Each row that gives no address goes to `skipped`; the header is no row. An address is whatever
    stands in the address column, malformed or not; it is compared without regard to case. Raises
    IntakeError.
    """
    at_sign_seen = False
    with closing(Seen()) as seen:
        for addresses, lines in _all_addresses(table, counts, max_rows, skipped):
            at_sign_seen = at_sign_seen or any("@" in address for address in addresses)
            repeated = seen.add([*map(str.lower, addresses)], lines)
            for position, first_line in sorted(repeated.items()):
                skipped.duplicate(lines[position], first_line, addresses[position])
            counts.duplicates += len(repeated)
            counts.emails += len(addresses) - len(repeated)
            if repeated:
                kept = [n for n in range(len(lines)) if n not in repeated]
                yield [addresses[n] for n in kept], [lines[n] for n in kept]
            else:
                yield addresses, lines
    if not at_sign_seen:
        raise IntakeError(
            "no_address",
            "No email address was found in the file. It needs one address per line, or a column"
            " with addresses, separated by commas, semicolons, tabs or pipes.",
        )


def _all_addresses(table: Table, counts: Rows, max_rows: int, skipped: Skipped) -> Iterator[Piece]:
    """The addresses of all rows below the header, those that repeat others too.

    The other rows are counted and go to `skipped`. Raises IntakeError.
    """
    addresses: list[str] = []
    lines: list[int] = []
    characters = 0
    total = table.format.header_index
    for numbers, rows in _below_header(table, counts, skipped):
        total += len(rows)
        if total > max_rows:
            raise _too_many_rows(max_rows, numbers[max_rows - total])
        cells = _address_cells(rows, table.format)
        if "" in cells:
            for line, row, cell in zip(numbers, rows, cells, strict=True):
                if cell:
                    addresses.append(cell)
                    lines.append(line)
                elif any(each.strip() for each in row):
                    counts.without_address += 1
                    skipped.without_address(line, row)
                else:
                    counts.blank += 1
                    skipped.blank(line)
        else:
            addresses += cells
            lines += numbers
        characters += sum(map(len, cells))
        if len(addresses) >= PIECE or characters >= PIECE_CHARACTERS:
            yield addresses, lines
            addresses, lines, characters = [], [], 0
    yield addresses, lines


def _below_header(
    table: Table, counts: Rows, skipped: Skipped
) -> Iterator[tuple[Sequence[int], Sequence[list[str]]]]:
    """The rows below the header, if there is one, and their lines; those above it are blank.

    The width of all is counted. Raises IntakeError if it is too much.
    """
    found = table.format
    above, header = found.header_index, 0 if found.header is None else 1
    for block in table.blocks():
        numbers, rows = block.numbers, block.cells(found.delimiter or ",")
        counts.width = max(counts.width, columns.width_of(numbers, rows))
        for line in numbers[:above]:
            counts.blank += 1
            skipped.blank(line)
        start = above + header
        if start < len(rows):
            yield numbers[start:], rows[start:]
        above, header = max(0, above - len(rows)), 0 if start <= len(rows) else header


def _address_cells(rows: Sequence[list[str]], found: Format) -> list[str]:
    """What stands in the address column, without spaces around it, empty for a row too short."""
    column = found.column
    try:
        cells = [row[column] for row in rows]
    except IndexError:
        cells = [row[column] if len(row) > column else "" for row in rows]
    if found.is_results:  # before spaces go, which may be before an apostrophe
        cells = [*map(undefused, cells)]
    return [*map(str.strip, cells)]


def _too_many_rows(max_rows: int, line: int) -> IntakeError:
    return IntakeError(
        "too_many_rows",
        f"the file has more than {max_rows:,} rows. Split it into smaller files.",
        line=line,
    )


def _copy_pieces(
    batch_id: int, pieces: Iterable[Piece], chunks: Chunks, go_on: Callable[[], None]
) -> Iterator[bytes]:
    """The addresses as text for COPY, piece by piece, numbered from 1; `go_on` may raise."""
    number = 0
    for addresses, lines in pieces:
        go_on()
        texts = escaped_all(addresses)
        chunks.add(texts)
        rows = [
            f"{batch_id}\t{number}\t{text}\t{line}\n"
            for number, (text, line) in enumerate(zip(texts, lines, strict=True), number + 1)
        ]
        number += len(rows)
        if rows:
            yield "".join(rows).encode()


def _reserve_batch_id() -> int:
    """Return the id of a batch to be stored, needed before its emails are copied."""
    cursor = pool.execute_sql("SELECT nextval(pg_get_serial_sequence('batch', 'id'))")
    return int(cursor.fetchone()[0])
