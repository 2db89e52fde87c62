"""Finds numbers of short texts, such as domains, for many texts at once."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from runtime.texts import Places

Keys = npt.NDArray[np.uint64]
Found = npt.NDArray[np.int8]

# What is found for a text without a number.
NONE = -1
# The most bytes of a text with a key; few domains are longer.
LONGEST = 48
_WORDS = LONGEST // 8
# What a key has behind its text. UTF-8 has no such byte.
_BEHIND = b"\xff"
# For each length of a text: zeros where the text is, and _BEHIND after it.
_ALL_BEHIND = np.frombuffer(
    b"".join(bytes(length).ljust(LONGEST, _BEHIND) for length in range(LONGEST + 1)), np.uint64
).reshape(-1, _WORDS)
# A hash multiplies each 32 bits of a key by one of these numbers. They are random, so that nobody
# can make up texts with the same hash.
_SECRET = np.frombuffer(os.urandom(2 * LONGEST), np.uint64)


class Numbers:
    """Maps texts of up to LONGEST bytes to numbers from 0 to 127, for many at once. Immutable."""

    def __init__(self, hashes: Keys, keys: Keys, numbers: Found) -> None:
        # Sorted by hash. The last entry is no text: it has the greatest hash that there can be, and
        # the number NONE, so that every search ends there at the latest.
        self._hashes, self._keys, self._numbers = hashes, keys, numbers
        # Hashes with the same highest bits form a bucket; there are more buckets than hashes. For
        # each bucket, this is the place of its first hash; for an empty one, of the next hash.
        self._shift = np.uint64(64 - len(hashes).bit_length())
        sizes = np.bincount((hashes >> self._shift).astype(np.intp))
        self._begins = np.cumsum(sizes) - sizes

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> Numbers:
        """Return the numbers of these texts, none of which is longer than LONGEST bytes."""
        texts = [text.encode("utf-8", "surrogatepass") for text in (*numbers, "")]
        joined = b"".join(text.ljust(LONGEST, _BEHIND) for text in texts)
        words = np.frombuffer(joined, np.uint64).reshape(-1, _WORDS)
        hashes = _hashes(words)
        hashes[-1] = 2**64 - 1
        order = np.argsort(hashes, stable=True)
        found = np.array([*numbers.values(), NONE], np.int8)
        return cls(hashes[order], words[order], found[order])

    def __len__(self) -> int:
        return len(self._numbers) - 1

    def __or__(self, others: Numbers) -> Numbers:
        """Return the numbers of both; of a text in both, the number in `self`."""
        # Threads may learn the same text at the same time. One copy is kept, because a bucket with
        # many would take long to search.
        new = np.flatnonzero(self.find(others._keys[:-1]) == NONE)
        # For ten thousand texts, this takes a millisecond less than sorting all of them again.
        places = np.searchsorted(self._hashes, others._hashes[new])
        return Numbers(
            np.insert(self._hashes, places, others._hashes[new]),
            np.insert(self._keys, places, others._keys[new], axis=0),
            np.insert(self._numbers, places, others._numbers[new]),
        )

    def find(self, keys: Keys) -> Found:
        """Return the number of each key, or NONE."""
        wanted = _hashes(keys)
        # From the beginning of its bucket, each search goes on to the first hash that isn't
        # smaller. A bucket is short, so that takes a quarter of the time of np.searchsorted().
        places = self._begins[wanted >> self._shift]
        while (is_before := self._hashes[places] < wanted).any():
            places += is_before
        # Of different texts with the same hash, only one is found; the others have NONE.
        different = self._keys.take(places, axis=0) ^ keys
        is_other = functools.reduce(np.bitwise_or, different.T) != 0
        return np.where(is_other, np.int8(NONE), self._numbers[places])


def _hashes(keys: Keys) -> Keys:
    """Return a hash of each key.

    The chance that two different keys have the same hash is at most one in four billion. The hash
    is Multilinear of Lemire and Kaser, "Strongly universal string hashing is fast", without the
    first summand, which doesn't change that chance. Only its highest 32 bits depend on all of the
    key, so buckets are made of these.
    """
    return keys.view(np.uint32) @ _SECRET


def padded(content: bytes) -> bytes:
    """Return the content with LONGEST bytes behind it; keys() reads past the end of its texts."""
    return content + _BEHIND * LONGEST


def keys(content: bytes, starts: Places, lengths: Places) -> Keys:
    """Return the keys of texts in padded() content: of each, its bytes as words of 64 bits."""
    words = cut(content, starts, LONGEST).view(np.uint64).reshape(-1, _WORDS)
    words |= _ALL_BEHIND.take(lengths, axis=0)
    return words


def cut(content: bytes, starts: Places, size: int) -> npt.NDArray[np.void]:
    """Return `size` bytes from each place, as one element each."""
    # NumPy copies elements of any size four times as fast as rows of bytes.
    return np.ndarray(len(content) - size + 1, f"V{size}", content, strides=1)[starts]
