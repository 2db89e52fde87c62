"""An uploaded file in, one batch with its emails out: drop duplicates, COPY, keep the file.

Nothing here holds the file or a list of its rows: they flow through PostgreSQL's COPY. What does
grow with the file is the set of addresses seen.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, BinaryIO, Protocol

import database
import files
import models
import tables
from copying import copy, escaped
from database import UNREACHABLE, Session, pool, session
from formats import IntakeError, Overrides, undefuse
from models import Batch
from tables import Table

__all__ = ["IntakeError", "Rows", "clean_filename", "read_addresses", "store"]

# Addresses that make one piece of the COPY stream.
PIECE = 2000
DETECT_ALL = Overrides()


class Skipped(Protocol):
    """Takes the rows that give no address; files.Spool stores them.

    `firsts`, which is set in the end, has the line of the first of all duplicates with a `number`.
    """

    firsts: array[int]

    def duplicate(self, line: int, number: int, address: str) -> None: ...

    def without_address(self, line: int, cells: list[str]) -> None: ...

    def blank(self, line: int) -> None: ...


@dataclass
class Rows:
    """What became of the file's rows, its header aside."""

    emails: int = 0
    duplicates: int = 0
    blank: int = 0
    without_address: int = 0
    # The cells of the longest row.
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
    abandoned: Callable[[], bool] = lambda: False,
) -> Batch:
    """Store the seekable binary `file` as a batch, in one transaction: all of it, or nothing.

    `abandoned` tells whether whoever sent the file has gone, and is asked until the end. Raises
    IntakeError, then too, and UNREACHABLE when the database is out of reach; nothing is stored
    then, except perhaps with the IntakeError `database_lost`.
    """

    def go_on() -> None:
        if abandoned():
            raise IntakeError("abandoned", "The upload was broken off, and nothing was stored.")

    transaction, batch = None, None
    # To look at a file may take seconds, and is done before a connection waits for it.
    with closing(tables.read(file, overrides)) as table, TemporaryFile() as spooled:
        try:
            with session() as current, pool.atomic():
                transaction = database.transaction_id()
                batch = _store(table, filename, chunk_size, max_rows, spooled, current, go_on)
                table.close()
                files.keep(batch.id, file, current)
                go_on()
        except UNREACHABLE:
            # Without an answer to the commit, the batch may be stored or not.
            if transaction is None or batch is None or not _was_committed(transaction):
                raise
    return batch


def _store(
    table: Table,
    filename: str,
    chunk_size: int,
    max_rows: int,
    spooled: IO[bytes],
    current: Session,
    go_on: Callable[[], None],
) -> Batch:
    counts = Rows()
    batch_id = models.reserve_batch_id()
    skipped = files.Spool(batch_id, spooled)
    addresses = read_addresses(table, counts, max_rows, skipped)
    copy(
        "email (batch_id, id, email, row_number) FROM STDIN",
        _copy_pieces(batch_id, addresses, go_on),
        current,
    )
    skipped.store(current)
    batch = Batch(
        id=batch_id,
        filename=filename,
        total_emails=counts.emails,
        total_rows=counts.total,
        duplicate_rows=counts.duplicates,
        rows_without_address=counts.without_address,
        blank_rows=counts.blank,
        format=replace(table.format, columns=max(table.format.columns, counts.width)).to_json(),
    )
    models.create_batch(batch, chunk_size)
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
            status=503,
        ) from error


def clean_filename(name: str) -> str:
    """The file's own name, without a path or control characters, 200 characters at most."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c if c.isprintable() else " " for c in name)
    return name.strip()[:200] or "unnamed.csv"


def read_addresses(
    table: Table, counts: Rows, max_rows: int, skipped: Skipped
) -> Generator[tuple[str, int], None, None]:
    """Yield each address of the table once, with its line, and count every row in `counts`.

    Each row that gives no address goes to `skipped`; the header is no row. An address is whatever
    stands in the address column, malformed or not; it is compared without regard to case. Raises
    IntakeError.
    """
    found = table.format
    column, is_results = found.column, found.is_results
    numbered = table.rows()
    if found.header is not None:
        for line, _ in islice(numbered, found.header_index):  # only blank rows stand above it
            counts.blank += 1
            skipped.blank(line)
        next(numbered, None)
    # The addresses in the order of `lines`; as bytes, and without their lines beside them, because
    # a million of them take 50 MB less so. Those that come again are numbered in `repeated`.
    seen: dict[bytes, None] = {}
    lines = array("i")
    repeated: dict[bytes, int] = {}
    at_sign_seen = False
    for number, (line, row) in enumerate(numbered, start=counts.blank + 1):
        if number > max_rows:
            raise _too_many_rows(max_rows, line)
        width = len(row)
        if width > counts.width:
            counts.width = width
        address = row[column].strip() if width > column else ""
        if is_results:
            address = undefuse(address).strip()
        if not address:
            if any(cell.strip() for cell in row):
                counts.without_address += 1
                skipped.without_address(line, row)
            else:
                counts.blank += 1
                skipped.blank(line)
            continue
        key = address.lower().encode()
        seen[key] = None
        if len(seen) == counts.emails:
            counts.duplicates += 1
            skipped.duplicate(line, repeated.setdefault(key, len(repeated)), address)
            continue
        lines.append(line)
        counts.emails += 1
        at_sign_seen = at_sign_seen or "@" in address
        yield address, line
    if repeated:
        skipped.firsts = _firsts(seen, lines, repeated)
    if not at_sign_seen:
        raise IntakeError(
            "no_address",
            "No email address was found in the file. It needs one address per line, or a column"
            " with addresses, separated by commas, semicolons, tabs or pipes.",
        )


def _firsts(seen: Iterable[bytes], lines: Iterable[int], repeated: dict[bytes, int]) -> array[int]:
    """The line where each of the repeated addresses was first seen, by its number."""
    firsts = array("i", bytes(4 * len(repeated)))
    for key, line in zip(seen, lines, strict=True):
        number = repeated.get(key)
        if number is not None:
            firsts[number] = line
    return firsts


def _too_many_rows(max_rows: int, line: int) -> IntakeError:
    return IntakeError(
        "too_many_rows",
        f"the file has more than {max_rows:,} rows. Split it into smaller files.",
        status=413,
        line=line,
    )


def _copy_pieces(
    batch_id: int, addresses: Iterable[tuple[str, int]], go_on: Callable[[], None]
) -> Iterator[bytes]:
    """The addresses as text for COPY, piece by piece, numbered from 1; `go_on` may raise."""
    number = 0
    addresses = iter(addresses)
    while piece := list(islice(addresses, PIECE)):
        go_on()
        rows = []
        for address, line in piece:
            number += 1
            rows.append(f"{batch_id}\t{number}\t{escaped(address)}\t{line}\n")
        yield "".join(rows).encode()
