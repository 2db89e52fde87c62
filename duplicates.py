"""Which addresses of a file were there before.

A million addresses as Python's strings would take a hundred megabytes. They are kept on the disk
instead, and in memory a table of hashes, about 20 bytes an address, which says where on the disk
one is that may be the same. A hash alone decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

_Numbers = npt.NDArray[np.uint32]

# Slots of the table at first; it has twice as many when half of them are taken.
_SLOTS = 1 << 13
# Keys that get new slots at once; more would take memory for what is found out about each.
_AT_ONCE = 1 << 16


class Seen:
    """The keys that were added, numbered from 0, each with the line that it came from.

    `file` is a temporary one for the keys, unbuffered; 4 GB of them at most.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._count = 0
        # Of each key its hash, its line, and where it begins in the file, as the next one does.
        self._hashes = np.zeros(_SLOTS, np.uint32)
        self._lines = np.zeros(_SLOTS, np.uint32)
        self._places = np.zeros(_SLOTS + 1, np.uint32)
        # By hash: the number of a key, and one more; 0 where there is none. A key whose slot is
        # taken is in one of the next.
        self._slots = np.zeros(_SLOTS, np.uint32)

    def add(self, keys: list[str], lines: Sequence[int]) -> dict[int, int]:
        """Add keys, and tell which of them were there before, or earlier among these.

        By their positions, each with the line where the key came first.
        """
        first, self._count = self._count, self._count + len(keys)
        self._make_room()
        here = slice(first, self._count)
        # The low half of each hash.
        self._hashes[here] = np.fromiter(map(hash, keys), np.int64, len(keys)).astype(np.uint32)
        self._lines[here] = lines
        self._write(keys, first)
        repeated = self._insert(np.arange(first, self._count, dtype=np.uint32))
        return {number - first: int(self._lines[before]) for number, before in repeated}

    def _write(self, keys: list[str], first: int) -> None:
        text = "".join(keys).encode()
        lengths = [*map(len, keys)]
        if len(text) != sum(lengths):
            lengths = [len(key.encode()) for key in keys]
        ends = np.array(lengths, np.uint32).cumsum(dtype=np.uint32)
        self._places[first + 1 : self._count + 1] = self._places[first] + ends
        self._file.write(text)

    def _make_room(self) -> None:
        if self._count > len(self._hashes):
            more = self._count - len(self._hashes) + len(self._hashes) // 4
            for name in ("_hashes", "_lines", "_places"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros(more, np.uint32))))
        if 2 * self._count > len(self._slots):
            numbers = self._slots[self._slots > 0] - 1
            size = len(self._slots)
            while 2 * self._count > size:
                size *= 2
            self._slots = np.zeros(size, np.uint32)
            for start in range(0, len(numbers), _AT_ONCE):
                self._insert(numbers[start : start + _AT_ONCE])

    def _insert(self, pending: _Numbers) -> list[tuple[int, int]]:
        """Give each of these keys a slot; or tell which key before it is the same, by numbers."""
        repeated = []
        mask = np.uint32(len(self._slots) - 1)
        slots = self._hashes[pending] & mask
        while len(pending):
            # Of several that come to a free slot, the first gets it, as it is written last.
            free = np.flatnonzero(self._slots[slots] == 0)[::-1]
            self._slots[slots[free]] = pending[free] + 1
            there = self._slots[slots] - 1
            others = there != pending
            alike = others & (self._hashes[there] == self._hashes[pending])
            for position in np.flatnonzero(alike):
                number, before = int(pending[position]), int(there[position])
                if self._key(number) == self._key(before):
                    repeated.append((number, before))
                    others[position] = False
            pending, slots = pending[others], (slots[others] + 1) & mask
        return repeated

    def _key(self, number: int) -> bytes:
        start, end = int(self._places[number]), int(self._places[number + 1])
        return os.pread(self._file.fileno(), end - start, start)
