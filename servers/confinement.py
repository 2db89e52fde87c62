"""The users that the bundled servers run as, and folders for their sockets that are private."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path

# The user that PostgreSQL runs as if root starts it: it refuses to run as root.
POSTGRES_USER = "pgserver"
# The most bytes of a folder's path: a Unix socket's own may have about 107, with its name.
SOCKET_FOLDER_BYTES = 80


class EmbeddedError(Exception):
    """A bundled server can't be started; the message says why, and where its log is."""


def name_of(uid: int) -> str | None:
    """The name of a user, or None if the system has none for this number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def group_of(uid: int) -> int:
    """The primary group of a user; for a user whom the system doesn't know, the same number."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def postgres_uid() -> int:
    """The user that PostgreSQL runs as if root starts it; created if missing.

    Raises EmbeddedError.
    """
    try:
        return pwd.getpwnam(POSTGRES_USER).pw_uid
    except KeyError:
        pass
    try:
        subprocess.run(
            ["useradd", "--system", "--shell", "/bin/false", POSTGRES_USER],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {POSTGRES_USER} can't be made by"
            " useradd. Make that user, or start this program as another user than root"
        ) from None
    return pwd.getpwnam(POSTGRES_USER).pw_uid


def socket_folder(folder: Path, uid: int) -> Path:
    """Return `folder`, or a shorter one private to user `uid` if its path can't be a Unix socket's.

    Raises EmbeddedError if somebody else may have made the shorter folder, whose name isn't secret,
    or if that is too long as well.
    """
    # PostgreSQL's clients read a comma as separating two hosts.
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and "," not in str(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"email-batch-{os.getuid()}-{digest}"
    if len(os.fsencode(short)) > SOCKET_FOLDER_BYTES or "," in str(short):
        raise EmbeddedError(
            f"neither {folder} nor {short} has a path that a Unix socket may have (up to"
            f" {SOCKET_FOLDER_BYTES} bytes, no comma). Name a shorter folder by TMPDIR"
        )
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    owners = {uid, os.getuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o077:
        raise EmbeddedError(
            f"{short} is to hold a socket, and is no folder of mode 700 of our own, so somebody"
            " else may have made it. Remove it, or name a private folder by TMPDIR"
        )
    if found.st_uid != uid:
        os.chown(short, uid, -1, follow_symlinks=False)
    return short
