"""Which hashes there were: any number of them, in as much memory as for half a million."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint32]
Hashes = npt.NDArray[np.uint64]
_Positions = npt.NDArray[np.intp]

# An entry is the upper half of a hash, and below it a number.
_HASH, _NUMBER = np.uint64(0xFFFFFFFF00000000), np.uint64(0x00000000FFFFFFFF)
_SIZE = 8
# Entries in memory at most, until they go to the file; and those of the file that are held at once
# meanwhile.
_MOST = 1 << 19
_AT_ONCE = 1 << 16
# A run takes in the one before it if that is so many times as long, or shorter. Thus there are few
# runs, and an entry is seldom sorted again.
_RATIO = 4
# Entries in a block of the file; one or a few blocks are read when a hash is looked for.
_BLOCK = 128
# Bits of the filter, and which bits of a hash are the number of each that is set for it. Of hashes
# that aren't there it lets one in a hundred pass when there are five million, and every fifth when
# there are twenty million.
_BITS = 1 << 26
_SHIFTS = np.array([[0], [19], [38]], np.uint64)


class SortedHashes:
    """Hashes, each with a number: the newest in a few sorted runs, the others in one sorted file.

    Before both is a Bloom filter of 8 MB. Each of the temporary files is written in its turn.
    """

    def __init__(self, file: IO[bytes], spare: IO[bytes]) -> None:
        self._filter = np.zeros(_BITS >> 3, np.uint8)
        self._runs: list[Hashes] = []
        self._held = 0  # entries in them
        self._file, self._spare = file, spare
        # The first entry of every block of the file.
        self._index = np.empty(0, np.uint64)

    def add(self, hashes: Hashes, numbers: Numbers) -> None:
        """Add hashes, each with its number."""
        if not len(hashes):
            return
        places, bits = _filtered(hashes)
        np.bitwise_or.at(self._filter, places, bits)
        run = np.sort(hashes & _HASH | numbers)
        self._held += len(run)
        full = self._held > _MOST
        while self._runs and (full or len(self._runs[-1]) <= _RATIO * len(run)):
            run = np.concatenate([self._runs.pop(), run])
            run.sort()
        if full:
            self._move_to_file(run)
            self._held = 0
        else:
            self._runs.append(run)

    def find(self, hashes: Hashes) -> list[tuple[int, int]]:
        """Positions of those that seem to be there, as half of them is, and the numbers there.

        A position comes once for each of its numbers.
        """
        places, bits = _filtered(hashes)
        there = np.flatnonzero((self._filter[places] & bits).all(axis=0))
        if not len(there):
            return []
        wanted = hashes[there] & _HASH
        found = [_in_run(run, wanted) for run in self._runs] + [self._in_file(wanted)]
        positions, entries = map(np.concatenate, zip(*found, strict=True))
        return list(zip(there[positions].tolist(), (entries & _NUMBER).tolist(), strict=True))

    def _move_to_file(self, run: Hashes) -> None:
        """Write the file anew, with the entries of this run among the others."""
        index, size = [], 0
        self._file.seek(0)
        while len(old := np.fromfile(self._file, np.uint64, _AT_ONCE)) or len(run):
            # Those that come before the last old one; if there is none, all.
            here = int(np.searchsorted(run, old[-1])) if len(old) else len(run)
            both = np.concatenate([old, run[:here]])
            both.sort()
            self._spare.write(both.tobytes())
            index.append(both[-size % _BLOCK :: _BLOCK].copy())
            run, size = run[here:], size + len(both)
        self._spare.flush()
        self._file.seek(0)
        self._file.truncate()
        self._file, self._spare = self._spare, self._file
        self._index = np.concatenate(index)

    def _in_file(self, wanted: Hashes) -> tuple[_Positions, Hashes]:
        # The first with this hash may be in the block before the one that begins with it.
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


def _filtered(hashes: Hashes) -> tuple[_Positions, npt.NDArray[np.uint8]]:
    """For each bit of the filter that stands for a hash: its byte's place, and that bit alone."""
    numbers = hashes >> _SHIFTS & np.uint64(_BITS - 1)
    bits = np.left_shift(1, numbers & np.uint64(7), dtype=np.uint8, casting="unsafe")
    return (numbers >> np.uint64(3)).astype(np.intp), bits


def _in_run(run: Hashes, wanted: Hashes) -> tuple[_Positions, Hashes]:
    """The entries with each of these hashes, and which of them each has."""
    starts = np.searchsorted(run, wanted)
    if not (run[np.minimum(starts, len(run) - 1)] & _HASH == wanted).any():
        return starts[:0], run[:0]  # as nearly always
    counts = np.searchsorted(run, wanted | _NUMBER, "right") - starts
    owners = np.repeat(np.arange(len(wanted)), counts)
    # Where each one's entries begin, less how many there are of those before it.
    offsets = starts - counts.cumsum() + counts
    return owners, run[offsets[owners] + np.arange(len(owners))]
