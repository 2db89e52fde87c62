"""The users' file: who may sign in, with a hash of each one's password.

A line is `name:scrypt:N:r:p:salt:hash`, the last two in Base64. To take somebody's right to sign in
away, delete the line.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import getpass
import hashlib
import hmac
import os
import re
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from runtime import logs
from runtime.command import exit_with

# What a hash takes: 16 MB and about a fifth of a second, by OWASP's Password Storage Cheat Sheet.
_N, _R, _P = 1 << 14, 8, 5
_MEMORY = 64 << 20  # bytes, the most that is allowed
# A password's least length in characters (NIST SP 800-63B, 5.1.1.1), and its most.
MIN_PASSWORD, MAX_PASSWORD = 8, 256

is_name = re.compile(r"[\w.@+-]{1,64}").fullmatch
_is_hash = re.compile(r"scrypt:\d{1,8}:\d{1,3}:\d{1,3}:[\w-]+=*:[\w-]+=*").fullmatch

logger = logs.Logger("users")


class UsersError(Exception):
    """The users' file can't be used; the message says why, and what to do."""


def hashed(password: str) -> str:
    """A new hash of the password, with a salt of its own."""
    return _hashed(password, _N, _R, _P, os.urandom(16))


def _hashed(password: str, n: int, r: int, p: int, salt: bytes) -> str:
    # The same characters may come composed or not, by keyboard (RFC 7617, 2.1).
    text = unicodedata.normalize("NFC", password).encode()
    result = hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)
    return _encoded(n, r, p, salt, result)


def _encoded(n: int, r: int, p: int, salt: bytes, result: bytes) -> str:
    encoded = (base64.urlsafe_b64encode(part).decode() for part in (salt, result))
    return ":".join(["scrypt", str(n), str(r), str(p), *encoded])


def matches(password: str, known: str) -> bool:
    """Whether the password is that of the hash; takes as long as to make the hash."""
    _, n, r, p, salt, _ = known.split(":")
    again = _hashed(password, int(n), int(r), int(p), base64.urlsafe_b64decode(salt))
    return hmac.compare_digest(again, known)


class Users:
    """The users of a file, which is read again when it has changed. Used by all threads."""

    def __init__(self, path: Path) -> None:
        """Raises UsersError when there is a file that others can read, or that can't be read."""
        self.path = path
        self._lock = threading.Lock()
        # What the file was when it was read, as far as that shows outside.
        self._seen: tuple[int, ...] | None = None
        self._hashes: dict[str, str] = {}
        # Counts the times that it was read.
        self.version = 0
        # Compared with where there is no such user, so that nobody learns that from the time.
        self._nobody = _encoded(_N, _R, _P, os.urandom(16), os.urandom(64))
        state = _state(path)
        if state is not None:
            if path.stat().st_mode & 0o077:
                raise UsersError(f"{path}: others can read it, or write. Say chmod 600 {path.name}")
            self._hashes, self._seen, self.version = _read(path), state, 1

    def present(self) -> dict[str, str]:
        """The hashes by name, as they are in the file now. If it can't be read, there are none."""
        with self._lock:
            state = _state(self.path)
            if state != self._seen:
                try:
                    self._hashes = {} if state is None else _read(self.path)
                except UsersError as error:
                    self._hashes = {}
                    logger.error("users can't be read", error=error)
                self._seen = state
                self.version += 1
            return self._hashes

    def check(self, name: str, password: str) -> bool:
        """Whether there is such a user with this password. Takes a fifth of a second."""
        known = self.present().get(name)
        same = matches(password, known or self._nobody)
        return same and known is not None


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsersError(f"{path}: the users can't be read: {error}.") from error
    found = {}
    for number, line in enumerate(lines, 1):
        name, colon, known = line.strip().partition(":")
        if not colon and not name:
            continue
        if not is_name(name) or not _is_hash(known):
            raise UsersError(
                f"{path}, line {number}: it is no user. Delete it, and say python app.py --add-user"
                " NAME"
            )
        found[name] = known
    return found


def add(path: Path, name: str, password: str) -> bool:
    """Add a user to the file, or give one who is there a new password; True for a new one.

    The file is made if there is none, and is its owner's alone. Raises UsersError.
    """
    if not is_name(name):
        raise UsersError(
            "A user's name has letters, digits and . _ @ + - only, and 64 of them at most."
        )
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsersError(
            f"A password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters; better twenty than"
            " eight."
        )
    known = hashed(password)
    try:
        with alone_in(path.parent):
            users = _read(path) if path.exists() else {}
            new = name not in users
            users[name] = known
            replace_file(path, "".join(f"{each}:{known}\n" for each, known in users.items()))
    except OSError as error:
        raise UsersError(f"{path}: the users can't be written: {error}.") from error
    return new


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that change files of this folder waiting. Raises OSError.

    The lock is the folder's, because the files themselves are replaced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str) -> None:
    """Write the file anew, in one step; it stays its owner's when root does it."""
    owner = (path if path.exists() else path.parent).stat()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def ask_password() -> str:
    """The password that somebody types twice; from standard input, if that is no terminal, a line.

    Raises UsersError if the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise UsersError("The two differ; nothing was changed.")
    return password


def add_by_command(path: Path, name: str) -> int:
    """Ask for the user's password, write the file, and return the command's exit status.

    A server that runs sees the change at once.
    """
    try:
        new = add(path, name, ask_password())
    except UsersError as error:
        exit_with(str(error))
    sys.stdout.write(f"{name} may sign in now.\n" if new else f"{name} has a new password.\n")
    return 0
