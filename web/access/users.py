"""The users' file: the names of the users who may sign in, with hashes of their passwords.

A line is `name:scrypt:N:r:p:salt:hash`, with salt and hash in Base64. To remove a user, delete the
line.
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

# The parameters of scrypt by OWASP's Password Storage Cheat Sheet: a hash takes 16 MB and about a
# fifth of a second.
_N, _R, _P = 1 << 14, 8, 5
_MEMORY = 64 << 20  # the most bytes that scrypt may use
# The length of a password in characters; the least is that of NIST SP 800-63B, 5.1.1.1.
MIN_PASSWORD, MAX_PASSWORD = 8, 256

is_name = re.compile(r"[\w.@+-]{1,64}").fullmatch
_is_hash = re.compile(r"scrypt:\d{1,8}:\d{1,3}:\d{1,3}:[\w-]+=*:[\w-]+=*").fullmatch

logger = logs.Logger("users")


class UsersError(Exception):
    """The users' file can't be used or changed; the message says why."""


def hashed(password: str) -> str:
    """Return a new hash of the password, with a random salt."""
    return _hashed(password, _N, _R, _P, os.urandom(16))


def _hashed(password: str, n: int, r: int, p: int, salt: bytes) -> str:
    # Keyboards differ in whether they send characters such as ä composed (RFC 7617, 2.1).
    text = unicodedata.normalize("NFC", password).encode()
    result = hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)
    return _encoded(n, r, p, salt, result)


def _encoded(n: int, r: int, p: int, salt: bytes, result: bytes) -> str:
    encoded = (base64.urlsafe_b64encode(part).decode() for part in (salt, result))
    return ":".join(["scrypt", str(n), str(r), str(p), *encoded])


def matches(password: str, password_hash: str) -> bool:
    """Return whether the password has this hash. Takes as long as hashing it."""
    _, n, r, p, salt, _ = password_hash.split(":")
    again = _hashed(password, int(n), int(r), int(p), base64.urlsafe_b64decode(salt))
    return hmac.compare_digest(again, password_hash)


class Users:
    """The users in a file, which is read again when it has changed. Used by all threads.

    `version` is the number of times that the file has changed.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one. Raises UsersError if it is malformed, or not private."""
        self.version = 0
        self._path = path
        self._lock = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._hashes: dict[str, str] = {}
        # The hash to compare with for an unknown name, so that its check takes as long as any.
        self._nobody = _encoded(_N, _R, _P, os.urandom(16), os.urandom(64))
        if _state(path) is not None and path.stat().st_mode & 0o077:
            raise UsersError(f"{path}: other users can read or write it. Run chmod 600 {path.name}")
        self._read_if_changed()

    def present(self) -> dict[str, str]:
        """Return the hashes by name, as the file has them now; none if it can't be read."""
        with self._lock:
            try:
                self._read_if_changed()
            except UsersError as error:
                logger.error("users can't be read", error=error)
            return self._hashes

    def _read_if_changed(self) -> None:
        state = _state(self._path)
        if state != self._state:
            self._state, self._hashes = state, {}
            self.version += 1
            if state is not None:
                self._hashes = _read(self._path)

    def check(self, name: str, password: str) -> bool:
        """Return whether there is a user with this password. Takes a fifth of a second."""
        known = self.present().get(name)
        same = matches(password, known or self._nobody)
        return same and known is not None


def _state(path: Path) -> tuple[int, ...] | None:
    """Return values that change when the file does; None if there is no file."""
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
                f"{path}, line {number}: this is not a user. Delete the line, and run"
                " .venv/bin/python app.py --add-user NAME"
            )
        found[name] = known
    return found


def add(path: Path, name: str, password: str) -> bool:
    """Add a user to the file, or change the user's password; return whether the user is new.

    If there is no file, it is created with mode 600. Raises UsersError.
    """
    if not is_name(name):
        raise UsersError(
            "A user's name must be 1 to 64 letters, digits or characters of . _ @ + -."
        )
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsersError(
            f"A password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters; twenty are"
            " better than eight."
        )
    known = hashed(password)
    try:
        with locked(path.parent):
            users = _read(path) if path.exists() else {}
            new = name not in users
            users[name] = known
            replace_file(path, "".join(f"{each}:{known}\n" for each, known in users.items()))
    except OSError as error:
        raise UsersError(f"{path}: the users can't be written: {error}.") from error
    return new


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that one process at a time changes its files. Raises OSError.

    The files themselves can't be locked, because they are replaced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str) -> None:
    """Replace the file in one step. If root does it, the file keeps its owner. Raises OSError."""
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
    """Ask for a password twice at the terminal, or read it from a line of standard input.

    Raises UsersError if the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Password again: ") != password:
        raise UsersError("The two passwords differ; nothing was changed.")
    return password


def add_by_command(path: Path, name: str) -> int:
    """Ask for the user's password, write the file, and return the command's exit status.

    A running server sees the change at once.
    """
    try:
        new = add(path, name, ask_password())
    except UsersError as error:
        exit_with(str(error))
    sys.stdout.write(f"{name} may sign in now.\n" if new else f"{name} has a new password.\n")
    return 0
