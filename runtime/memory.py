"""How much freed memory glibc keeps."""

from __future__ import annotations

import contextlib
import ctypes

# Parameters of glibc's mallopt(): the most heaps (arenas) of a process; the size in bytes from
# which on an allocation is a mapping of its own; and the free bytes at the end of the heap from
# which on they are given back.
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
# The size of such an allocation: more than the pieces in which files are read, which would be too
# many mappings. The free bytes that are kept are twice as many, which is glibc's own proportion.
_LARGE = 2 << 20


def keep_small() -> None:
    """Let glibc return freed memory; does nothing with another C library.

    To be called before threads are started. Otherwise each of them keeps a heap as large as the
    largest upload, download or turn that it ever served. Threads hardly contend for the one heap,
    because only one of them runs Python at a time. Large tables get mappings of their own, because
    they would leave holes in the heap; the threshold is set because glibc would raise it with the
    first large table. With the size set, glibc would give the end of the heap back, and take it
    again, with each piece of a file, which makes a download a tenth slower.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)
