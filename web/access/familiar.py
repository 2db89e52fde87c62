"""Users and the networks from which they signed in recently, kept in a file across restarts.

A stranger's guesses at a password don't make its user wait at a familiar network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from itertools import chain
from pathlib import Path

from runtime import logs
from web.access import users

# Seconds after which a pair in use is written again.
WRITE_SECONDS = 86400.0
# Seconds for which a written pair is familiar: at least 30 days from its last use. By the wall
# clock, which a restart doesn't reset.
FAMILIAR_SECONDS = 30 * 86400.0 + WRITE_SECONDS
# The most pairs that are kept, the last written.
MAX_FAMILIAR = 10_000

logger = logs.Logger("familiar")

# By user and network: the Unix time when the pair was written, and a digest of the hash of the
# password that the user had then.
_Pairs = dict[tuple[str, str], tuple[float, str]]


class Familiar:
    """Pairs of users and networks, kept in a file. One object serves all request threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pairs = _newest(_read(path))
        self._failures = logs.RateLimited(logger)

    def knows(self, user: str, network: str, password_hash: str) -> bool:
        """Return whether the user signed in from this network with the password of this hash."""
        return self._was_written(user, network, password_hash, FAMILIAR_SECONDS)

    def _was_written(self, user: str, network: str, password_hash: str, seconds: float) -> bool:
        at, digest = self._pairs.get((user, network), (0.0, ""))
        return digest == _digest(password_hash) and _is_within(seconds, at)

    def add(self, user: str, network: str, password_hash: str) -> None:
        """Note that the user has just signed in from this network with the password of this hash.

        If the file can't be written, the pair is known until a restart.
        """
        if self._was_written(user, network, password_hash, WRITE_SECONDS):
            return
        with self._lock:
            self._pairs[user, network] = time.time(), _digest(password_hash)
            try:
                self._write()
            except OSError as error:
                self._pairs = _newest(self._pairs)
                self._failures.warning("familiar networks can't be written", error=error)

    def _write(self) -> None:
        with users.locked(self._path.parent):
            # Another app.py may use the same file.
            self._pairs = _newest(_read(self._path), self._pairs)
            lines = (json.dumps([*pair, *when]) + "\n" for pair, when in self._pairs.items())
            users.replace_file(self._path, "".join(lines))


def _is_within(seconds: float, at: float) -> bool:
    """Return whether `at` is less than `seconds` ago, and not in the future."""
    return 0 <= time.time() - at < seconds


def _newest(*sources: _Pairs) -> _Pairs:
    """Return the pairs of all sources that are still familiar, each as it was written last."""
    pairs: _Pairs = {}
    items = chain.from_iterable(each.items() for each in sources)
    for pair, when in sorted(items, key=lambda item: item[1][0]):
        if _is_within(FAMILIAR_SECONDS, when[0]):
            pairs.pop(pair, None)  # so that they are in the order of their times
            pairs[pair] = when
    return dict([*pairs.items()][-MAX_FAMILIAR:])


def _digest(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:32]


def _read(path: Path) -> _Pairs:
    """Return the pairs in the file, without malformed lines."""
    pairs: _Pairs = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                user, network, at, digest = json.loads(line)
                pairs[str(user), str(network)] = float(at), str(digest)
    return pairs
