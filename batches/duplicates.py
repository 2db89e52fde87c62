"""Which addresses of a file were there before.

A million addresses as Python's strings would take a hundred megabytes. They are kept on the disk
instead, and found by their hashes. A hash alone decides nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile

import numpy as np

from batches.hashes import Hashes, SortedHashes

# What is on the disk of each key besides: where it is, how long in bytes, and its line.
_RECORD = np.dtype([("place", np.uint64), ("length", np.uint32), ("line", np.uint32)])
_PACKED = struct.Struct("=QII")


class Seen:
    """The keys that were added, numbered from 0, each with the line that it came from.

    It must be closed, because it has temporary files. There can be 4 billion keys at most.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            self._keys, self._records, *files = (
                stack.enter_context(TemporaryFile()) for _ in range(4)
            )
            self._hashes = SortedHashes(*files)
            self._files = stack.pop_all()
        self._size = 0  # of the keys, in bytes
        self._count = 0

    def close(self) -> None:
        self._files.close()

    def add(self, keys: Sequence[str], lines: Sequence[int]) -> dict[int, int]:
        """Add keys, and tell which of them were there before, or earlier among these.

        By their positions, each with the line where the key came first.
        """
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
        repeated = {}
        for position, number in self._hashes.find(hashes):
            line = self._line_of(number, keys[position])
            if line is not None:
                repeated[position] = line
        for position, first in _repeats(keys, hashes):
            repeated.setdefault(position, lines[first])
        numbers = np.arange(self._count, self._count + len(keys), dtype=np.uint32)
        again = [*repeated]
        self._hashes.add(np.delete(hashes, again), np.delete(numbers, again))
        self._write(keys, lines)
        return repeated

    def _write(self, keys: Collection[str], lines: Iterable[int]) -> None:
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
        self._count += len(keys)

    def _line_of(self, number: int, key: str) -> int | None:
        """The line of this number's key, if it is the one given."""
        record = os.pread(self._records.fileno(), _PACKED.size, number * _PACKED.size)
        place, length, line = _PACKED.unpack(record)
        same = os.pread(self._keys.fileno(), length, place) == key.encode()
        return line if same else None


def _repeats(keys: Sequence[str], hashes: Hashes) -> Iterable[tuple[int, int]]:
    """Positions of those that were earlier among these, and where the same one is first."""
    ordered = np.sort(hashes)
    if (ordered[1:] != ordered[:-1]).all():
        return
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        if first.setdefault(key, position) < position:
            yield position, first[key]
