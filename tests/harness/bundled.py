"""Ask a bundled server whether it works and who gets in, and end the processes that use it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import redis
from psycopg2.extensions import parse_dsn

# Connects as the user nobody to a socket, or to a PostgreSQL. It becomes nobody only when Python
# runs, because Python itself may be where only root can go.
STRANGER = """
import os, psycopg2, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    if sys.argv[1].startswith("postgresql:"):
        psycopg2.connect(sys.argv[1]).close()
    else:
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("came in")
except Exception as error:
    print(repr(error))
"""


def works(kind: str, url: str) -> bool:
    """Return whether the server of that kind answers at the URL."""
    try:
        if kind == "redis":
            client = redis.Redis.from_url(url)
            with client:
                return bool(client.ping())
        connection = psycopg2.connect(url, connect_timeout=5)
        connection.close()
        return True
    except (redis.RedisError, psycopg2.OperationalError):
        return False


def socket_path(kind: str, url: str) -> Path:
    """Return the socket by which the server of that kind is reached at the URL."""
    if kind == "redis":
        return Path(unquote(urlsplit(url).path))
    return Path(parse_dsn(url)["host"], ".s.PGSQL.5432")


def mode(path: Path) -> int:
    """Return the bits of a file's mode, without those of its kind."""
    return stat.S_IMODE(path.stat().st_mode)


def stranger(place: str | Path) -> str:
    """Return what comes of it when the user nobody connects to the socket or the URL."""
    return subprocess.check_output([sys.executable, "-c", STRANGER, place], text=True)


def leave(user: subprocess.Popen[str]) -> None:
    """Let a process that the fixture `use` has started release its server and end."""
    if user.poll() is None:
        user.communicate("\n", timeout=60)
    for pipe in (user.stdin, user.stdout):
        assert pipe is not None
        pipe.close()
    user.wait(60)
