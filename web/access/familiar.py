"""Users and the networks from which they signed in recently, kept in a file across restarts.

A user at a familiar network does not have to wait because a stranger guesses at the password.
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

# Seconds for which a user and a network stay a familiar pair after the user's last request from
# there. This and the next use the wall clock, which a restart doesn't reset.
FAMILIAR_SECONDS = 30 * 86400.0
# Seconds after a pair was written before it is written again.
WRITE_SECONDS = 86400.0
# The most pairs that are kept; the oldest are dropped first.
MAX_FAMILIAR = 10_000

logger = logs.Logger("familiar")

# By user and network: the time when the pair was written, and a digest of the password's hash.
_Pairs = dict[tuple[str, str], tuple[float, str]]


class Familiar:
    """Pairs of users and networks, kept in a file. One object serves all request threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pairs = _read(path)
        self._failures = logs.RateLimited(logger)

    def knows(self, user: str, network: str, password_hash: str) -> bool:
        """Return whether the user signed in from this network with the password of this hash."""
        return self._age(user, network, password_hash) < FAMILIAR_SECONDS

    def _age(self, user: str, network: str, password_hash: str) -> float:
        at, digest = self._pairs.get((user, network), (0.0, ""))
        return _seconds_from(at) if digest == _digest(password_hash) else FAMILIAR_SECONDS

    def add(self, user: str, network: str, password_hash: str) -> None:
        """Note that the user has just signed in from this network with the password of this hash.

        If the file can't be written, the pair is known until a restart.
        """
        if self._age(user, network, password_hash) < WRITE_SECONDS:
            return
        with self._lock:
            added: _Pairs = {(user, network): (time.time(), _digest(password_hash))}
            self._pairs |= added
            try:
                self._write(added)
            except OSError as error:
                self._failures.warning("familiar networks can't be written", error=error)

    def _write(self, added: _Pairs) -> None:
        with users.locked(self._path.parent):
            # Another app.py may use the same file, and may have written newer pairs.
            pairs = self._pairs | _read(self._path) | added
            newest = sorted(pairs.items(), key=lambda pair: pair[1])[-MAX_FAMILIAR:]
            self._pairs = dict(newest)
            lines = (json.dumps([*pair, *when]) + "\n" for pair, when in self._pairs.items())
            users.replace_file(self._path, "".join(lines))


def _digest(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:32]


def _seconds_from(at: float) -> float:
    # The absolute value: a pair must not last longer because the clock was set back.
    return abs(time.time() - at)


def _read(path: Path) -> _Pairs:
    """Return the pairs in the file, without expired pairs and malformed lines."""
    pairs: _Pairs = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                user, network, at, digest = json.loads(line)
                if _seconds_from(float(at)) < FAMILIAR_SECONDS:
                    pairs[str(user), str(network)] = float(at), str(digest)
    return pairs
