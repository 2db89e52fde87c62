"""pg_dump, pg_restore and psql: find them, and start them on a PostgreSQL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from psycopg2.extensions import parse_dsn

from postgres.database import APPLICATION
from servers.bundled import postgres_programs

# libpq's environment variables are named after the options of a URL, but for these.
_VARIABLES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
_WITH_TLS = ("require", "verify-ca", "verify-full")

# How an error of a tool or of the server begins, and how a mere notice does.
_ERROR = re.compile(r"(?:\w+: )?(?:error|fatal|ERROR|FATAL|PANIC): +")
_NOTICE = re.compile(r"(?:\w+: )?(?:warning|hint|detail|DEBUG|LOG|INFO|NOTICE|WARNING): ")


class ToolError(Exception):
    """A tool failed; the message is its own."""


class Tools:
    """pg_dump, pg_restore and psql of one version, for the PostgreSQL at `url`.

    `can_connect` is false if they lack the TLS that the URL asks for; they still can read a file.
    """

    def __init__(self, folder: Path, url: str, *, can_connect: bool = True) -> None:
        self._folder = folder
        self.can_connect = can_connect
        # Arguments would show the password to everybody on the machine. Variables that the URL
        # leaves open keep their values, as for psycopg2.
        given = {
            _VARIABLES.get(key, f"PG{key.replace('_', '').upper()}"): str(value)
            for key, value in parse_dsn(url).items()
        }
        ours = {"PGAPPNAME": f"{APPLICATION} backup", "PGCLIENTENCODING": "UTF8"}
        self._environment = {**os.environ, **given, **ours}

    def start(self, tool: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a tool; `options` are those of Popen."""
        command = [str(self._folder / tool), *arguments]
        return subprocess.Popen(command, env=self._environment, **options)

    def output(self, tool: str, *arguments: str) -> str:
        """Return what a tool prints. Raises ToolError if it fails."""
        process = self.start(tool, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        printed, errors = process.communicate()
        if process.returncode:
            raise ToolError(error_in(errors))
        return printed.decode(errors="replace")

    @property
    def major(self) -> int:
        """The major version of PostgreSQL that the tools belong to."""
        match = re.search(r"\) (\d+)", self.output("pg_dump", "--version"))
        return int(match[1]) if match else 0


def error_in(stderr: bytes) -> str:
    """Return the first error that a tool printed, without the tool's name."""
    lines = stderr.decode(errors="replace").strip().split("\n")
    # A notice may have the word in its text.
    errors = [line for line in lines if _ERROR.match(line)]
    errors = errors or [line for line in lines if not _NOTICE.match(line)] or lines
    return _ERROR.sub("", errors[0]).strip().rstrip(".")


def all_tools(url: str, *, bundled: bool) -> list[Tools]:
    """Return the tools to be had, best first: those on PATH, then the bundled, which lack TLS.

    For a `bundled` server, they are the bundled tools only.
    """
    mode = parse_dsn(url).get("sslmode") or os.environ.get("PGSSLMODE")
    programs = postgres_programs()
    ours = Tools(programs[max(programs)], url, can_connect=bundled or mode not in _WITH_TLS)
    on_path = [shutil.which(tool) for tool in ("pg_dump", "pg_restore", "psql")]
    if bundled or not all(on_path):
        return [ours]
    return [Tools(Path(str(on_path[0])).parent, url), ours]
