"""PostgreSQL's COPY, fed piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from tempfile import SpooledTemporaryFile

from postgres.database import Session, pool

# Seconds that the database may take for one piece of the COPY stream, or for the end of it.
STALL_SECONDS = 20.0

# Bytes of a spool in one piece of the COPY stream.
_BLOCK = 1 << 20
# Rows that a spool writes to its file together.
_ROWS = 1000

# Characters that COPY's text form gives a meaning, and how it writes them as text.
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


def escaped(text: str) -> str:
    """Return the text as a column of COPY's text form."""
    if "\\" in text or not text.isprintable():
        for character, written in _ESCAPES:
            text = text.replace(character, written)
    return text


def escaped_all(texts: list[str]) -> list[str]:
    """Return the texts as columns of COPY's text form.

    Texts seldom need escapes, and one look at all of them together is faster than one at each.
    """
    joined = "".join(texts)
    if "\\" in joined or not joined.isprintable():
        return [*map(escaped, texts)]
    return texts


def copy(into: str, pieces: Iterator[bytes], current: Session) -> None:
    """COPY the pieces, in the open transaction; `into` names table, columns and options.

    Raises whatever the iterator raises.
    """
    stream = _Stream(pieces, current)
    try:
        pool.cursor().copy_expert(f"COPY {into}", stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise


class _Stream:
    """The file that psycopg2 reads; keeps the exception that psycopg2 would replace."""

    def __init__(self, pieces: Iterator[bytes], current: Session) -> None:
        self._pieces = pieces
        self._session = current
        self.error: Exception | None = None

    def read(self, _size: int) -> bytes:
        # Making a piece may take long, if a file has very many rows that become no emails.
        self._session.extend(inf)
        try:
            piece = next(self._pieces, b"")
        except Exception as error:
            self.error = error
            raise
        finally:
            self._session.extend(STALL_SECONDS)
        return piece  # it may be longer than `size`; psycopg2 passes on all of it


class Spool:
    """Rows that wait for their COPY, because a connection does one COPY at a time.

    They wait on the disk if there are many. Must be closed.
    """

    def __init__(self, into: str) -> None:
        self._into = into
        # In memory while there is little, because each file on the disk costs a tenth of a
        # millisecond, as much as all rows of a small upload.
        self._file = SpooledTemporaryFile(_BLOCK)  # noqa: SIM115
        self._rows: list[str] = []

    def add(self, row: str) -> None:
        """Add a row: its columns in COPY's text form, with tabs between and a line end."""
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added since the last flush to the file."""
        self._file.write("".join(self._rows).encode())
        self._rows.clear()

    def copy(self, current: Session) -> None:
        """COPY all rows, in the open transaction."""
        self.flush()
        if self._file.tell():
            self._file.seek(0)
            copy(f"{self._into} FROM STDIN", iter(lambda: self._file.read(_BLOCK), b""), current)

    def close(self) -> None:
        self._file.close()
