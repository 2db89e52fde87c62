"""The bundled PostgreSQL and Redis, which `url = embedded` asks for, and their keepers.

A keeper is a small process in a session of its own, so that a Ctrl-C meant for the app or a worker
doesn't reach the database. It starts one server, restarts it if it dies, and stops it when no
process uses it any more. Each user of the server holds a shared lock on a file, which the kernel
releases however the user ends; a keeper that gets the exclusive lock knows that no user is left.

    folder/users.lock    shared: users; exclusive: the keeper, while it stops the server
    folder/keeper.lock   exclusive: the one keeper

If the keeper itself is killed, a user starts another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from runtime import child
from servers.bundled import (
    LOOK_SECONDS,
    SERVERS,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Postgres,
    Redis,
    wait_until,
)
from servers.confinement import BundledServerError

# Seconds for which a new keeper retries a failed start.
RESTART_TIMEOUT = 5.0
# Seconds between two checks by a user that there is a keeper.
KEEPER_SECONDS = 2.0


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(descriptor: int, how: int) -> bool:
    """Return whether the lock can be had, without keeping it."""
    free = _try_lock(descriptor, how)
    if free:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return free


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


class BundledServer:
    """This process's use of one bundled server, from construction to release()."""

    def __init__(self, kind: str, parent: Path) -> None:
        """Start the server in parent/kind unless it runs. Raises BundledServerError."""
        self._folder = parent / kind
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)  # an earlier version, run as root, left it open to everybody
        self._server = SERVERS[kind](self._folder)
        self._users = _open_lock(self._folder / "users.lock")
        self._keeper = _open_lock(self._folder / "keeper.lock")
        # The keeper that this process started last.
        self._started: subprocess.Popen[bytes] | None = None
        # A keeper that is stopping the server holds this lock; the next keeper starts it again.
        if not wait_until(lambda: _try_lock(self._users, fcntl.LOCK_SH), START_TIMEOUT):
            raise BundledServerError(f"the bundled {kind} in {self._folder} does not stop")
        if not wait_until(self._is_ready, START_TIMEOUT):
            raise BundledServerError(self._why())
        self.url = self._server.url()
        self._leaving = threading.Event()
        self._watch = threading.Thread(target=self._mind_keeper, name="keeper watch", daemon=True)
        self._watch.start()

    def _is_ready(self) -> bool:
        if self._started is not None and self._started.poll() not in (None, 0):
            raise BundledServerError(self._why())
        self._ensure_keeper()
        return self._is_kept() and self._server.ready()

    def _mind_keeper(self) -> None:
        while not self._leaving.wait(KEEPER_SECONDS):
            # On a full disk, or without the folder, no keeper can start. Try again later.
            with contextlib.suppress(OSError):
                self._ensure_keeper()

    def _is_kept(self) -> bool:
        return not _is_free(self._keeper, fcntl.LOCK_SH)

    def _is_coming(self) -> bool:
        """Return whether a keeper of this process runs; it may not have its lock yet."""
        return self._started is not None and self._started.poll() is None

    def _ensure_keeper(self) -> None:
        if not self._is_coming() and not self._is_kept():
            self._start_keeper()

    def _start_keeper(self) -> None:
        with (self._folder / "keeper.log").open("ab") as log:
            self._started = child.start(
                *("servers.keeper", self._server.kind, str(self._folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        # A keeper that finds another ends at once; without this wait it would stay a zombie.
        threading.Thread(target=self._started.wait, name="keeper", daemon=True).start()

    def _why(self) -> str:
        log = self._folder / "keeper.log"
        last = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1] if log.exists() else ""
        last = last.rstrip(".") or "no word"
        return f"the bundled {self._server.kind} did not start: {last} (see {log})"

    def release(self) -> None:
        """Stop using the server; if no other process uses it, wait until it has stopped."""
        self._leaving.set()
        self._watch.join()
        # If the keeper was killed, a new one must stop the server.
        if not self._is_kept():
            self._start_keeper()
        fcntl.flock(self._users, fcntl.LOCK_UN)
        wait_until(self._has_left, STOP_TIMEOUT)
        os.close(self._users)
        os.close(self._keeper)

    def _has_left(self) -> bool:
        """Return whether the server has stopped or has other users."""
        if not self._is_kept():
            if self._is_coming():
                return False
        elif _is_free(self._users, fcntl.LOCK_EX):
            return False  # no user is left, which the keeper will notice
        # A keeper that stops the server holds the lock exclusively until its process ends.
        return _is_free(self._users, fcntl.LOCK_SH)


def _log(text: str) -> None:
    """Add a line to keeper.log, if the disk has room: a full disk must not end the keeper."""
    with contextlib.suppress(OSError):
        os.write(1, f"{time.strftime('%F %T')} {text.rstrip()}\n".encode())


def _start_at_last(server: Postgres | Redis, unused: Callable[[], bool]) -> None:
    """Start the server, and retry for RESTART_TIMEOUT: a killed server may still be in the way."""
    deadline = time.monotonic() + RESTART_TIMEOUT
    while not unused():  # for a keeper that comes late, no user may be left
        try:
            server.start(unused)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)


def keep(kind: str, folder: Path) -> None:
    """Run the server until no user is left, then stop it: the whole work of a keeper."""
    keeper_lock = _open_lock(folder / "keeper.lock")
    if not wait_until(lambda: _try_lock(keeper_lock, fcntl.LOCK_EX), 1.0):
        return  # there is another keeper
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The keeper ends after its users, which such a signal ends. Not SIG_IGN: the server would
        # inherit that.
        signal.signal(signum, lambda *_: None)
    users = _open_lock(folder / "users.lock")

    def unused() -> bool:
        return _try_lock(users, fcntl.LOCK_EX)

    server = SERVERS[kind](folder)
    _start_at_last(server, unused)
    pause = LOOK_SECONDS
    while not unused():
        time.sleep(pause)
        if server.alive():
            pause = LOOK_SECONDS
            continue
        _log(f"{kind} died; starting it again")
        try:
            server.start(unused)
        except Exception:
            _log(traceback.format_exc())
            pause = min(pause * 2, 10.0)
    server.stop()
    os.close(keeper_lock)  # before users.lock: the next user that gets that must find no keeper


if __name__ == "__main__":
    try:
        keep(sys.argv[1], Path(sys.argv[2]))
    except BundledServerError as error:
        sys.exit(str(error))  # the last line of keeper.log, which BundledServer quotes
