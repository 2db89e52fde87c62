"""The networks from which users signed in lately, in a file, so that a restart forgets none.

A familiar user does not wait because a stranger guesses at the same account elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from pathlib import Path

from runtime import logs
from web.access import users

# Seconds since a user's last request from a network in which the pair is familiar; and since it was
# written in which it is not written again. Both by the wall clock, which a restart doesn't reset.
FAMILIAR_SECONDS, WRITE_SECONDS = 30 * 86400.0, 86400.0
# The most pairs that are kept; the oldest go first.
MAX_FAMILIAR = 10_000

logger = logs.Logger("familiar")

# By user and network: when the pair was written, and a digest of the password's hash.
_Pairs = dict[tuple[str, str], tuple[float, str]]


class Familiar:
    """The pairs of users and networks in a file. One object serves all request threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pairs = _read(path)
        self._failures = logs.RateLimited(logger)

    def knows(self, user: str, network: str, known: str) -> bool:
        """Whether the user signed in from there when the password's hash was `known`, too."""
        return self._age(user, network, known) < FAMILIAR_SECONDS

    def _age(self, user: str, network: str, known: str) -> float:
        at, digest = self._pairs.get((user, network), (0.0, ""))
        # A clock that was set back makes no pair younger than one that was just written.
        return abs(time.time() - at) if digest == _digest(known) else FAMILIAR_SECONDS

    def add(self, user: str, network: str, known: str) -> None:
        """Note that the user has just signed in from there with the password of this hash."""
        if self._age(user, network, known) < WRITE_SECONDS:
            return
        with self._lock:
            added: _Pairs = {(user, network): (time.time(), _digest(known))}
            self._pairs |= added
            try:
                self._write(added)
            except OSError as error:
                self._failures.warning("familiar networks can't be written", error=error)

    def _write(self, added: _Pairs) -> None:
        with users.alone_in(self._path.parent):
            # Another app may use the same file, and have written what is newer than ours.
            pairs = self._pairs | _read(self._path) | added
            newest = sorted(pairs.items(), key=lambda pair: pair[1])[-MAX_FAMILIAR:]
            self._pairs = dict(newest)
            lines = (json.dumps([*pair, *when]) + "\n" for pair, when in self._pairs.items())
            users.replace_file(self._path, "".join(lines))


def _digest(known: str) -> str:
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def _read(path: Path) -> _Pairs:
    """The pairs in the file, without those that have expired and lines that can't be read."""
    pairs: _Pairs = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                user, network, at, digest = json.loads(line)
                if abs(time.time() - float(at)) < FAMILIAR_SECONDS:
                    pairs[str(user), str(network)] = float(at), str(digest)
    return pairs
