"""Keeps a batch's file: its bytes, compressed, and the rows that became no emails."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from isal import isal_zlib
from peewee import Tuple

from models import FilePiece, SkippedRow
from postgres.copy_in import Spool, copy, escaped
from postgres.database import Session, fetch_value, session

# Bytes of a file in each piece but the last, before compression (zlib's format, RFC 1950). Another
# size or format would make the stored files unreadable.
PIECE = 1 << 20
# Characters of a row without an address, or of a duplicate's address, that are kept.
CONTENT_LENGTH = 200
KINDS = ("duplicate", "without_address", "blank")

_BLOCK = 1 << 16


class SkippedRows(Spool):
    """The rows and addresses of a new batch's file that become no emails. Must be closed."""

    def __init__(self, batch_id: int) -> None:
        super().__init__("skipped_row (batch_id, row_number, part, kind, first_row, content)")
        self._batch_id = batch_id

    def duplicate(self, line: int, part: int, first_line: int, address: str) -> None:
        """Add an address that came before; `part` is its place in its row, from 0."""
        content = escaped(address[:CONTENT_LENGTH])
        self.add(f"{self._batch_id}\t{line}\t{part}\tduplicate\t{first_line}\t{content}\n")

    def without_address(self, line: int, cells: list[str]) -> None:
        content = escaped(", ".join(cells).rstrip(", ")[:CONTENT_LENGTH])
        self.add(f"{self._batch_id}\t{line}\t0\twithout_address\t\\N\t{content}\n")

    def blank(self, line: int) -> None:
        self.add(f"{self._batch_id}\t{line}\t0\tblank\t\\N\t\\N\n")


def keep(batch_id: int, file: BinaryIO, current: Session) -> None:
    """Store the bytes of a buffered file, in the open transaction."""
    file.seek(0)
    into = "file_piece (batch_id, number, content) FROM STDIN (FORMAT binary)"
    copy(into, _binary_copy(batch_id, file), current)


def _binary_copy(batch_id: int, file: BinaryIO) -> Iterator[bytes]:
    """Yield the pieces of the file in COPY's binary form: a signature, the rows, and an end.

    In a row, each column follows its length.
    """
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for number, piece in enumerate(iter(lambda: file.read(PIECE), b"")):
        content = isal_zlib.compress(piece, 1)
        yield struct.pack("!hiqiii", 3, 8, batch_id, 4, number, len(content)) + content
    yield struct.pack("!h", -1)


def open_kept(batch_id: int) -> BinaryIO:
    """Open the batch's file as it was uploaded. No connection is held until the next read.

    Raises FileNotFoundError if the file isn't kept, and UNREACHABLE; so does each read.
    """
    with session():
        count = FilePiece.select().where(FilePiece.batch_id == batch_id).count()
    if not count:
        raise FileNotFoundError(f"the file of batch {batch_id} is not kept")
    return io.BufferedReader(_KeptFile(batch_id, count), _BLOCK)


class _KeptFile(io.RawIOBase):
    """A kept file of `count` pieces.

    The piece that was read last is in memory. From the second one on, a thread reads the next one
    while it is used: PostgreSQL and the decompression let other threads run Python meanwhile.
    """

    def __init__(self, batch_id: int, count: int) -> None:
        self._batch_id = batch_id
        self._count = count
        self._position = 0
        self._number = -1
        self._piece = b""
        self._executor = ThreadPoolExecutor(1)
        # By number: the piece that is being read.
        self._ahead: dict[int, Future[bytes]] = {}

    def close(self) -> None:
        self._executor.shutdown()
        super().close()

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
            ahead = self._ahead.pop(number, None)
            piece = ahead.result() if ahead else self._read_piece(number)
            if 0 < number == self._number + 1 < self._count - 1:  # they are read in order
                self._ahead = {number + 1: self._executor.submit(self._read_piece, number + 1)}
            self._number, self._piece = number, piece
        return self._piece

    def _read_piece(self, number: int) -> bytes:
        with session():
            content = fetch_value(
                "SELECT content FROM file_piece WHERE batch_id = %s AND number = %s",
                (self._batch_id, number),
            )
        if content is None:
            raise FileNotFoundError(f"the file of batch {self._batch_id} is no longer kept")
        piece: bytes = isal_zlib.decompress(content)
        return piece


def skipped(
    batch_id: int, kinds: Sequence[str], after: tuple[int, int], limit: int
) -> list[SkippedRow]:
    """Return the first `limit` rows that became no emails after a line and the part of its row.

    kinds: those of KINDS that are wanted.
    """
    line, part = after
    query = SkippedRow.select().where(
        SkippedRow.batch_id == batch_id,
        Tuple(SkippedRow.row_number, SkippedRow.part) > Tuple(line, part),
        SkippedRow.kind.in_(kinds),
    )
    return list(query.order_by(SkippedRow.row_number, SkippedRow.part).limit(limit))
