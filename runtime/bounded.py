"""A dict of bounded size."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """Holds the `most` entries that were set last. Threads may use it without a lock."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        # Never by taking the entry out and putting it back: another thread may look for it.
        with contextlib.suppress(KeyError):  # another thread has dropped it since
            self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)
