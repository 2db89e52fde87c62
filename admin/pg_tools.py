"""pg_dump, pg_restore and psql: which of those that are there, and how they learn whom to ask."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO

from psycopg2.extensions import parse_dsn

from postgres.database import APPLICATION
from servers.bundled import postgres_programs

# libpq's environment variables are named as the options of a URL, but for these.
_VARIABLES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
_WITH_TLS = ("require", "verify-ca", "verify-full")


# How a complaint begins, a tool's own or the server's; and what is none.
_ERROR = re.compile(r"(?:\w+: )?(?:error|fatal|ERROR|FATAL|PANIC): +")
_NOTICE = re.compile(r"(?:\w+: )?(?:warning|hint|detail|DEBUG|LOG|INFO|NOTICE|WARNING): ")


class ToolError(Exception):
    """The last word of a tool that failed."""


class Tools:
    """pg_dump, pg_restore and psql of one version, for the PostgreSQL at `url`.

    Those that can't reach it, for want of TLS, still can read a file.
    """

    def __init__(self, folder: Path, url: str, *, reaching: bool = True) -> None:
        self._folder = folder
        self.reaching = reaching
        # Not by arguments, which would show its password to everybody on the machine. What the URL
        # leaves open the environment says, to them as to psycopg2.
        given = {
            _VARIABLES.get(key, f"PG{key.replace('_', '').upper()}"): str(value)
            for key, value in parse_dsn(url).items()
        }
        ours = {"PGAPPNAME": f"{APPLICATION} backup", "PGCLIENTENCODING": "UTF8"}
        self._environment = {**os.environ, **given, **ours}

    def start(
        self,
        tool: str,
        *arguments: str,
        stdin: int | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one."""
        return subprocess.Popen(
            [str(self._folder / tool), *arguments],
            env=self._environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def output(self, tool: str, *arguments: str) -> str:
        """What the tool prints. Raises ToolError if it fails."""
        result = subprocess.run(
            [str(self._folder / tool), *arguments],
            env=self._environment,
            capture_output=True,
            check=False,
        )
        if result.returncode:
            raise ToolError(last_word(result.stderr))
        return result.stdout.decode(errors="replace")

    @property
    def major(self) -> int:
        """The version of PostgreSQL that they are of."""
        match = re.search(r"\) (\d+)", self.output("pg_dump", "--version"))
        return int(match[1]) if match else 0


def last_word(stderr: bytes) -> str:
    """What a tool complained of, without its name."""
    lines = stderr.decode(errors="replace").strip().split("\n")
    # A notice may have the word in its text.
    errors = [line for line in lines if _ERROR.match(line)]
    errors = errors or [line for line in lines if not _NOTICE.match(line)] or lines
    return _ERROR.sub("", errors[0]).strip().rstrip(".")


def all_tools(url: str, *, embedded: bool) -> list[Tools]:
    """Those to be had, the better choice first: on PATH; bundled, which know no TLS."""
    mode = parse_dsn(url).get("sslmode") or os.environ.get("PGSSLMODE")
    bundled = Tools(_bundled(), url, reaching=embedded or mode not in _WITH_TLS)
    return [*(Tools(folder, url) for folder in _on_path(embedded)), bundled]


def _on_path(embedded: bool) -> list[Path]:
    found = [shutil.which(tool) for tool in ("pg_dump", "pg_restore", "psql")]
    return [] if embedded or None in found else [Path(str(found[0])).parent]


def _bundled() -> Path:
    programs = postgres_programs()
    return programs[max(programs)]
