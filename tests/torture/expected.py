"""What is expected of the files that a torture run uploads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

# What is known of an upload. Acknowledged: it must exist whole, once. Unknown, because nobody
# answered: it may exist whole, once, or not at all. Broken off: it must not exist.
ACKNOWLEDGED, UNKNOWN, BROKEN_OFF = "acknowledged", "unknown", "broken off"


class Row(NamedTuple):
    """One row of an uploaded file.

    `kind` is one of those of ROWS below; `line` is the line that it begins on, `text` all of it
    as it stands in the file. What follows is for kind `email`: the address, what is to become of
    it after so many `rounds`, and whether it `stops` the processor, by which it is interrupted if
    its work must not be repeated.
    """

    kind: str
    line: int
    text: str
    address: str = ""
    status: str = "processed"
    reason: str | None = None
    rounds: int = 1
    stops: bool = False


# The kinds of rows, and the column of table batch that counts each.
ROWS = {
    "email": "total_emails",
    "duplicate": "duplicate_rows",
    "without address": "rows_without_address",
    "blank": "blank_rows",
}


class Expected(Protocol):
    """An upload, by a filename of its own.

    `asked` is what people asked for its batch: `finish`, `cancel`; and `cancelled` once they were
    answered that it is.
    """

    @property
    def filename(self) -> str: ...

    @property
    def standing(self) -> str: ...

    @property
    def asked(self) -> set[str]: ...

    def rows(self) -> Iterator[Row]: ...
