"""Cutting the emails of a new batch into chunks."""

from __future__ import annotations

from typing import IO

from copying import copy_file
from database import Session

# Characters of addresses at which a chunk ends, however few emails it has: a worker holds them all.
# A chunk of the most emails that can be set has half as many, at 40 characters an address.
MAX_CHARACTERS = 8_000_000
# A line end in COPY's text form.
_LINE_END = "\\n"


class Chunks:
    """Chunks of a batch as its emails come, on the disk until the COPY of the emails has ended."""

    def __init__(self, batch_id: int, size: int, file: IO[bytes]) -> None:
        self._batch_id = batch_id
        self._size = size
        self._file = file
        # What is in no chunk yet, as columns of COPY's text form, and the id of its first email.
        self._texts: list[str] = []
        self._characters = 0
        self._first_id = 1

    def add(self, texts: list[str]) -> None:
        """Add the next emails' addresses, as columns of COPY's text form."""
        self._texts += texts
        self._characters += sum(map(len, texts))
        while len(self._texts) >= self._size:
            self._write(self._texts[: self._size])
        if self._characters >= MAX_CHARACTERS:
            self._write(self._texts)

    def _write(self, texts: list[str]) -> None:
        # With one that has a line end of its own, nobody could tell them apart again.
        addresses = _LINE_END.join(texts)
        if addresses.count(_LINE_END) != len(texts) - 1:
            addresses = "\\N"
        last_id = self._first_id + len(texts) - 1
        self._file.write(f"{self._batch_id}\t{self._first_id}\t{last_id}\t{addresses}\n".encode())
        self._first_id = last_id + 1
        self._texts = self._texts[len(texts) :]
        self._characters -= sum(map(len, texts))

    def store(self, current: Session) -> None:
        """COPY all of them, in the transaction that is open."""
        if self._texts:
            self._write(self._texts)
        copy_file("chunk (batch_id, first_id, last_id, addresses) FROM STDIN", self._file, current)
