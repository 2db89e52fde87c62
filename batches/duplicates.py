"""Finds duplicates by a set of addresses in bounded memory.

A million addresses as Python's strings would take a hundred megabytes. They are written to the disk
instead, and found by their hashes. Addresses with the same hash are compared.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from tempfile import TemporaryFile

import numpy as np

from batches.hashes import Hashes, HashSet
from batches.pieces import Lines
from runtime.texts import Texts

# A record on the disk for each address: its place among the bytes of all, its length in bytes, and
# its line. Many records are written at once by NumPy, and one is read by struct.
_RECORD = np.dtype([("place", np.uint64), ("length", np.uint32), ("line", np.uint32)])
_PACKED = struct.Struct("=QII")

# The most addresses, and bytes of them, of which none is written to the disk: that takes a
# millisecond, as long as all else that is done with the rows of a small list.
FEW, FEW_BYTES = 2_000, 1_000_000


class AddressSet:
    """A set of up to 4 billion addresses, each with the line where it came first.

    Must be closed, because it may have temporary files.
    """

    def __init__(self) -> None:
        # Lines by addresses, until there are too many of them.
        self._few: dict[bytes, int] = {}
        self._bytes = 0
        self._many: _OnDisk | None = None

    def close(self) -> None:
        if self._many is not None:
            self._many.close()

    def add(self, addresses: Texts, lines: Lines) -> dict[int, int]:
        """Add addresses, and return the duplicates among them.

        The result has each duplicate's position, and the line where the same address came first.
        """
        if self._many is None:
            self._bytes += len(addresses.content)
            if len(self._few) + len(addresses) <= FEW and self._bytes <= FEW_BYTES:
                return self._add_few(addresses, lines)
            self._many = _OnDisk()
            before = Texts.of([address.decode() for address in self._few])
            self._many.add(before, np.array([*self._few.values()], np.int64))
            self._few.clear()
        return self._many.add(addresses, lines)

    def _add_few(self, addresses: Texts, lines: Lines) -> dict[int, int]:
        duplicates = {}
        each = zip(addresses.each, lines.tolist(), strict=True)
        for position, (address, line) in enumerate(each):
            count = len(self._few)
            first = self._few.setdefault(address, line)
            if len(self._few) == count:
                duplicates[position] = first
        return duplicates


class _OnDisk:
    """An AddressSet of any size."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self._addresses, self._records, *files = (
                stack.enter_context(TemporaryFile()) for _ in range(4)
            )
            self._hashes = HashSet(*files)
            self._files = stack.pop_all()
        self._size = 0  # bytes of all addresses
        self._count = 0

    def close(self) -> None:
        self._files.close()

    def add(self, addresses: Texts, lines: Lines) -> dict[int, int]:
        """Do as AddressSet.add()."""
        each = addresses.each
        hashes = np.fromiter(map(hash, each), np.int64, len(each)).view(np.uint64)
        duplicates = {}
        for position, number in self._hashes.find(hashes):
            line = self._line_of(number, each[position])
            if line is not None:
                duplicates[position] = line
        for position, first in _repeats(each, hashes):
            duplicates.setdefault(position, int(lines[first]))
        numbers = np.arange(self._count, self._count + len(each), dtype=np.uint32)
        again = [*duplicates]
        self._hashes.add(np.delete(hashes, again), np.delete(numbers, again))
        self._write(addresses, lines)
        return duplicates

    def _write(self, addresses: Texts, lines: Lines) -> None:
        records = np.empty(len(addresses), _RECORD)
        records["place"] = self._size + addresses.starts
        records["length"] = addresses.lengths
        records["line"] = lines
        self._addresses.write(addresses.content)
        self._records.write(records.tobytes())
        # pread() sees only what has left Python's buffers.
        self._addresses.flush()
        self._records.flush()
        self._size += len(addresses.content)
        self._count += len(addresses)

    def _line_of(self, number: int, address: bytes) -> int | None:
        """Return the line of the record with this number; None if it has another address."""
        record = os.pread(self._records.fileno(), _PACKED.size, number * _PACKED.size)
        place, length, line = _PACKED.unpack(record)
        return line if os.pread(self._addresses.fileno(), length, place) == address else None


def _repeats(addresses: list[bytes], hashes: Hashes) -> Iterable[tuple[int, int]]:
    """Yield each address that repeats an earlier one as two positions: its own, the first one's."""
    ordered = np.sort(hashes)
    if (ordered[1:] != ordered[:-1]).all():
        return
    first: dict[bytes, int] = {}
    for position, address in enumerate(addresses):
        if first.setdefault(address, position) < position:
            yield position, first[address]
