"""A set of hashes in bounded memory: sorted runs, then a sorted file behind a Bloom filter."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint32]
Hashes = npt.NDArray[np.uint64]
_Positions = npt.NDArray[np.intp]

# An entry has 64 bits: the upper half of a hash, and the number that goes with the hash.
_HASH, _NUMBER = np.uint64(0xFFFFFFFF00000000), np.uint64(0x00000000FFFFFFFF)
_SIZE = 8
# The most entries in the runs; with more, all runs are merged into the file.
_MOST = 1 << 19
# Entries of the file that are in memory at a time during a merge.
_AT_ONCE = 1 << 16
# A new run is merged with the run before unless that is more than so many times as long. This keeps
# the runs few, and merges each entry only a few times.
_RATIO = 4
# Entries in a block of the file, which is the least that is read.
_BLOCK = 128
# Bits of the Bloom filter, and the shifts that take the places of a hash's three bits out of the
# hash. Of hashes that aren't in the set, one in a hundred passes when the set has five million, and
# every fifth when it has twenty million.
_BITS = 1 << 26
_SHIFTS = np.array([[0], [19], [38]], np.uint64)


class HashSet:
    """A set of 64-bit hashes, each with a number.

    The newest half million at most are in memory, in a few sorted runs, and the others in a sorted
    file. A Bloom filter of 8 MB saves most searches for hashes that are in neither.

    file, spare: temporary files. The sorted file is always written anew, into the other of the two.
    """

    def __init__(self, file: IO[bytes], spare: IO[bytes]) -> None:
        self._filter = np.zeros(_BITS >> 3, np.uint8)
        self._runs: list[Hashes] = []
        self._held = 0  # entries in all runs
        self._file, self._spare = file, spare
        # The first entry of each block of the file.
        self._index = np.empty(0, np.uint64)

    def add(self, hashes: Hashes, numbers: Numbers) -> None:
        """Add hashes, each with its number."""
        if not len(hashes):
            return
        places, bits = _filtered(hashes)
        # Of bits for the same byte, this keeps one, and the others come next. bitwise_or.at() takes
        # four times as long.
        while len(places):
            self._filter[places] |= bits
            lost = self._filter[places] & bits == 0
            places, bits = places[lost], bits[lost]
        run = np.sort(hashes & _HASH | numbers)
        self._held += len(run)
        full = self._held > _MOST
        while self._runs and (full or len(self._runs[-1]) <= _RATIO * len(run)):
            run = _merged(self._runs.pop(), run)
        if full:
            self._move_to_file(run)
            self._held = 0
        else:
            self._runs.append(run)

    def find(self, hashes: Hashes) -> list[tuple[int, int]]:
        """Return the positions of the hashes that may be in the set, each with a number of it.

        Only the upper half of a hash is compared. A position comes once for each number.
        """
        places, bits = _filtered(hashes)
        passed = np.flatnonzero((self._filter[places] & bits).all(axis=0))
        if not len(passed):
            return []
        wanted = hashes[passed] & _HASH
        found = [_in_run(run, wanted) for run in self._runs] + [self._in_file(wanted)]
        positions, entries = map(np.concatenate, zip(*found, strict=True))
        return list(zip(passed[positions].tolist(), (entries & _NUMBER).tolist(), strict=True))

    def _move_to_file(self, run: Hashes) -> None:
        """Merge the run into the file."""
        index, size = [], 0
        self._file.seek(0)
        while len(old := np.fromfile(self._file, np.uint64, _AT_ONCE)) or len(run):
            # Take the entries of the run up to the last old one, or all if there is no old one.
            here = int(np.searchsorted(run, old[-1])) if len(old) else len(run)
            both = _merged(old, run[:here])
            self._spare.write(both.tobytes())
            index.append(both[-size % _BLOCK :: _BLOCK].copy())
            run, size = run[here:], size + len(both)
        self._spare.flush()
        self._file.seek(0)
        self._file.truncate()
        self._file, self._spare = self._spare, self._file
        self._index = np.concatenate(index)

    def _in_file(self, wanted: Hashes) -> tuple[_Positions, Hashes]:
        # Entries with a hash may begin within the block before the one that begins with the hash.
        starts = np.maximum(np.searchsorted(self._index, wanted), 1) - 1
        ends = np.searchsorted(self._index, wanted | _NUMBER, "right")
        blocks = [
            os.pread(self._file.fileno(), (end - start) * _BLOCK * _SIZE, start * _BLOCK * _SIZE)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        entries = np.frombuffer(b"".join(blocks), np.uint64)
        owners = np.repeat(np.arange(len(wanted)), [len(block) // _SIZE for block in blocks])
        same = np.flatnonzero(entries & _HASH == wanted[owners])
        return owners[same], entries[same]


def _merged(some: Hashes, others: Hashes) -> Hashes:
    """Return the entries of two sorted runs as one sorted run."""
    both = np.concatenate([some, others])
    # A stable sort finds the two runs and merges them, in 2 ns an entry. The default sort takes
    # no advantage of their order: 10 ns, or up to 50 ns on AMD's Zen 4, where its AVX-512 is slow.
    both.sort(kind="stable")
    return both


def _filtered(hashes: Hashes) -> tuple[_Positions, npt.NDArray[np.uint8]]:
    """Return the bytes of the filter that have the bits of each hash, and these bits."""
    numbers = hashes >> _SHIFTS & np.uint64(_BITS - 1)
    bits = np.left_shift(1, numbers & np.uint64(7), dtype=np.uint8, casting="unsafe")
    return (numbers >> np.uint64(3)).astype(np.intp), bits


def _in_run(run: Hashes, wanted: Hashes) -> tuple[_Positions, Hashes]:
    """Return the entries with one of these hashes, and which one each has, by its position."""
    starts = np.searchsorted(run, wanted)
    if not (run[np.minimum(starts, len(run) - 1)] & _HASH == wanted).any():
        return starts[:0], run[:0]  # by far the most frequent case
    counts = np.searchsorted(run, wanted | _NUMBER, "right") - starts
    owners = np.repeat(np.arange(len(wanted)), counts)
    # For each hash: where its entries begin, less how many entries those before it have.
    offsets = starts - counts.cumsum() + counts
    return owners, run[offsets[owners] + np.arange(len(owners))]
