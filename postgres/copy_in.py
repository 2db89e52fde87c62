"""Rows into PostgreSQL: COPY, fed piece by piece, and INSERT for rows too few for a COPY."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from math import inf
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

from postgres.database import Session, pool

# Seconds that the database may take for one piece of the COPY stream, for the end of it, or for the
# message of an insert().
STALL_SECONDS = 20.0

# Bytes of a spool that are read and sent at once.
_SENT = 1 << 16
# Bytes of a spool that stay in memory.
_IN_MEMORY = 1 << 20
# Rows that a spool writes to its file together.
_ROWS = 1000

# What COPY's binary form begins and ends with; the length of a NULL in it.
_BINARY_BEGIN, _BINARY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_NULL = b"\xff" * 4
# Return a number as a column of that form.
bigint, integer = struct.Struct("!q").pack, struct.Struct("!i").pack

# Characters that COPY's text form gives a meaning, and how it writes them as text.
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


def escaped(text: str) -> str:
    """Return the text as a column of COPY's text form."""
    if "\\" in text or not text.isprintable():
        for character, written in _ESCAPES:
            text = text.replace(character, written)
    return text


def binary_row(*columns: bytes | None) -> bytes:
    """Return a row of COPY's binary form: the number of columns, and each one after its length.

    A column is a bigint(), an integer(), a text in UTF-8, or None for NULL.
    """
    row = [struct.pack("!h", len(columns))]
    for column in columns:
        row += [_NULL] if column is None else [integer(len(column)), column]
    return b"".join(row)


def copy(into: str, pieces: Iterator[bytes], current: Session) -> None:
    """COPY pieces of COPY's text form, in the open transaction; `into` names table and columns.

    Pieces may be cut anywhere, but an empty one ends the COPY. Raises whatever the iterator raises.
    """
    _copy(f"COPY {into} FROM STDIN", pieces, current)


def copy_binary(into: str, pieces: Iterator[bytes], current: Session) -> None:
    """Do as copy(), with rows as binary_row() returns them, joined and cut anywhere."""
    all_pieces = chain([_BINARY_BEGIN], pieces, [_BINARY_END])
    _copy(f"COPY {into} FROM STDIN (FORMAT binary)", all_pieces, current)


def _copy(statement: str, pieces: Iterator[bytes], current: Session) -> None:
    stream = _Stream(pieces, current)
    try:
        pool.cursor().copy_expert(statement, stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise
    finally:
        # Otherwise the error and its traceback would keep each other, and files open.
        stream.error = None


class _Stream:
    """The file that psycopg2 reads; keeps the exception that psycopg2 would replace."""

    def __init__(self, pieces: Iterator[bytes], current: Session) -> None:
        self._pieces = pieces
        self._session = current
        self.error: Exception | None = None

    def read(self, _size: int) -> bytes:
        """Return a piece; psycopg2 takes more than `size`, too."""
        # Making a piece may take long, if a file has very many rows that become no emails.
        self._session.extend(inf)
        try:
            return next(self._pieces, b"")
        except Exception as error:
            self.error = error
            raise
        finally:
            self._session.extend(STALL_SECONDS)


class Insert(NamedTuple):
    """An INSERT of rows, one at least.

    into: names table and columns.
    """

    into: str
    rows: Sequence[Sequence[Any]]

    @property
    def sql(self) -> str:
        row = f"({', '.join(['%s'] * len(self.rows[0]))})"
        return f"INSERT INTO {self.into} VALUES {', '.join([row] * len(self.rows))}"


def insert(inserts: Sequence[Insert], current: Session, *, commit: bool = False) -> None:
    """Insert rows in the open transaction, in this order, and commit it or not; in one message."""
    current.extend(STALL_SECONDS)
    statements = [each.sql for each in inserts] + ["COMMIT"] * commit
    values = [value for each in inserts for row in each.rows for value in row]
    pool.execute_sql(";".join(statements), values)


class Spool:
    """Rows that wait for their COPY, because a connection does one COPY at a time.

    They wait on the disk if there are many. Must be closed.
    """

    def __init__(self, into: str, *, is_binary: bool = False) -> None:
        self.into = into
        self._is_binary = is_binary
        # In memory while there is little, because each file on the disk costs a tenth of a
        # millisecond, as much as all rows of a small upload.
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._rows: list[bytes] = []

    def add(self, row: bytes) -> None:
        """Add a row in COPY's text or binary form."""
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added since the last flush to the file."""
        self._file.write(b"".join(self._rows))
        self._rows.clear()

    def copy(self, current: Session) -> None:
        """COPY all rows, in the open transaction."""
        self.flush()
        if self._file.tell():
            self._file.seek(0)
            blocks = iter(lambda: self._file.read(_SENT), b"")
            (copy_binary if self._is_binary else copy)(self.into, blocks, current)

    def close(self) -> None:
        self._file.close()
