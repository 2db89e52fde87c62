"""The users that the bundled servers run as, and private folders for their sockets."""

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
# The longest path of a socket's folder, in bytes. The path of a Unix socket has room for about 107.
SOCKET_FOLDER_BYTES = 80


class BundledServerError(Exception):
    """A bundled server can't be started; the message says why, and where its log is."""


def name_of(uid: int) -> str | None:
    """Return the name of a user, or None if the system has none for this number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def group_of(uid: int) -> int:
    """Return a user's primary group; for a user unknown to the system, the user's own number."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def postgres_uid() -> int:
    """Return the id of the user POSTGRES_USER, who is created if missing.

    Raises BundledServerError.
    """
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(POSTGRES_USER).pw_uid
    try:
        subprocess.run(
            ["useradd", "--system", "--shell", "/bin/false", POSTGRES_USER],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        raise BundledServerError(
            f"PostgreSQL does not run as root, and useradd can't create the user {POSTGRES_USER}."
            " Create that user, or start this program as another user than root"
        ) from None
    return pwd.getpwnam(POSTGRES_USER).pw_uid


def socket_folder(folder: Path, uid: int) -> Path:
    """Return `folder` for the sockets of user `uid`, or a private folder with a shorter path.

    Raises BundledServerError if the shorter path is too long as well, or if somebody else may have
    created that folder: its name isn't secret.
    """
    if _fits(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"email-batch-{os.getuid()}-{digest}"
    if not _fits(short):
        raise BundledServerError(
            f"neither {folder} nor {short} has a path that a Unix socket may have (up to"
            f" {SOCKET_FOLDER_BYTES} bytes, no comma). Name a shorter folder by TMPDIR"
        )
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    owners = {uid, os.getuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o077:
        raise BundledServerError(
            f"{short} must hold a socket, but is no folder of mode 700 of our own, so somebody"
            " else may have created it. Remove it, or name a private folder by TMPDIR"
        )
    if found.st_uid != uid:
        os.chown(short, uid, -1, follow_symlinks=False)
    return short


def _fits(folder: Path) -> bool:
    # PostgreSQL's clients take a comma for the end of a host's name.
    return len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and "," not in str(folder)
