"""The verbs of manage.py: each does one thing on PostgreSQL and Redis, and reports it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from admin import backup, checks
from admin.backup import BackupError
from admin.configured import repeatable
from admin.diagnostics import OK, PROBLEM, WARNING
from admin.pg_tools import ToolError
from batches import changes, finishing, queries, removal
from batches.as_json import batch_json
from batches.changes import StateError
from batches.snapshots import newest_and_unfinished
from models import Snapshot
from postgres import database, schema
from postgres.database import UNREACHABLE, session
from postgres.schema import NEWEST, SchemaError
from processors import reasons
from relay import publish
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from runtime import logs, phrases
from runtime.phrases import several
from runtime.settings import BUNDLED, Settings
from servers import connect
from servers.confinement import BundledServerError
from web.health import Health

# Batches that `status` shows: the newest, and as many unfinished.
SHOWN = 10
# Seconds that one chunk of a retry, or one piece of a removal, may take.
PIECE_SECONDS = 60.0
# Batches that `purge` deletes at most.
PURGED = 100_000
# Batches that a dry run names at most.
NAMED = 20
CHECK = "manage.py check says more."

T = TypeVar("T")
# Shows a text about a verb's progress.
Meter = Callable[[str], object]


class ManageError(Exception):
    """A verb could not be done; the message is a sentence that says why, and what to do."""


@dataclass
class Report:
    """The outcome of a verb: one document for scripts, and lines for people."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    ok: bool = True


class Commands:
    """The verbs that need the servers, each a method of its name."""

    def __init__(self, settings: Settings, doorbell: Doorbell, url: str, meter: Meter) -> None:
        self._settings = settings
        self._doorbell = doorbell
        self._url = url
        self._meter = meter
        self._bundled = settings.database.url == BUNDLED
        self._queue = BatchQueue(doorbell.client, doorbell.key, *settings.names_in_queue)
        # The name in the history of a changed batch.
        self._by = f"{_user()} (manage.py)"

    def status(self, _: argparse.Namespace) -> Report:
        outage = logs.Outage("postgres", connect.logger)
        report = Health(self._doorbell, self._settings, outage).report()
        batches = _shown() if report["database"] == "ok" else None
        texts = report["texts"]
        ok = report["status"] == "ok"
        parts = ("database", "redis", "workers", "rate", "queue", "oldest")
        several_named = len(self._settings.processors) > 1
        default = self._settings.unnamed_processor.name if several_named else ""
        lines = [
            " · ".join(texts[part] for part in parts),
            f"{texts['text']} {texts['command']}".strip(),
            texts["lookupsOff"],
            *(_worker_line(each, names=several_named) for each in report["workers"] or []),
            *(_batch_line(each, default) for each in batches or []),
            "There are no batches." if batches == [] else "",
            "" if ok else CHECK,
        ]
        return Report({"health": report, "batches": batches}, list(filter(None, lines)), ok)

    def retry(self, arguments: argparse.Namespace) -> Report:
        which, batch_id = arguments.which, arguments.batch
        if not reasons.is_code(which):
            raise ManageError("Say failed, unknown, or a reason's code such as no_at_sign.")
        chunks = itertools.count(1)
        with session(PIECE_SECONDS) as current:

            def on_chunk() -> None:
                current.extend(PIECE_SECONDS)
                self._meter(f"batch {batch_id}: chunk {next(chunks):,}")

            done = changes.retry(batch_id, which, reasons.named(which), on_chunk, self._by)
        requeued, snapshot = _existing(done, batch_id)
        if requeued:
            self._announce(snapshot)
        return Report(
            {"batchId": batch_id, "requeued": requeued, "status": snapshot.status},
            [f"{several(requeued, 'email')} of batch {batch_id} will be processed again."],
        )

    def cancel(self, arguments: argparse.Namespace) -> Report:
        with session():
            snapshot = _existing(changes.cancel(arguments.batch, self._by), arguments.batch)
        self._announce(snapshot)
        counted = f"{snapshot.processed:,} of {snapshot.total:,} emails are processed"
        return Report(
            {
                "batchId": snapshot.batch_id,
                "status": snapshot.status,
                "processedCount": snapshot.processed,
                "totalEmails": snapshot.total,
            },
            [f"Batch {snapshot.batch_id} is cancelled: {counted}."],
        )

    def pause(self, arguments: argparse.Namespace) -> Report:
        return self._pause_or_resume(arguments.batch, changes.pause)

    def resume(self, arguments: argparse.Namespace) -> Report:
        return self._pause_or_resume(arguments.batch, changes.resume)

    def _pause_or_resume(
        self, batch_id: int, change: Callable[[int, str | None], Snapshot | None]
    ) -> Report:
        with session():
            snapshot = _existing(change(batch_id, self._by), batch_id)
        self._announce(snapshot)
        said = phrases.paused(snapshot.paused) or "Not paused; workers go on with it."
        return Report(
            {"batchId": batch_id, "status": snapshot.status, "paused": snapshot.paused},
            [f"Batch {batch_id}: {said}"],
        )

    def rate(self, arguments: argparse.Namespace) -> Report:
        batch_id = arguments.batch
        with session():
            changed = changes.set_rate(batch_id, self._by, arguments.per_minute)
        snapshot = _existing(changed, batch_id)
        self._announce(snapshot)
        return Report(
            {"batchId": batch_id, "status": snapshot.status, "perMinute": snapshot.per_minute},
            [f"Batch {batch_id}: {phrases.per_minute(snapshot.per_minute)}."],
        )

    def finish(self, arguments: argparse.Namespace) -> Report:
        batch_id = arguments.batch
        with session(PIECE_SECONDS) as current:

            def on_chunk(snapshot: Snapshot) -> None:
                current.extend(PIECE_SECONDS)
                self._meter(f"batch {batch_id}: {snapshot.waiting:,} emails wait")

            done = finishing.finish(batch_id, on_chunk, self._by)
        finished, snapshot = _existing(done, batch_id)
        if finished:
            self._announce(snapshot)
        return Report(
            {"batchId": batch_id, "finished": finished, "status": snapshot.status},
            [f"{several(finished, 'email')} of batch {batch_id} waited, and became unknown."],
        )

    def delete(self, arguments: argparse.Namespace) -> Report:
        emails = self._delete(arguments.batch)
        return Report(
            {"batchId": arguments.batch, "emails": emails},
            [f"Batch {arguments.batch} is deleted, with {several(emails, 'email')} and its file."],
        )

    def purge(self, arguments: argparse.Namespace) -> Report:
        days = arguments.older_than
        with session():
            old = removal.expired_batches(days, PURGED)
        ago = f"that ended more than {days:g} {'day' if days == 1 else 'days'} ago"
        if arguments.dry_run:
            said = f"{several(len(old), 'batch', 'batches')} {ago} would be deleted"
            return Report({"wouldDelete": old}, [f"{said}{_listed(old)}."])
        deleted: list[int] = []
        emails = 0
        for batch_id in old:
            # Somebody else may have deleted the batch meanwhile, or retried its emails.
            with contextlib.suppress(ManageError, StateError):
                emails += self._delete(batch_id)
                deleted.append(batch_id)
        said = f"{several(len(deleted), 'batch', 'batches')} {ago}: deleted, with"
        return Report(
            {"deleted": deleted, "emails": emails}, [f"{said} {several(emails, 'email')}."]
        )

    def backup(self, arguments: argparse.Namespace) -> Report:
        target = None if arguments.file == "-" else Path(arguments.file)
        _refuse(target, force=arguments.force)
        begun = time.monotonic()
        progress = _megabytes(self._meter, "written")
        found, size = backup.backup(self._url, target, progress, bundled=self._bundled)
        seconds = time.monotonic() - begun
        measured = {"file": arguments.file, "bytes": size, "seconds": round(seconds, 1)}
        return Report(
            {**_contents_json(found), **measured},
            [
                f"{found} are in {target or 'standard output'}: {size / 1e6:,.1f}"
                f" MB, tables of version {found.schema_version}, in {seconds:.1f} s."
            ],
        )

    def restore(self, arguments: argparse.Namespace) -> Report:
        progress = _megabytes(self._meter, "restored")
        found, paused = backup.restore(
            self._url,
            Path(arguments.file),
            progress,
            bundled=self._bundled,
            repeatable=repeatable(self._settings),
        )
        lines = [f"{found} are restored, and all counts agree."]
        if paused:
            lines.append(
                f"{several(len(paused), 'unfinished batch is', 'unfinished batches are')} paused"
                f"{_listed(paused)}. {changes.RESTORED} Do so by manage.py resume NUMBER, or on"
                " the pages."
            )
        return Report({**_contents_json(found), "file": arguments.file, "paused": paused}, lines)

    def _delete(self, batch_id: int) -> int:
        """Delete a batch and remove its rows; return the number of its emails."""
        with session():
            snapshot = _existing(changes.delete(batch_id, self._by), batch_id)
        self._announce(snapshot)
        removing = f"batch {batch_id}: removing its rows"
        removal.remove_all(
            batch_id,
            lambda: session(PIECE_SECONDS),
            on_piece=lambda key: self._meter(f"{removing}, {key:,} so far"),
        )
        return snapshot.total

    def _announce(self, snapshot: Snapshot) -> None:
        prefix = self._settings.redis.channel_prefix
        publish.announce(self._doorbell, self._queue, prefix, snapshot)


def _megabytes(meter: Meter, done: str) -> Callable[[int], None]:
    def tell(size: int) -> None:
        if size >= 1_000_000:  # not "0 MB"
            meter(f"{size / 1e6:,.0f} MB {done}")

    return tell


def _refuse(target: Path | None, *, force: bool) -> None:
    """Raise ManageError if this is no place for a backup. None is standard output."""
    if target is None:
        if sys.stdout.isatty():
            raise ManageError(
                "A backup can't be read on a terminal. Send it to a file or a command."
            )
    elif target.exists() and not target.is_file():
        raise ManageError(f"{target} is not a regular file, so it can't be replaced; name another.")
    elif target.exists() and not force:
        raise ManageError(f"{target} is there already; name another file, or say --force.")


def _existing(found: T | None, batch_id: int) -> T:
    if found is None:
        raise ManageError(f"There is no batch {batch_id}.")
    return found


def _user() -> str:
    """Return the name of the user who runs this process, or the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return f"uid {os.getuid()}"


def _shown() -> list[dict[str, Any]]:
    """Return the newest batches, and then the oldest unfinished ones."""
    with session():
        versions, _following = queries.find_batches(limit=SHOWN)
        newest = queries.listed(versions)
        oldest = [each.batch_id for each in newest_and_unfinished(0, SHOWN)]
        others = [number for number in oldest if number not in versions]
        unfinished = [batch for number in others if (batch := queries.find_batch(number))]
    return [batch_json(batch) for batch in (*newest, *unfinished)]


def _worker_line(worker: dict[str, Any], *, names: bool) -> str:
    """Return the line of a worker, with the `names` of its processors if there are several."""
    busy = [
        f"batch {thread['batchId']} from email {thread['firstId']:,} for {thread['seconds']} s"
        for thread in worker["activity"]
        if thread["batchId"] is not None
    ]
    can = f"{', '.join(worker['processors']) or 'no processor'}  " if names else ""
    return (
        f"worker {worker['host']}:{worker['pid']}  {several(worker['threads'], 'thread')}"
        f"  {can}{phrases.rate(worker['rate'])}  {', '.join(busy) or 'nothing to do'}"
    )


def _listed(batch_ids: list[int]) -> str:
    named = ", ".join(map(str, batch_ids[:NAMED]))
    more = len(batch_ids) - NAMED
    return (f": {named}" if named else "") + (f" and {more:,} more" if more > 0 else "")


def _batch_line(batch: dict[str, Any], default: str) -> str:
    """Return the line of a batch, with its processor's name if there is a `default` of several."""
    percent = phrases.percent(batch["processedCount"], batch["totalEmails"])
    line = (
        f"batch {batch['id']}  {batch['status']}  {batch['processedCount']:,} of"
        f" {batch['totalEmails']:,} ({percent}%), {batch['failedCount']:,} invalid"
        f"  {batch['filename']}"
    )
    rate = batch["perMinute"] and phrases.per_minute(batch["perMinute"])
    why = phrases.paused(batch["paused"]), phrases.waiting(batch["waiting"], batch["nextAt"])
    processor = default and (batch["processor"] or default)
    return "  ".join(filter(None, (line, processor, rate, *why)))


def _contents_json(contents: backup.Contents) -> dict[str, int]:
    return {
        "batches": contents.batches,
        "emails": contents.emails,
        "schemaVersion": contents.schema_version,
    }


def _check(settings: Settings) -> Report:
    diagnostics = list(checks.run(settings))
    marks = {OK: "ok      ", WARNING: "warning ", PROBLEM: "PROBLEM "}
    lines = [f"{marks[each.level]} {each.part}: {each.text} {each.advice}" for each in diagnostics]
    return Report(
        {"findings": [vars(each) for each in diagnostics]},
        [line.rstrip() for line in lines],
        ok=all(each.level != PROBLEM for each in diagnostics),
    )


def _require_newest() -> None:
    with session():
        present = schema.version()
    if present != NEWEST:
        said = f"are of version {present}" if present else "are not there, or of an early version"
        raise ManageError(
            f"The database's tables {said}, and this code needs version {NEWEST}. Start app.py or"
            " worker.py of the newest version, which bring them up to date."
        )


def run(arguments: argparse.Namespace, settings: Settings, meter: Meter) -> Report:
    """Run the verb of `arguments`. Raises ManageError."""
    verb = arguments.verb
    if verb == "check":
        return _check(settings)
    try:
        with (
            connect.postgres(settings, "manage", reads=True) as url,
            connect.redis(settings) as bell,
        ):
            if verb != "restore":
                # `status` reports a PostgreSQL that can't be reached.
                with contextlib.suppress(*(UNREACHABLE if verb == "status" else ())):
                    _require_newest()
            report: Report = getattr(Commands(settings, bell, url, meter), verb)(arguments)
            return report
    except (StateError, SchemaError, BackupError, ToolError, BundledServerError) as error:
        raise ManageError(f"{str(error).rstrip('.')}.") from error
    except OSError as error:
        raise ManageError(f"{error.filename or verb}: {error.strerror}.") from error
    except UNREACHABLE as error:
        if database.is_limit(error) or database.is_read_only(error):
            raise ManageError(f"PostgreSQL refused that: {logs.said(error)}.") from error
        raise ManageError(
            f"PostgreSQL can't be reached: {logs.said(error)}. See [database] url, or DATABASE_URL;"
            f" {CHECK}"
        ) from error
