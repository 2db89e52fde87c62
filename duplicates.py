"""Which addresses of a file were there before.

A million addresses as Python's strings would take a hundred megabytes. They are kept on the disk
instead, and in memory a table of hashes, 10 to 15 bytes an address, which says which one it may be
that is the same. A hash alone decides nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

_Numbers = npt.NDArray[np.uint32]

# Slots of the table at first; it has twice as many when more than this share of them is taken.
_SLOTS = 1 << 13
_FULL = 0.8
# Keys that get new slots at once; more would take memory for what is found out about each.
_AT_ONCE = 1 << 16
# What is on the disk of each key besides: where it is, how long in bytes, and its line.
_RECORD = np.dtype([("place", np.uint64), ("length", np.uint32), ("line", np.uint32)])
_PACKED = struct.Struct("=QII")


class Seen:
    """The keys that were added, numbered from 0, each with the line that it came from.

    Both files are temporary ones. There can be 4 billion keys at most.
    """

    def __init__(self, keys_file: IO[bytes], records_file: IO[bytes]) -> None:
        self._keys = keys_file
        self._records = records_file
        self._size = 0  # of the keys, in bytes
        self._count = 0
        self._hashes = np.zeros(_SLOTS, np.uint32)
        # By hash: the number of a key, and one more; 0 where there is none.
        self._slots = np.zeros(_SLOTS, np.uint32)

    def add(self, keys: list[str], lines: Sequence[int]) -> dict[int, int]:
        """Add keys, and tell which of them were there before, or earlier among these.

        By their positions, each with the line where the key came first.
        """
        first, self._count = self._count, self._count + len(keys)
        self._make_room()
        # The low half of each hash.
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).astype(np.uint32)
        self._hashes[first : self._count] = hashes
        self._write(keys, lines)
        return self._insert(np.arange(first, self._count, dtype=np.uint32), keys)

    def _write(self, keys: list[str], lines: Sequence[int]) -> None:
        text = "".join(keys).encode()
        lengths = np.fromiter(map(len, keys), np.uint32, len(keys))
        if len(text) != lengths.sum():
            lengths = np.fromiter((len(key.encode()) for key in keys), np.uint32, len(keys))
        records = np.empty(len(keys), _RECORD)
        records["length"] = lengths
        records["line"] = np.fromiter(lines, np.uint32, len(keys))
        records["place"] = self._size + lengths.cumsum(dtype=np.uint64) - lengths
        self._keys.write(text)
        self._records.write(records.tobytes())
        # They are read by their descriptors.
        self._keys.flush()
        self._records.flush()
        self._size += len(text)

    def _make_room(self) -> None:
        if self._count > len(self._hashes):
            # In its place, where there is room; a copy would be there twice for a moment.
            self._hashes.resize(self._count + len(self._hashes) // 16, refcheck=False)
        size = len(self._slots)
        while self._count > _FULL * size:
            size *= 2
        if size > len(self._slots):
            numbers = self._slots[self._slots > 0]
            numbers -= 1
            del self._slots  # before there are others
            self._slots = np.zeros(size, np.uint32)
            for start in range(0, len(numbers), _AT_ONCE):
                self._insert(numbers[start : start + _AT_ONCE])

    def _insert(self, pending: _Numbers, keys: Sequence[str] = ()) -> dict[int, int]:
        """Give each of these numbers a slot; unless its key, if `keys` are given, was there before.

        Those are returned as add() does.
        """
        repeated = {}
        first = self._count - len(keys)
        mask = np.uint32(len(self._slots) - 1)
        slots = self._hashes[pending] & mask
        while len(pending):
            # Of several that come to a free slot, the first gets it, as it is written last.
            free = np.flatnonzero(self._slots[slots] == 0)[::-1]
            self._slots[slots[free]] = pending[free] + 1
            there = self._slots[slots] - 1
            others = there != pending
            if keys:
                alike = others & (self._hashes[there] == self._hashes[pending])
                for position in np.flatnonzero(alike):
                    number = int(pending[position]) - first
                    line = self._line_of(int(there[position]), keys[number])
                    if line is not None:
                        repeated[number] = line
                        others[position] = False
            pending, slots = pending[others], slots[others]
            # Whose slot is taken goes on by steps of its own, and doesn't meet the same ones again.
            slots = (slots + (self._hashes[pending] >> 7 | 1)) & mask
        return repeated

    def _line_of(self, number: int, key: str) -> int | None:
        """The line of this number's key, if it is the one given."""
        record = os.pread(self._records.fileno(), _PACKED.size, number * _PACKED.size)
        place, length, line = _PACKED.unpack(record)
        same = os.pread(self._keys.fileno(), length, place) == key.encode()
        return line if same else None
