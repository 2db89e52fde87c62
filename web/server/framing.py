"""Stricter checks than waitress's of a request's target and of the end of its body (RFC 9112).

A proxy and this server must never disagree about either, so a request that can be read in two ways
is refused. All checks take time in proportion to the bytes received, and all sizes are limited.
"""

from __future__ import annotations

import re
from typing import Any

from waitress.receiver import ChunkedReceiver
from waitress.rfc7230 import CHUNK_EXT_RE

# The most bytes of a line between chunks.
MAX_LINE = 4_096
# The most bytes of all chunk extensions and trailers of one body.
MAX_LINES = 65_536

_HOST = re.compile(r"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(;.*)?\r\n")
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*([^\r]*)", re.I | re.M)
_TRANSFER_ENCODING = re.compile(rb"^transfer-encoding:[ \t]*([^\r]*)", re.I | re.M)
_FOLDED = re.compile(rb"\n[ \t]")
# No real length has more digits, and Python refuses to convert thousands of them.
_MAX_DIGITS = 19


class FramingError(Exception):
    """A request is malformed; the message is a sentence for the client."""


def check_raw(head: bytes) -> None:
    """Check the lines of a request's head before they are parsed. Raises FramingError."""
    lengths, encodings = _CONTENT_LENGTH.findall(head), _TRANSFER_ENCODING.findall(head)
    if lengths and encodings:
        raise FramingError(
            "The request has both Content-Length and Transfer-Encoding; send one of them."
        )
    if any(len(length.strip()) > _MAX_DIGITS for length in lengths):
        raise FramingError("Content-Length is not a length that a body can have.")
    if encodings:
        _, _, version = head.partition(b"\r\n")[0].rpartition(b" ")
        if version != b"HTTP/1.1":
            raise FramingError("Transfer-Encoding needs HTTP/1.1.")
        if len(encodings) > 1 or b"," in encodings[0] or not encodings[0].strip():
            raise FramingError("Transfer-Encoding must be chunked, and nothing else.")
    if _FOLDED.search(head):
        raise FramingError("A header continues on the next line; send each on one line.")


def check_target(parser: Any) -> None:
    """Check the target and the host of a parsed request. Raises FramingError."""
    host = parser.headers.get("HOST")
    if host is None and parser.version == "1.1":
        raise FramingError("The request has no Host header, which HTTP/1.1 requires.")
    # waitress joins several Host headers by commas, which no host has.
    if host and not _HOST.fullmatch(host):
        raise FramingError("The Host header must be one host, with or without a port.")
    if parser.proxy_netloc and parser.proxy_netloc.lower() != (host or "").lower():
        raise FramingError("The request's address has another host than its Host header.")
    if not (parser.proxy_netloc or parser.path.startswith("/") or parser.path == "*"):
        raise FramingError("The request's address must begin with a slash.")


class Chunked(ChunkedReceiver):  # type: ignore[misc]
    """Receives a chunked body. Raises its errors, in place of setting `error`.

    Unlike waitress's own class, it appends all chunks of the data received to the buffer at once,
    and never searches earlier data again, so that very many small chunks cost little.
    """

    def __init__(self, buf: Any) -> None:
        super().__init__(buf)
        self._line = b""  # the part received of an incomplete line
        self._lines = 0  # bytes of extensions and trailers received
        self._remain = 0  # bytes of the current chunk that are still to come
        self._chunk_ends = False  # a CRLF must follow the current chunk's data
        self._in_trailer = False

    def received(self, data: bytes) -> int:
        """Receive the body's bytes in `data`, and return their number. Raises FramingError."""
        chunks, at = [], 0
        while at < len(data) and not self.completed:
            if self._remain:
                chunk = data[at : at + self._remain]
                chunks.append(chunk)
                self._remain -= len(chunk)
                at += len(chunk)
                continue
            if not (self._line or self._chunk_ends or self._in_trailer):
                at = _take_whole(data, at, chunks)
            at = self._receive_line(data, at)
        if chunks:
            self.buf.append(b"".join(chunks))
        return at

    def _receive_line(self, data: bytes, start: int) -> int:
        """Receive a line, or its part in `data`, from `start` on; return the end in `data`."""
        end = data.find(b"\n", start) + 1
        self._line += data[start : end or len(data)]
        if len(self._line) > MAX_LINE:
            raise FramingError(f"A line between the chunks is longer than {MAX_LINE:,} bytes.")
        if not end:
            return len(data)
        line, self._line = self._line, b""
        if self._in_trailer:
            self.completed = line == b"\r\n"
            self._count(len(line))
        elif self._chunk_ends:
            if line != b"\r\n":
                raise FramingError("A chunk is longer than it says.")
            self._chunk_ends = False
        else:
            self._begin(line)
        return end

    def _begin(self, line: bytes) -> None:
        """Begin the chunk whose size and extensions are in `line`."""
        match = _CHUNK.fullmatch(line)
        if match is None or not CHUNK_EXT_RE.match(match[2] or b""):
            raise FramingError("The size of a chunk is malformed.")
        self._count(len(match[2] or b""))
        self._remain = int(match[1], 16)
        self._in_trailer, self._chunk_ends = not self._remain, bool(self._remain)

    def _count(self, size: int) -> None:
        self._lines += size
        if self._lines > MAX_LINES:
            raise FramingError(
                f"The chunk extensions and trailers have over {MAX_LINES:,} bytes together."
            )


def _take_whole(data: bytes, at: int, chunks: list[bytes]) -> int:
    """Append the next chunks that are complete and without extensions; return where they end.

    There may be very many, and this is faster than line by line.
    """
    while match := _SIZE.match(data, at):
        start, size = match.end(), int(match[1], 16)
        if not size or not data.startswith(b"\r\n", start + size):
            break
        chunks.append(data[start : start + size])
        at = start + size + 2
    return at
