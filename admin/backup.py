"""Backup and restore by pg_dump and pg_restore: one file with all batches, emails and files.

A backup may be made while app and workers run: it shows the tables at one instant. It is restored
whole or not at all, into a database without batches.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from admin.pg_tools import ToolError, Tools, all_tools, error_in
from batches import changes, invariants
from postgres import database, schema
from postgres.database import APPLICATION, fetch_value, pool, session
from postgres.schema import NEWEST
from runtime.entries import ProcessorEntry
from runtime.every import Every
from runtime.phrases import several

# All tables of this project.
TABLES = (
    "action", "chunk", "email", "file_piece", "journal", "pace", "skipped_row", "batch",
    "schema_version",
)  # fmt: skip
# Seconds that a backup or a restore may take.
SECONDS = 86_400.0
# Seconds between two calls of Progress.
PROGRESS_SECONDS = 0.5
# How long to wait for another transaction's lock on the tables.
_LOCK_WAIT = "60s"
_BLOCK = 1 << 20
# The last line of a backup, behind pg_dump's own. pg_restore doesn't read that far, nor does it
# notice that the very end of a file is missing.
_END = b"\nend of email-batch backup\n"

# Takes the number of bytes written or read so far.
Progress = Callable[[int], object]


class BackupError(Exception):
    """A backup or a restore failed; the message says why, and what to do."""


@dataclass(frozen=True)
class Contents:
    """The contents of a backup."""

    batches: int
    emails: int
    schema_version: int

    def __str__(self) -> str:
        return f"{several(self.batches, 'batch', 'batches')} with {several(self.emails, 'email')}"


# The transaction that holds the snapshot idles until pg_dump ends, which a server may forbid.
_IDLE = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""


@contextmanager
def _snapshot() -> Iterator[tuple[str, Contents]]:
    """Keep a snapshot of the database; yield its name, for pg_dump, and its contents."""
    with session(SECONDS), pool.atomic():
        pool.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        pool.execute_sql(_IDLE)
        yield fetch_value("SELECT pg_export_snapshot()"), _contents()


def _contents() -> Contents:
    batches, emails = pool.execute_sql(
        "SELECT count(*), coalesce(sum(total_emails), 0) FROM batch WHERE deleted_at IS NULL"
    ).fetchone()
    return Contents(int(batches), int(emails), schema.version() or 0)


def backup(
    url: str, target: Path | None, progress: Progress, *, bundled: bool
) -> tuple[Contents, int]:
    """Write a backup to `target`, or to standard output; return its contents and its bytes.

    The file appears when it is complete and on the disk; only its owner may read it. Raises
    BackupError, ToolError, UNREACHABLE and OSError.
    """
    with session():
        server = database.server_version()
    choices = (each for each in all_tools(url, bundled=bundled) if each.can_connect)
    tools = next((each for each in choices if each.major >= server), None)
    if tools is None:
        raise BackupError(
            f"The server is PostgreSQL {server}, and no pg_dump here is as new and can reach it"
            f" (the bundled pg_dump lacks TLS). Install postgresql-client-{server}"
        )
    # Descriptor 1 is standard output, and stays open.
    with open(1, "wb", closefd=False) if target is None else _complete(target) as file:
        with _snapshot() as (name, contents):
            size = _dump(tools, name, file, progress)
        file.write(_END)
    return contents, size + len(_END)


@contextmanager
def _complete(target: Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when it is complete and on the disk, or else is removed."""
    unfinished = target.with_name(f"{target.name}.partial")
    with open(unfinished, "wb", opener=_private) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not _has_name(file, unfinished):
                raise BackupError(f"Another backup to {target} began meanwhile, and goes on")
            unfinished.rename(target)
        finally:
            if _has_name(file, unfinished):
                unfinished.unlink()
    _sync_folder(target.parent)


def _private(path: str, flags: int) -> int:
    Path(path).unlink(missing_ok=True)  # left by a backup that was killed
    return os.open(path, flags | os.O_EXCL, 0o600)


def _has_name(file: IO[bytes], path: Path) -> bool:
    """Return whether this file still has the name, and not another file."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump(tools: Tools, snapshot: str, file: IO[bytes], progress: Progress) -> int:
    """Write pg_dump's output to the file, by a pipe that ends pg_dump with us; return the bytes."""
    with tempfile.TemporaryFile() as errors:
        # Kept files are compressed already; the rest shrinks to a fifth at the least effort.
        dump = tools.start(
            "pg_dump",
            *("--format=custom", "--compress=1", "--no-owner", "--no-privileges", "--no-password"),
            *(f"--snapshot={snapshot}", f"--lock-wait-timeout={_LOCK_WAIT}"),
            *(f"--table={table}" for table in TABLES),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert dump.stdout is not None  # noqa: S101
        with _ended(dump), dump.stdout:
            size = _pump(dump.stdout, file, progress)
            if dump.wait():
                errors.seek(0)
                raise BackupError(f"pg_dump failed: {error_in(errors.read())}")
    return size


@contextmanager
def _ended(*processes: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the processes that still run at the end."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def restore(
    url: str,
    source: Path,
    progress: Progress,
    *,
    bundled: bool,
    repeatable: Sequence[ProcessorEntry],
) -> tuple[Contents, list[int]]:
    """Restore a backup, migrate its tables, and check its counts.

    Its unfinished batches are paused before any worker sees them, but for those of processors whose
    work is `repeatable`. Returns the contents, and the ids of the batches that are paused because
    they were restored.

    Raises BackupError, UNREACHABLE and SchemaError, with nothing changed. Only if the counts are
    wrong, the backup stays restored, so that somebody can look at it, and the BackupError says so.
    """
    choices = all_tools(url, bundled=bundled)
    reader, version = _read(source, choices)
    if version > NEWEST:
        raise BackupError(
            f"The backup's tables are of version {version}, and this code knows versions up to"
            f" {NEWEST}. Install the version that made the backup"
        )
    writer = next((each for each in (reader, *choices) if each.can_connect), None)
    if writer is None:
        raise BackupError(
            "The server must be reached by TLS, which the bundled psql lacks. Install"
            " postgresql-client"
        )
    with session():
        _refuse_unless_empty()
        strip = database.server_version() < 17
    can_pause = version >= _PAUSES_SINCE
    pause = changes.pause_restored(_unrepeatable(repeatable, named=version >= _NAMED_SINCE))
    last = f"RESET search_path;{pause}" if can_pause else ""
    _load(reader, writer, source, progress, last=last, strip=strip)
    with session(SECONDS):
        schema.migrate()
        if not can_pause:
            pool.execute_sql(pause)
        pool.execute_sql("ANALYZE batch, chunk")
        wrong = invariants.violations()
        if wrong:
            raise BackupError(
                f"The backup is restored, but something in it is wrong: {wrong[0][:-1]}"
            )
        return _contents(), changes.paused_by_restore()


def _read(source: Path, choices: list[Tools]) -> tuple[Tools, int]:
    """Return the tools that can read the backup, and the version of its tables."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - len(_END)))
        if file.read() != _END:
            raise BackupError(f"{source} is not a backup by manage.py, or its end is missing")
    why = ""
    for tools in choices:
        try:
            listed = tools.output("pg_restore", "--list", str(source))
            if not re.search(r"TABLE DATA \S+ schema_version ", listed):
                raise ToolError("it has none of our tables")
            numbers = tools.output(
                "pg_restore", "--data-only", "--table=schema_version", "--file=-", str(source)
            )
        except ToolError as error:
            why = str(error)
        else:
            return tools, max(map(int, re.findall(r"^(\d+)\t", numbers, re.M)), default=0)
    raise BackupError(f"{source} can't be read as a backup: {why}")


def _refuse_unless_empty() -> None:
    others = pool.execute_sql(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = ANY (%s) ORDER BY 1",
        ([f"{APPLICATION} app", f"{APPLICATION} worker"],),
    ).fetchall()
    if others:
        names = ", ".join(name for (name,) in others)
        raise BackupError(
            f"Others are connected to the database: {names}. Stop app and workers; a PgBouncer may"
            " keep their connections open"
        )
    if schema.version() is None:
        return
    if batches := fetch_value("SELECT count(*) FROM batch"):
        raise BackupError(
            f"The database has {batches} batches already. Restore into an empty one, such as a new"
            " database, and name it by DATABASE_URL"
        )


# Statements before the backup's own, in the same transaction. The lock makes an app or a
# worker that starts meanwhile wait. The tables of an app that ran before must still be empty.
_FIRST = f"""
BEGIN;
SET LOCAL lock_timeout = '{_LOCK_WAIT}';
SELECT pg_advisory_xact_lock({schema.LOCK});
DO $$ BEGIN
  IF to_regclass('batch') IS NOT NULL THEN
    LOCK TABLE batch IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM batch) THEN RAISE 'the database has batches by now'; END IF;
  END IF;
END $$;
DROP TABLE IF EXISTS {", ".join(TABLES)} CASCADE;
"""


# Tables of an earlier version than this have no columns for a pause, or for a processor.
_PAUSES_SINCE, _NAMED_SINCE = 11, 14


def _unrepeatable(repeatable: Sequence[ProcessorEntry], *, named: bool) -> str:
    """Return a condition: the batch is of none of these processors.

    `named` is whether batches name their processors; otherwise none of them does.
    """
    default = "false" if any(each.takes_unnamed for each in repeatable) else "true"
    names = ", ".join("'{}'".format(each.name.replace("'", "''")) for each in repeatable)
    return f"coalesce(processor <> ALL (ARRAY[{names}]::text[]), {default})" if named else default


def _load(
    reading: Tools, writing: Tools, source: Path, progress: Progress, *, last: str, strip: bool
) -> None:
    """In one transaction, run the backup's statements, without _TOO_NEW if `strip`, and `last`."""
    with tempfile.TemporaryFile() as errors:
        reader = reading.start(
            "pg_restore",
            *("--file=-", "--no-owner", "--no-privileges", str(source)),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        writer = writing.start(
            "psql",
            *("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"),
            "--output=/dev/null",
            stdin=subprocess.PIPE,
            stderr=errors,
        )
        with _ended(reader, writer):
            assert reader.stdout is not None  # noqa: S101
            assert writer.stdin is not None  # noqa: S101
            # If the writer ends early, the reader is stuck, and the writer's error is reported.
            with contextlib.suppress(BrokenPipeError):
                writer.stdin.write(_FIRST.encode())
                _pump(reader.stdout, writer.stdin, progress, strip=strip)
                if reader.wait() == 0:
                    writer.stdin.write(f"{last}COMMIT;\n".encode())
                writer.stdin.close()
            reader.stdout.close()
            if writer.wait() or reader.wait():
                errors.seek(0)
                raise BackupError(f"Nothing was restored: {error_in(errors.read())}")


# A setting among the first lines of pg_restore, which a server before 17 lacks.
_TOO_NEW = b"SET transaction_timeout = 0;\n"


def _pump(source: IO[bytes], target: IO[bytes], progress: Progress, *, strip: bool = False) -> int:
    """Copy the source to the target, without _TOO_NEW if `strip`; return the number of bytes."""
    total, report = 0, Every(PROGRESS_SECONDS)
    while block := source.read(_BLOCK):
        target.write(block.replace(_TOO_NEW, b"", 1) if strip and not total else block)
        total += len(block)
        if report.due():
            progress(total)
    target.flush()
    progress(total)
    return total
