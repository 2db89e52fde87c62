"""As whom the bundled servers run, and where their sockets are, so that nobody else gets in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path

# As whom PostgreSQL runs if root starts it. It refuses to run as root.
POSTGRES_USER = "pgserver"
# Bytes. The longest path of a Unix socket is about 107, with the socket's own name.
SOCKET_FOLDER_BYTES = 80


class EmbeddedError(Exception):
    """A bundled server can't be started; the message says why, and where its log is."""


def name_of(uid: int) -> str | None:
    """The user's name; None if the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def group_of(uid: int) -> int:
    """The user's own group."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def postgres_uid() -> int:
    """The user as whom PostgreSQL runs for root; it is made if it isn't there."""
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
    """`folder`, or a short one, private to the user `uid`, if it has no place for a Unix socket.

    Raises EmbeddedError if somebody else could have made the short one, whose name isn't secret.
    """
    # PostgreSQL's clients take a comma as one between two hosts.
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
