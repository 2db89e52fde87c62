"""The order in which the threads of a worker look for work of its processors."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Rotation:
    """Names of processors, of which the one served last comes last, so that none starves.

    names: the one that has waited longest first. Any thread may read it and call served().
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self.names = tuple(names)

    def served(self, name: str) -> None:
        """Move this name to the end."""
        with self._lock:
            self.names = (*(each for each in self.names if each != name), name)
