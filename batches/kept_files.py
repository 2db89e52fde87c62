"""What is kept of a file beside its emails: its bytes, and the rows that are no emails."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import IO, BinaryIO

from isal import isal_zlib
from peewee import BigIntegerField, BlobField, CompositeKey, IntegerField, TextField

from models import Table
from postgres.copy_in import copy, copy_file, escaped
from postgres.database import Session, pool, session

# Bytes of a file in one piece, before it is compressed (zlib's format, RFC 1950); the last piece
# has the rest. Changing either would make the files that are stored unreadable.
PIECE = 1 << 20
# Characters that are kept of a row without an address, or of a duplicate's address.
CONTENT_LENGTH = 200
KINDS = ("duplicate", "without_address", "blank")

_BLOCK = 1 << 16


class FilePiece(Table):
    """A piece of a batch's file, compressed by itself; `number` counts from 0.

    There is no foreign key, as for emails.
    """

    batch_id = BigIntegerField()
    number = IntegerField()
    content = BlobField()

    class Meta:
        primary_key = CompositeKey("batch_id", "number")


class SkippedRow(Table):
    """A row that became no email. `row_number` is the line that it begins on.

    `first_row` is the line of the email that a duplicate repeats, and `content` the duplicate's
    address, or the row's cells.
    """

    batch_id = BigIntegerField()
    row_number = IntegerField()
    kind = TextField()
    first_row = IntegerField(null=True)
    content = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("batch_id", "row_number")


class Spool:
    """Rows that are no emails, on the disk until the COPY of the emails has ended."""

    def __init__(self, batch_id: int, file: IO[bytes]) -> None:
        self._batch_id = batch_id
        self._file = file
        self._lines: list[str] = []

    def duplicate(self, line: int, first_line: int, address: str) -> None:
        content = escaped(address[:CONTENT_LENGTH])
        self._add(f"{self._batch_id}\t{line}\tduplicate\t{first_line}\t{content}\n")

    def without_address(self, line: int, cells: list[str]) -> None:
        content = escaped(", ".join(cells)[:CONTENT_LENGTH])
        self._add(f"{self._batch_id}\t{line}\twithout_address\t\\N\t{content}\n")

    def blank(self, line: int) -> None:
        self._add(f"{self._batch_id}\t{line}\tblank\t\\N\t\\N\n")

    def _add(self, text: str) -> None:
        self._lines.append(text)
        if len(self._lines) == 1000:
            self._write()

    def _write(self) -> None:
        self._file.write("".join(self._lines).encode())
        self._lines.clear()

    def store(self, current: Session) -> None:
        """COPY all of them, in the transaction that is open."""
        self._write()
        if self._file.tell():
            columns = "batch_id, row_number, kind, first_row, content"
            copy_file(f"skipped_row ({columns}) FROM STDIN", self._file, current)


def keep(batch_id: int, file: BinaryIO, current: Session) -> None:
    """Store the file's bytes, in the transaction that is open."""
    file.seek(0)
    into = "file_piece (batch_id, number, content) FROM STDIN (FORMAT binary)"
    copy(into, _binary_copy(batch_id, file), current)


def _binary_copy(batch_id: int, file: BinaryIO) -> Iterator[bytes]:
    """The pieces in COPY's binary form: a signature, rows of columns with their lengths, an end."""
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    number = 0
    while piece := _read_fully(file):
        content = isal_zlib.compress(piece, 1)
        yield struct.pack("!hiqiii", 3, 8, batch_id, 4, number, len(content)) + content
        number += 1
    yield struct.pack("!h", -1)


def _read_fully(file: BinaryIO) -> bytes:
    """The next PIECE bytes; fewer only at the end."""
    piece = file.read(PIECE)
    while 0 < len(piece) < PIECE and (more := file.read(PIECE - len(piece))):
        piece += more
    return piece


def open_kept(batch_id: int) -> BinaryIO:
    """The batch's file as it was uploaded, seekable. It holds no connection between two reads.

    Raises FileNotFoundError if it isn't kept, here and at any read, and UNREACHABLE.
    """
    with session():
        count = FilePiece.select().where(FilePiece.batch_id == batch_id).count()
    if not count:
        raise FileNotFoundError(f"the file of batch {batch_id} is not kept")
    return io.BufferedReader(_KeptFile(batch_id, count), _BLOCK)


class _KeptFile(io.RawIOBase):
    """A kept file of `count` pieces, of which the newest that was read is in memory."""

    def __init__(self, batch_id: int, count: int) -> None:
        self._batch_id = batch_id
        self._count = count
        self._position = 0
        self._number = -1
        self._piece = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += (self._count - 1) * PIECE + len(self._load(self._count - 1))
        if offset < 0:
            raise ValueError("negative position")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        number, start = divmod(self._position, PIECE)
        if number >= self._count:
            return 0
        data = self._load(number)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _load(self, number: int) -> bytes:
        if number != self._number:
            with session():
                row = pool.execute_sql(
                    "SELECT content FROM file_piece WHERE batch_id = %s AND number = %s",
                    (self._batch_id, number),
                ).fetchone()
            if row is None:
                raise FileNotFoundError(f"the file of batch {self._batch_id} is no longer kept")
            self._number, self._piece = number, isal_zlib.decompress(row[0])
        return self._piece


def skipped(batch_id: int, kind: str | None, after: int, limit: int) -> list[SkippedRow]:
    """The batch's rows that became no emails, by line, those after the line `after`.

    `kind` is one of KINDS, or None for all.
    """
    query = SkippedRow.select().where(
        SkippedRow.batch_id == batch_id, SkippedRow.row_number > after
    )
    if kind is not None:
        query = query.where(SkippedRow.kind == kind)
    return list(query.order_by(SkippedRow.row_number).limit(limit))
