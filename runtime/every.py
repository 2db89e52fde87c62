"""A timer for the periodic work of a loop."""

from __future__ import annotations

import time


class Every:
    """Due at once, and then each time that `seconds` have passed. One thread at a time uses it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    @property
    def left(self) -> float:
        """Seconds until it is due, or 0."""
        return max(0.0, self._next - time.monotonic())

    def due(self) -> bool:
        """Return whether it is due; if so, the next seconds begin."""
        if self.left:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Let the seconds begin now."""
        self._next = time.monotonic() + self._seconds

    def hasten(self) -> None:
        """Make it due."""
        self._next = 0.0
