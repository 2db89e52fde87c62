"""Keeps a batch's file: its bytes, compressed, and the rows that became no emails."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from isal import isal_zlib
from peewee import Tuple

from models import FilePiece, SkippedRow
from postgres.copy_in import Spool, copy_binary, escaped
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
        self._add(line, part, "duplicate", first_line, content)

    def without_address(self, line: int, cells: list[str]) -> None:
        content = escaped(", ".join(cells).rstrip(", ")[:CONTENT_LENGTH])
        self._add(line, 0, "without_address", "\\N", content)

    def blank(self, line: int) -> None:
        self._add(line, 0, "blank", "\\N", "\\N")

    def _add(self, *columns: int | str) -> None:
        self.add("\t".join(map(str, (self._batch_id, *columns))).encode() + b"\n")


def keep(batch_id: int, file: BinaryIO, current: Session) -> None:
    """Store the bytes of a buffered file, in the open transaction."""
    file.seek(0)
    copy_binary("file_piece (batch_id, number, content)", _rows(batch_id, file), current)


def _rows(batch_id: int, file: BinaryIO) -> Iterator[bytes]:
    """Yield the pieces of the file as rows of COPY's binary form."""
    for number, piece in enumerate(iter(lambda: file.read(PIECE), b"")):
        content = isal_zlib.compress(piece, 1)
        yield struct.pack("!hiqiii", 3, 8, batch_id, 4, number, len(content)) + content


def open_kept(batch_id: int) -> BinaryIO:
    """Open the batch's file as it was uploaded. No connection is held between two reads.

    Raises FileNotFoundError if the file isn't kept, and UNREACHABLE; so does each read.
    """
    with session():
        count = FilePiece.select().where(FilePiece.batch_id == batch_id).count()
    if not count:
        raise FileNotFoundError(f"the file of batch {batch_id} is not kept")
    return io.BufferedReader(_KeptFile(batch_id, count), _BLOCK)


class _KeptFile(io.RawIOBase):
    """A kept file of `count` pieces. The piece that was read last is in memory."""

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
                content = fetch_value(
                    "SELECT content FROM file_piece WHERE batch_id = %s AND number = %s",
                    (self._batch_id, number),
                )
            if content is None:
                raise FileNotFoundError(f"the file of batch {self._batch_id} is no longer kept")
            self._number, self._piece = number, isal_zlib.decompress(content)
        return self._piece


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
