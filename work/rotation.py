"""The order in which the threads of a worker look for work of its processors."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Rotation:
    """Names of processors, of which the one served last comes last, so that none starves.

    Any thread may call the methods.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._names = tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, the one that has waited longest first."""
        return self._names

    def served(self, name: str) -> None:
        """Move this name to the end."""
        with self._lock:
            self._names = (*(each for each in self._names if each != name), name)
