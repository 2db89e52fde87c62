"""Keeps a batch's file: its bytes, compressed, and the rows that became no emails."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import BinaryIO

from isal import isal_zlib
from peewee import Tuple

from models import FilePiece, SkippedRow
from postgres.copy_in import Insert, Spool, bigint, binary_row, escaped, integer
from postgres.database import Session, fetch_value, session

# Bytes of a file in each piece but the last, before compression (zlib's format, RFC 1950). Another
# size or format would make the stored files unreadable.
PIECE = 1 << 20
# Characters of a row without an address, or of a duplicate's address, that are kept.
CONTENT_LENGTH = 200
KINDS = ("duplicate", "without_address", "blank")

_BLOCK = 1 << 16
_FILE_PIECES = "file_piece (batch_id, number, content)"


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

    def _add(self, line: int, part: int, kind: str, first_line: int | str, content: str) -> None:
        row = f"{self._batch_id}\t{line}\t{part}\t{kind}\t{first_line}\t{content}\n"
        self.add(row.encode())


class KeptPieces(Spool):
    """The pieces of a new batch's file, compressed. Must be closed.

    A file on the disk, of more than one piece, is compressed by a thread of its own from the
    beginning, while the same file is read as rows.
    """

    def __init__(self, batch_id: int, file: BinaryIO) -> None:
        super().__init__(_FILE_PIECES, is_binary=True)
        self._batch_id = batch_id
        self._uploaded = file
        self._closed = False
        self._error: Exception | None = None
        self._thread: Thread | None = None
        with suppress(OSError):  # what is in memory has no descriptor
            descriptor = file.fileno()
            if os.fstat(descriptor).st_size > PIECE:
                self._thread = Thread(target=self._compress, args=(descriptor,), daemon=True)
                self._thread.start()

    def _compress(self, descriptor: int) -> None:
        try:
            number = 0
            # pread() leaves the file's position to whoever reads its rows.
            while piece := os.pread(descriptor, PIECE, number * PIECE):
                if self._closed:
                    return
                self._add(number, piece)
                number += 1
        except Exception as error:  # it is raised where the pieces are wanted
            self._error = error

    def _add(self, number: int, piece: bytes) -> None:
        self.add(binary_row(bigint(self._batch_id), integer(number), _compressed(piece)))
        self.flush()  # a piece may have a megabyte

    def copy(self, current: Session) -> None:
        """COPY all pieces, in the open transaction. Raises what reading the file raised."""
        if self._thread is None:
            self._uploaded.seek(0)
            for number, piece in enumerate(iter(lambda: self._uploaded.read(PIECE), b"")):
                self._add(number, piece)
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        super().copy(current)

    def close(self) -> None:
        """End the thread, and forget the pieces."""
        self._closed = True
        if self._thread is not None:
            self._thread.join()
        super().close()


def whole_file(batch_id: int, file: BinaryIO) -> Insert:
    """Return a small file, at most a piece, as KeptPieces stores it."""
    file.seek(0)
    return Insert(_FILE_PIECES, [(batch_id, 0, _compressed(file.read()))])


def _compressed(piece: bytes) -> bytes:
    return isal_zlib.compress(piece, 1)


def open_kept(batch_id: int) -> BinaryIO:
    """Open the batch's file as it was uploaded. Only reading a piece holds a connection.

    Raises FileNotFoundError if the file isn't kept, and UNREACHABLE; so does each read.
    """
    with session():
        count = FilePiece.select().where(FilePiece.batch_id == batch_id).count()
    if not count:
        raise FileNotFoundError(f"the file of batch {batch_id} is not kept")
    return io.BufferedReader(_KeptFile(batch_id, count), _BLOCK)


class _KeptFile(io.RawIOBase):
    """A kept file of `count` pieces.

    The piece in use is in memory. Once the second piece is wanted, a thread reads the next one
    ahead, over a connection of its own: Python runs other threads while PostgreSQL sends it and
    while it is decompressed.
    """

    def __init__(self, batch_id: int, count: int) -> None:
        self._batch_id = batch_id
        self._count = count
        self._position = 0
        self._number = -1
        self._piece = b""
        self._executor = ThreadPoolExecutor(1)
        # The piece that is read ahead, by its number; empty if none is.
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
            is_in_order = 0 < number == self._number + 1
            if is_in_order and number + 1 < self._count:
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
