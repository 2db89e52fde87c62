"""The verbs of manage.py: each does one thing on PostgreSQL and Redis, and says what came of it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from admin import backup as backups
from admin import checks
from admin.backup import BackupError
from batches import changes, queries, removal
from batches.as_json import batch_json
from batches.changes import StateError
from batches.snapshots import unfinished_batches
from models import Snapshot
from postgres import database, schema
from postgres.database import UNREACHABLE, session
from postgres.schema import NEWEST, SchemaError
from processors import reasons
from relay import hub
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from runtime import logs, phrases
from runtime.phrases import several
from runtime.settings import Settings
from servers import connect
from servers.confinement import EmbeddedError
from web.health import Health

# Batches that `status` shows, the newest; seconds that a piece of a retry or a removal may take.
SHOWN = 10
PIECE_SECONDS = 60.0
# Batches that purge deletes at most; those of them that a dry run names.
PURGED, NAMED = 100_000, 20
CHECK = "python manage.py check says more."

T = TypeVar("T")
# Says how far something is.
Meter = Callable[[str], object]


class ManageError(Exception):
    """Why it was not done, in a sentence that says what to do."""


@dataclass
class Answer:
    """What a verb says: as one document for scripts, and in lines for people."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    ok: bool = True


class Office:
    """The servers, and what is done there."""

    def __init__(self, settings: Settings, doorbell: Doorbell, url: str, meter: Meter) -> None:
        self._settings = settings
        self._doorbell = doorbell
        self._url = url
        self._meter = meter
        self._queue = BatchQueue(doorbell.client, settings.redis.queue_key)
        # As it is shown on the page; there, too, only who may use this machine can do this.
        self._by = f"{_user()} (manage.py)"

    def status(self, _: argparse.Namespace) -> Answer:
        outage = logs.Outage("postgres", connect.logger)
        report = Health(self._doorbell, self._settings, outage).report()
        batches = _shown() if report["database"] == "ok" else None
        texts = report["texts"]
        parts = ("database", "redis", "workers", "rate", "queue", "oldest")
        lines = [" · ".join(texts[part] for part in parts)]
        lines += [f"{texts['text']} {texts['command']}".strip()] if texts["text"] else []
        lines += [_worker_line(worker) for worker in report["workers"] or []]
        lines += [_batch_line(batch) for batch in batches or []]
        lines += ["There are no batches."] if batches == [] else []
        ok = report["status"] == "ok"
        lines += [] if ok else [CHECK]
        return Answer({"health": report, "batches": batches}, lines, ok)

    def retry(self, arguments: argparse.Namespace) -> Answer:
        which, batch_id = arguments.which, arguments.batch
        if not reasons.is_code(which):
            raise ManageError("Say failed, unknown, or a reason's code such as no_at_sign.")
        chunks = itertools.count(1)
        with session(PIECE_SECONDS) as current:

            def on_chunk() -> None:
                current.extend(PIECE_SECONDS)
                self._meter(f"batch {batch_id}: chunk {next(chunks):,}")

            done = changes.retry(batch_id, which, reasons.named(which), on_chunk, self._by)
        requeued, snapshot = _there(done, batch_id)
        if requeued:
            self._announce(snapshot)
        return Answer(
            {"batchId": batch_id, "requeued": requeued, "status": snapshot.status},
            [f"{several(requeued, 'email')} of batch {batch_id} will be processed again."],
        )

    def cancel(self, arguments: argparse.Namespace) -> Answer:
        with session():
            snapshot = _there(changes.cancel(arguments.batch, self._by), arguments.batch)
        self._announce(snapshot)
        counted = f"{snapshot.processed:,} of {snapshot.total:,} emails are processed"
        return Answer(
            {
                "batchId": snapshot.batch_id,
                "status": snapshot.status,
                "processedCount": snapshot.processed,
                "totalEmails": snapshot.total,
            },
            [f"Batch {snapshot.batch_id} is cancelled: {counted}."],
        )

    def delete(self, arguments: argparse.Namespace) -> Answer:
        emails = self._delete(arguments.batch)
        return Answer(
            {"batchId": arguments.batch, "emails": emails},
            [f"Batch {arguments.batch} is deleted, with {several(emails, 'email')} and its file."],
        )

    def purge(self, arguments: argparse.Namespace) -> Answer:
        days = arguments.older_than
        with session():
            old = removal.expired_batches(days, PURGED)
        ago = f"that ended more than {days:g} {'day' if days == 1 else 'days'} ago"
        if arguments.dry_run:
            said = f"{several(len(old), 'batch', 'batches')} {ago} would be deleted"
            return Answer({"wouldDelete": old}, [f"{said}{_listed(old)}."])
        deleted: list[int] = []
        emails = 0
        for batch_id in old:
            # Somebody else may have deleted it meanwhile, or retried emails of it.
            with contextlib.suppress(ManageError, StateError):
                emails += self._delete(batch_id)
                deleted.append(batch_id)
        said = f"{several(len(deleted), 'batch', 'batches')} {ago}"
        return Answer(
            {"deleted": deleted, "emails": emails},
            [f"{said}: deleted, with {several(emails, 'email')}."],
        )

    def backup(self, arguments: argparse.Namespace) -> Answer:
        target = None if arguments.file == "-" else Path(arguments.file)
        _refuse(target, force=arguments.force)
        begun = time.monotonic()
        found, size = backups.backup(
            self._url, target, _megabytes(self._meter, "written"), embedded=self._embedded
        )
        seconds = time.monotonic() - begun
        measured = {"file": arguments.file, "bytes": size, "seconds": round(seconds, 1)}
        return Answer(
            {**_contents_json(found), **measured},
            [
                f"{_contents_text(found)} are in {target or 'standard output'}: {size / 1e6:,.1f}"
                f" MB, tables of version {found.schema_version}, in {seconds:.1f} s."
            ],
        )

    def restore(self, arguments: argparse.Namespace) -> Answer:
        found = backups.restore(
            self._url,
            Path(arguments.file),
            _megabytes(self._meter, "restored"),
            embedded=self._embedded,
        )
        return Answer(
            {**_contents_json(found), "file": arguments.file},
            [f"{_contents_text(found)} are restored, and all counts agree."],
        )

    @property
    def _embedded(self) -> bool:
        return self._settings.database.url == "embedded"

    def _delete(self, batch_id: int) -> int:
        """Delete a batch and remove its rows; how many emails it had."""
        with session():
            snapshot = _there(changes.delete(batch_id, self._by), batch_id)
        self._announce(snapshot)
        place: removal.Place | None = (0, -1)
        while place is not None:
            self._meter(f"batch {batch_id}: removing its rows, {max(0, place[1]):,} so far")
            # A session of its own for each piece. If this is interrupted, a worker goes on with it.
            with session(PIECE_SECONDS):
                place = removal.remove_some(batch_id, place)
        return snapshot.total

    def _announce(self, snapshot: Snapshot) -> None:
        prefix = self._settings.redis.channel_prefix
        hub.announce(self._doorbell, self._queue, prefix, snapshot)


def _megabytes(meter: Meter, done: str) -> Callable[[int], None]:
    def tell(size: int) -> None:
        if size >= 1_000_000:  # "0 MB" tells nothing
            meter(f"{size / 1e6:,.0f} MB {done}")

    return tell


def _refuse(target: Path | None, *, force: bool) -> None:
    """Raise ManageError if this is no place for a backup; None is standard output."""
    if target is None:
        if sys.stdout.isatty():
            raise ManageError("A backup is nothing to read. Send it to a file, or to a command.")
    elif target.exists() and not target.is_file():
        raise ManageError(f"{target} is no file that could be replaced; name another.")
    elif target.exists() and not force:
        raise ManageError(f"{target} is there already; name another file, or say --force.")


def _there(found: T | None, batch_id: int) -> T:
    if found is None:
        raise ManageError(f"There is no batch {batch_id}.")
    return found


def _user() -> str:
    """Who is logged in here."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return f"uid {os.getuid()}"


def _shown() -> list[dict[str, Any]]:
    """The newest batches and, behind them, the oldest that are unfinished."""
    with session():
        newest, _following = queries.find_batches(limit=SHOWN)
        known = {batch.id for batch in newest}
        others = [number for number in unfinished_batches(limit=SHOWN) if number not in known]
        unfinished = [batch for number in others if (batch := queries.find_batch(number))]
    return [batch_json(batch) for batch in (*newest, *unfinished)]


def _worker_line(worker: dict[str, Any]) -> str:
    busy = [
        f"batch {thread['batchId']} from email {thread['firstId']:,} since {thread['seconds']} s"
        for thread in worker["activity"]
        if thread["batchId"] is not None
    ]
    return (
        f"worker {worker['host']}:{worker['pid']}  {several(worker['threads'], 'thread')}"
        f"  {phrases.rate(worker['rate'])}  {', '.join(busy) or 'nothing to do'}"
    )


def _listed(batch_ids: list[int]) -> str:
    named = ", ".join(map(str, batch_ids[:NAMED]))
    more = len(batch_ids) - NAMED
    return (f": {named}" if named else "") + (f" and {more:,} more" if more > 0 else "")


def _batch_line(batch: dict[str, Any]) -> str:
    percent = phrases.percent(batch["processedCount"], batch["totalEmails"])
    return (
        f"batch {batch['id']}  {batch['status']}  {batch['processedCount']:,} of"
        f" {batch['totalEmails']:,} ({percent}%), {batch['failedCount']:,} failed"
        f"  {batch['filename']}"
    )


def _contents_json(contents: backups.Contents) -> dict[str, int]:
    return {
        "batches": contents.batches,
        "emails": contents.emails,
        "schemaVersion": contents.schema_version,
    }


def _contents_text(contents: backups.Contents) -> str:
    batches = several(contents.batches, "batch", "batches")
    return f"{batches} with {several(contents.emails, 'email')}"


def _check(settings: Settings) -> Answer:
    """What checks.py finds, the problems marked."""
    findings = list(checks.findings(settings))
    marks = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}
    lines = [
        f"{marks[found.level]} {found.part}: {found.text}"
        + (f" {found.advice}" if found.advice else "")
        for found in findings
    ]
    document = {"findings": [vars(found) for found in findings]}
    return Answer(document, lines, ok=all(found.level != "problem" for found in findings))


@contextmanager
def _office(settings: Settings, meter: Meter, verb: str) -> Iterator[Office]:
    """The servers, whose tables must be of this version, but for a restore; of a PostgreSQL that
    can't be reached, `status` tells."""
    with connect.urls(settings) as (database_url, redis_url):
        database.init(database_url, connections=2, name="manage", reads=True)
        doorbell = Doorbell(redis_url, settings.redis.queue_key)
        try:
            if verb != "restore":
                with contextlib.suppress(*(UNREACHABLE if verb == "status" else ())):
                    _require_newest()
            yield Office(settings, doorbell, database_url, meter)
        finally:
            doorbell.close()
            database.disconnect()


def _require_newest() -> None:
    with session():
        present = schema.version()
    if present != NEWEST:
        said = f"are of version {present}" if present else "are not there, or of an early version"
        raise ManageError(
            f"The database's tables {said}, and this code needs version {NEWEST}. Start app.py or"
            " worker.py of the newest version, which bring them up to date."
        )


def do(arguments: argparse.Namespace, settings: Settings, meter: Meter) -> Answer:
    """Do what the verb of `arguments` says. Raises ManageError."""
    if arguments.verb == "check":
        return _check(settings)
    try:
        with _office(settings, meter, arguments.verb) as office:
            answer: Answer = getattr(office, arguments.verb)(arguments)
            return answer
    except (StateError, SchemaError, BackupError, EmbeddedError) as error:
        raise ManageError(f"{str(error).rstrip('.')}.") from error
    except OSError as error:
        raise ManageError(f"{error.filename or arguments.verb}: {error.strerror}.") from error
    except UNREACHABLE as error:
        if database.is_limit(error) or database.is_read_only(error):
            raise ManageError(f"PostgreSQL doesn't do that: {logs.said(error)}.") from error
        raise ManageError(
            f"PostgreSQL can't be reached: {logs.said(error)}. See [database] url, or DATABASE_URL;"
            f" {CHECK}"
        ) from error
