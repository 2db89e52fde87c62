"""Remembers the networks from which users signed in lately, in a file, so also over a restart.

A user in such a network is familiar, and needn't wait while a stranger elsewhere guesses at the
same account.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from pathlib import Path

import logs
import users

# Seconds after which a request writes its pair anew, and for which a pair is familiar after that:
# at least 30 days after its last request. By the wall clock, which goes on over a restart.
WRITE_SECONDS = 86400.0
FAMILIAR_SECONDS = 30 * 86400.0 + WRITE_SECONDS
# The most pairs that are kept: the ones written last.
MAX_FAMILIAR = 10_000

logger = logging.getLogger("familiar")

# By user and network: the time when the pair was written (Unix), and a digest of the hash of the
# password that the user had then.
_Pairs = dict[tuple[str, str], tuple[float, str]]


class Familiar:
    """The pairs of users and networks in a file. One object serves all request threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pairs = _newest(_read(path))
        self._failures = logs.Sparingly(logger)

    def knows(self, user: str, network: str, known: str) -> bool:
        """Return whether the user signed in from this network with the password of this hash."""
        return self._was_written(user, network, known, FAMILIAR_SECONDS)

    def _was_written(self, user: str, network: str, known: str, seconds: float) -> bool:
        at, digest = self._pairs.get((user, network), (0.0, ""))
        return digest == _digest(known) and _is_within(seconds, at)

    def add(self, user: str, network: str, known: str) -> None:
        """Note that the user has just signed in from there with the password of this hash."""
        if self._was_written(user, network, known, WRITE_SECONDS):
            return
        with self._lock:
            self._pairs[user, network] = time.time(), _digest(known)
            try:
                self._write()
            except OSError as error:
                self._pairs = _newest(self._pairs)
                self._failures.warning("familiar networks can't be written", error=error)

    def _write(self) -> None:
        with users.alone_in(self._path.parent):
            # Another app may use the same file.
            self._pairs = _newest(_read(self._path), self._pairs)
            lines = (json.dumps([*pair, *when]) + "\n" for pair, when in self._pairs.items())
            users.replace_file(self._path, "".join(lines))


def _is_within(seconds: float, at: float) -> bool:
    """Return whether `at` is so few seconds ago; never if the clock was set back behind it."""
    return 0 <= time.time() - at < seconds


def _newest(*sources: _Pairs) -> _Pairs:
    """Return the familiar pairs, each as it was written last."""
    pairs: _Pairs = {}
    for pair, when in sorted((item for each in sources for item in each.items()), key=_when):
        if _is_within(FAMILIAR_SECONDS, when[0]):
            pairs.pop(pair, None)  # so that they are in the order of their times
            pairs[pair] = when
    return dict([*pairs.items()][-MAX_FAMILIAR:])


def _when(item: tuple[tuple[str, str], tuple[float, str]]) -> float:
    return item[1][0]


def _digest(known: str) -> str:
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def _read(path: Path) -> _Pairs:
    """Return the pairs in the file, without lines that can't be read."""
    pairs: _Pairs = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                user, network, at, digest = json.loads(line)
                pairs[str(user), str(network)] = float(at), str(digest)
    return pairs
