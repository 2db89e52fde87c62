"""PostgreSQL's COPY, fed piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from postgres.database import Session, pool

# Seconds that the database may take for one piece of the COPY stream, or for the end of it.
STALL_SECONDS = 20.0

# Bytes of a file in one piece.
_BLOCK = 1 << 20

# What COPY's text form would take for something else.
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


def escaped(text: str) -> str:
    """The text as a column of COPY's text form."""
    if "\\" in text or not text.isprintable():
        for character, written in _ESCAPES:
            text = text.replace(character, written)
    return text


def escaped_all(texts: list[str]) -> list[str]:
    """The texts as columns; mostly they are such already, which shows of all at once."""
    joined = "".join(texts)
    if "\\" in joined or not joined.isprintable():
        return [*map(escaped, texts)]
    return texts


def copy(into: str, pieces: Iterator[bytes], current: Session) -> None:
    """COPY the pieces into the table, columns and options that `into` names.

    What the pieces raise is raised.
    """
    stream = _Stream(pieces, current)
    cursor = pool.cursor()
    try:
        cursor.copy_expert(f"COPY {into}", stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise


def copy_file(into: str, file: IO[bytes], current: Session) -> None:
    """COPY what is in the file, from its beginning, as copy() does."""
    file.seek(0)
    copy(into, iter(lambda: file.read(_BLOCK), b""), current)


class _Stream:
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
