"""An uploaded file in, one batch with its emails out: parse, drop duplicates, COPY.

Nothing here holds the file or a list of its rows: lines flow from the file through the csv module
into PostgreSQL's COPY. What does grow with the file is the set of addresses seen.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO

import database
import models
from database import UNREACHABLE, Session, pool, session
from models import Batch

# Characters: what is read and parsed at once, and the longest line that is accepted.
BLOCK = 1 << 18
MAX_LINE = 1 << 20
# Rows looked at to find the column with the addresses.
SAMPLE_ROWS = 200
# Seconds that the database may take for one piece of the COPY stream, or for the end of it.
STALL_SECONDS = 20.0
# Addresses that make one piece of the COPY stream.
PIECE = 2000

_HEADER = re.compile(r"(\w+[ _-])?e-?mails?([ _-]?(address(es)?|adressen?|id))?|mail", re.I)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class IntakeError(ValueError):
    """The file can't become a batch. `code` is stable; the message says what to do."""

    def __init__(self, code: str, message: str, *, status: int = 422, line: int | None = None):
        super().__init__(message if line is None else f"Line {line:,}: {message}")
        self.code = code
        self.status = status
        self.line = line


@dataclass
class Rows:
    """What became of the file's rows, its header aside."""

    emails: int = 0
    duplicates: int = 0
    blank: int = 0
    without_address: int = 0

    @property
    def total(self) -> int:
        return self.emails + self.duplicates + self.blank + self.without_address


def store(file: BinaryIO, filename: str, *, chunk_size: int, max_rows: int) -> Batch:
    """Store the seekable binary `file` as a batch, in one transaction: all of it, or nothing.

    Raises IntakeError, and UNREACHABLE when the database is out of reach; nothing is stored then,
    except perhaps with the IntakeError `database_lost`.
    """
    transaction, batch = None, None
    try:
        with session() as current, pool.atomic():
            transaction = database.transaction_id()
            batch = _store(file, filename, chunk_size, max_rows, current)
    except UNREACHABLE:
        # Without an answer to the commit, the batch may be stored or not.
        if transaction is None or batch is None or not _was_committed(transaction):
            raise
    return batch


def _store(
    file: BinaryIO, filename: str, chunk_size: int, max_rows: int, current: Session
) -> Batch:
    counts = Rows()
    batch_id = models.reserve_batch_id()
    with closing(read_addresses(file, counts, max_rows)) as addresses:
        _copy(_CopyStream(_copy_pieces(batch_id, addresses), current))
    batch = Batch(
        id=batch_id,
        filename=filename,
        total_emails=counts.emails,
        total_rows=counts.total,
        duplicate_rows=counts.duplicates,
        rows_without_address=counts.without_address,
        blank_rows=counts.blank,
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
    file: BinaryIO, counts: Rows, max_rows: int
) -> Generator[tuple[str, int], None, None]:
    """Yield each address of the file once, with its line, and count every row in `counts`.

    The header is no row. An address is whatever stands in the address column, malformed or not;
    it is compared without regard to case. Raises IntakeError.
    """
    with closing(_numbered_rows(file)) as numbered:
        yield from _addresses(numbered, counts, max_rows)


def _addresses(
    numbered: Iterator[tuple[int, list[str]]], counts: Rows, max_rows: int
) -> Iterator[tuple[str, int]]:
    sample = list(islice(numbered, SAMPLE_ROWS))
    if not sample:
        raise IntakeError("empty_file", "The file is empty. Choose one with an address per line.")
    header, column = _find_column([row for _, row in sample])
    rows: Iterator[tuple[int, list[str]]] = chain(sample, numbered)
    if header is not None:
        rows = islice(rows, header + 1, None)
        counts.blank += header  # only blank rows stand above a header
    seen: set[str] = set()
    at_sign_seen = False
    for number, (line, row) in enumerate(rows, start=counts.blank + 1):
        if number > max_rows:
            raise IntakeError(
                "too_many_rows",
                f"the file has more than {max_rows:,} rows. Split it into smaller files.",
                status=413,
                line=line,
            )
        address = row[column].strip() if len(row) > column else ""
        if not address:
            if any(cell.strip() for cell in row):
                counts.without_address += 1
            else:
                counts.blank += 1
            continue
        seen.add(address.lower())
        if len(seen) == counts.emails:
            counts.duplicates += 1
            continue
        counts.emails += 1
        at_sign_seen = at_sign_seen or "@" in address
        yield address, line
    if not at_sign_seen:
        raise IntakeError(
            "no_address",
            "No email address was found in the file. It needs one address per line, or a column"
            " with addresses, separated by commas.",
        )


def _find_column(sample: list[list[str]]) -> tuple[int | None, int]:
    """The index of the header row in the sample, None if there is no header; and the column."""
    first = next((i for i, row in enumerate(sample) if any(cell.strip() for cell in row)), 0)
    header_row = sample[first]
    if not any("@" in cell for cell in header_row):
        for column, cell in enumerate(header_row):
            if _HEADER.fullmatch(cell.strip()):
                return first, column
    for looks_right in (_ADDRESS.fullmatch, lambda cell: "@" in cell):
        columns = [
            column for row in sample for column, cell in enumerate(row) if looks_right(cell.strip())
        ]
        if columns:
            return None, min(columns)
    return None, 0


def _numbered_rows(file: BinaryIO) -> Generator[tuple[int, list[str]], None, None]:
    """The csv rows of the file, each with the line that it begins on. Raises IntakeError."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=None)
    reader = csv.reader(chain.from_iterable(_blocks_of_lines(text)))
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except UnicodeDecodeError:
        raise IntakeError(
            "not_utf8",
            "this is not UTF-8 text. Save the file as CSV in UTF-8 and upload it again.",
            line=_undecodable_line(file),
        ) from None
    except csv.Error as error:
        raise IntakeError(
            "bad_csv",
            f"this can't be read as CSV: {error}. Perhaps a quote is left open.",
            line=line,
        ) from None
    finally:
        text.detach()  # the file is the caller's to close


def _blocks_of_lines(text: io.TextIOWrapper) -> Iterator[Iterable[str]]:
    """The text in blocks of whole lines. Raises IntakeError for what no text file contains."""
    rest, lines = "", 0
    while block := text.read(BLOCK):
        if "\0" in block:
            lines += block.count("\n", 0, block.index("\0")) + 1
            raise IntakeError(
                "binary_file",
                "there is a NUL byte, so this is not a text file. Save it as CSV in UTF-8.",
                status=415,
                line=lines,
            )
        lines += block.count("\n")
        end = block.rfind("\n") + 1
        if end:
            yield io.StringIO(rest + block[:end], newline="\n")
            rest = block[end:]
        else:
            rest += block
        if len(rest) > MAX_LINE:
            raise IntakeError(
                "line_too_long",
                f"it is longer than {MAX_LINE:,} characters. Put one address on each line.",
                line=lines + 1,
            )
    if rest:
        yield [rest]


def _undecodable_line(file: BinaryIO) -> int:
    """The number of the file's first line that is not UTF-8."""
    file.seek(0)
    for number, line in enumerate(file, start=1):
        try:
            line.decode("utf-8-sig")
        except UnicodeDecodeError:
            return number
    raise AssertionError("called for a file that is all UTF-8")


def _copy_pieces(batch_id: int, addresses: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    """The addresses as text for COPY, piece by piece, numbered from 1."""
    number = 0
    addresses = iter(addresses)
    while piece := list(islice(addresses, PIECE)):
        rows = []
        for address, line in piece:
            number += 1
            if "\\" in address or not address.isprintable():
                address = address.translate(_COPY_ESCAPES)
            rows.append(f"{batch_id}\t{number}\t{address}\t{line}\n")
        yield "".join(rows).encode()


class _CopyStream:
    """What psycopg2's COPY reads from; keeps the exception that psycopg2 would replace."""

    def __init__(self, pieces: Iterator[bytes], current: Session) -> None:
        self._pieces = pieces
        self._session = current
        self.error: Exception | None = None

    def read(self, _size: int) -> bytes:
        self._session.extend(STALL_SECONDS)
        # A piece may be longer than `size`; psycopg2 passes on all of it.
        try:
            return next(self._pieces, b"")
        except Exception as error:
            self.error = error
            raise


def _copy(stream: _CopyStream) -> None:
    cursor = pool.cursor()
    try:
        cursor.copy_expert("COPY email (batch_id, id, email, row_number) FROM STDIN", stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise
