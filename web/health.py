"""The state of PostgreSQL, Redis and the workers: for /api/health, /metrics and the pages."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottle import request, response
from prometheus_client import Metric

from batches import queries
from batches.queries import Backlog
from postgres import schema
from postgres.database import UNREACHABLE, is_read_only, session
from relay import presence
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.presence import Worker, Workers
from runtime import metrics, systemd
from runtime.entries import CHECK
from runtime.logs import Outage
from runtime.paths import ROOT
from runtime.phrases import duration, several, shorten
from runtime.settings import DEFAULT_PATH, VERSION, Settings
from web import abilities
from web.abilities import MAX_WHY
from web.problems import RETRY_AFTER

# Seconds that pages and streams share a report.
RECENT_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """Answers of PostgreSQL and Redis; None where a server is away.

    A PostgreSQL that can only be read counts as away.
    """

    read_only: bool = False
    backlog: Backlog | None = None
    schema_version: int | None = None
    workers: Workers | None = None
    queue_depth: int | None = None
    # The error with which Redis answers every command, if it does.
    refusal: str | None = None

    @property
    def waiting(self) -> Sequence[str]:
        """The names of the processors that have unfinished batches which aren't paused."""
        return self.backlog.processors if self.backlog else ()


class Health:
    """Asks PostgreSQL and Redis for their state. One object serves all request threads.

    `postgres` logs the outages of PostgreSQL, whichever part of the app meets one.
    """

    def __init__(self, doorbell: Doorbell, settings: Settings, postgres: Outage) -> None:
        self._doorbell = doorbell
        self._settings = settings
        self._queue = BatchQueue(doorbell.client, doorbell.key, *settings.names_in_queue)
        self._max_streams = settings.server.max_streams
        self._postgres = postgres
        self._worker_command = worker_command(settings.path)
        self._lock = threading.Lock()
        self._latest: tuple[Status, dict[str, Any]] | None = None
        self._asked_at = 0.0

    def recent(self) -> dict[str, Any]:
        """Return a report that is at most RECENT_SECONDS old, and shared by all callers."""
        return self._since(time.monotonic() - RECENT_SECONDS)[1]

    def report(self) -> dict[str, Any]:
        """Return the body of /api/health as it is now. A value is null where its server is away."""
        return self._since(time.monotonic())[1]

    def _since(self, earliest: float) -> tuple[Status, dict[str, Any]]:
        """Return what the servers answered when they were asked at this monotonic time, or later.

        One request asks at a time. Those that wait meanwhile share what the next one is answered,
        so that any number of them cost little more than one. While PostgreSQL is away, a report
        also answers requests that arrived while it was made, because that takes seconds.
        """
        with self._lock:
            if self._latest is None or self._asked_at < earliest:
                asked_at = time.monotonic()
                status = self._ask()
                self._latest = status, self._told(status)
                self._asked_at = time.monotonic() if status.backlog is None else asked_at
            return self._latest

    def _told(self, status: Status) -> dict[str, Any]:
        """Return the report that tells of this status."""
        processors = abilities.processors_json(
            self._settings, status.workers, status.waiting, self._worker_command
        )
        default = self._settings.unnamed_processor.name
        return _report(status, self._worker_command, processors, default)

    def _ask(self) -> Status:
        """Ask PostgreSQL and Redis now."""
        read_only, backlog, version = self._ask_postgres()
        doorbell = self._doorbell
        workers = doorbell.use(lambda: presence.workers(doorbell.client, doorbell.key))
        # A list may still have the id of a cancelled batch, if no worker reads it.
        names = backlog.processors if backlog else [each.name for each in self._settings.processors]
        depth = doorbell.use(lambda: self._queue.depth(*names))
        return Status(read_only, backlog, version, workers, depth, doorbell.refusal)

    # The handlers.

    def health(self) -> dict[str, Any]:
        """GET /api/health: see _since(); 503 when PostgreSQL is out of reach."""
        _, report = self._since(request.environ["app.received_at"])
        if report["database"] != "ok":
            response.status = 503
            response.set_header("Retry-After", RETRY_AFTER)
        return report

    def metrics(self) -> bytes:
        """GET /metrics: what app and workers count, for Prometheus."""
        status, _ = self._since(request.environ["app.received_at"])
        processes = {"app": metrics.samples()}
        for worker in status.workers.alive if status.workers else ():
            processes[f"{worker.host}:{worker.pid}"] = worker.samples
        response.content_type = metrics.MEDIA_TYPE
        slots = metrics.gauge(
            "stream_slots", "Streams and downloads that may be open at once.", self._max_streams
        )
        return metrics.exposition(processes, [*gauges(status), slots])

    def _ask_postgres(self) -> tuple[bool, Backlog | None, int | None]:
        try:
            with session():
                version = schema.version_if_writable()
                backlog = queries.backlog(self._settings.unnamed_processor.name)
        except UNREACHABLE as error:
            self._postgres.begin(error)
            return is_read_only(error), None, None
        self._postgres.end()
        return False, backlog, version


def worker_command(config: Path) -> str:
    """Return the command that starts a worker of this installation, with this configuration."""
    if systemd.is_service():
        return "systemctl start email-batch-worker@1"
    own = Path(sys.executable)
    python = own.relative_to(ROOT) if own.is_relative_to(ROOT) else "python"
    named = "" if config == DEFAULT_PATH else f" --config {shlex.quote(str(config))}"
    return f"{python} worker.py{named} --threads 4"


def _report(
    status: Status,
    worker_command: str = "",
    processors: Sequence[dict[str, Any]] = (),
    default: str = "",
) -> dict[str, Any]:
    stuck = abilities.stuck(processors, status.waiting)
    backlog, workers = status.backlog, status.workers
    database = "unreachable" if backlog is None else "ok"
    report = {
        "status": "degraded" if backlog is None or workers is None else "ok",
        "database": "read-only" if status.read_only else database,
        "redis": "unreachable" if workers is None else "ok",
        **_workers_json(workers, default),
        "processors": [*processors],
        "queueDepth": status.queue_depth,
        "oldestWaiting": _oldest_json(backlog),
        "unfinishedBatches": None if backlog is None else backlog.unfinished,
        "version": VERSION,
        "schemaVersion": status.schema_version,
        "notice": _notice(status, worker_command, stuck),
    }
    return report | {"texts": _texts(report)}


def gauges(status: Status) -> list[Metric]:
    """Return the state as gauges for /metrics; an unknown one has no sample."""
    backlog, workers = status.backlog, status.workers
    unfinished = None if backlog is None else backlog.unfinished
    waiting = None if backlog is None else backlog.seconds or 0.0
    alive = None if workers is None else len(workers.alive)
    gauge = metrics.gauge
    return [
        gauge("postgres_up", "Whether PostgreSQL takes writes.", float(backlog is not None)),
        gauge("redis_up", "Whether Redis can be reached.", float(workers is not None)),
        gauge("workers", "Workers alive.", alive),
        gauge("queue_depth", "Batch ids on the Redis lists.", status.queue_depth),
        gauge("unfinished_batches", "Batches that have not ended, and are not paused.", unfinished),
        gauge("oldest_waiting_seconds", "How long the oldest pending batch waits.", waiting),
        gauge("schema_version", "Version of the database's tables.", status.schema_version),
    ]


def _workers_json(workers: Workers | None, default: str) -> dict[str, Any]:
    if workers is None:
        return dict.fromkeys(("workersAlive", "workerThreads", "workers", "lastWorkerSeen"))
    last = workers.last_seen
    return {
        "workersAlive": len(workers.alive),
        "workerThreads": sum(worker.threads for worker in workers.alive),
        "workers": [_worker_json(worker, default) for worker in workers.alive],
        "lastWorkerSeen": last
        and {"host": last.host, "pid": last.pid, "secondsAgo": round(last.seen_ago, 1)},
    }


def _worker_json(worker: Worker, default: str) -> dict[str, Any]:
    return {
        "host": worker.host,
        "pid": worker.pid,
        "threads": worker.threads,
        "processors": abilities.names(worker, default),
        "rate": round(worker.rate, 1),
        "lookupsOff": worker.lookups_off or None,
        "hindrance": worker.hindrance or None,
        "perMinute": worker.per_minute,
        "startedSecondsAgo": round(worker.started_ago, 1),
        "seenSecondsAgo": round(worker.seen_ago, 1),
        "activity": [
            {
                "thread": thread.number,
                "batchId": thread.batch_id,
                "firstId": thread.first_id,
                "seconds": round(thread.seconds, 1),
            }
            for thread in worker.activity
        ],
    }


def _oldest_json(backlog: Backlog | None) -> dict[str, Any] | None:
    if backlog is None or backlog.seconds is None:
        return None
    return {
        "batchId": backlog.batch_id,
        "filename": backlog.filename,
        "seconds": round(backlog.seconds, 1),
    }


def _notice(
    status: Status, worker_command: str, stuck: dict[str, Any] | None
) -> dict[str, str | None] | None:
    """Say why batches wait or updates arrive late, and which command helps; None if all is well.

    `word` says it in a word or two, for the top of each page.
    """
    level, word, command = "error", "Not working", None
    late = "Uploads are processed, but updates arrive late."
    if status.read_only:
        text = "The database can only be read. Nothing is processed until it takes writes again."
    elif status.backlog is None:
        text = "The database can't be reached. Nothing is processed until it is back."
    elif status.refusal is not None:
        refusal = status.refusal.rstrip(".")
        level, word = "warning", "Updates are late"
        text = f"Redis refuses what it is asked to do: {refusal}. {late}"
    elif status.workers is None:
        level, word, text = "warning", "Updates are late", f"Redis can't be reached. {late}"
    elif not status.workers.alive:
        text, command = "No worker is running, so batches wait.", worker_command
    elif stuck is not None:
        level, word, command = "warning", "Batches wait", stuck["command"]
        # The page puts a command in words of its own.
        lacking = f"{word}, because no worker has {stuck['name']}."
        text = lacking if command else f"{word}. {stuck['problem']}"
    elif hindered := [each.hindrance for each in status.workers.alive if each.hindrance]:
        level, word, text = "warning", "Addresses wait", shorten(hindered[0], MAX_WHY)
    else:
        return None
    return {"level": level, "word": word, "text": text, "command": command}


def _texts(report: dict[str, Any]) -> dict[str, str]:
    """Return the texts of the state of the servers on the pages, by data-field."""
    notice = report["notice"] or {"word": "", "text": "", "command": None}
    workers, depth = report["workers"], report["queueDepth"]
    lookups_off = _lookups_off_text(workers or [])
    lookups = "DNS lookups off" if lookups_off else ""
    return {
        "level": notice["word"] or lookups or "All systems normal",
        "workers": _workers_text(report),
        "processors": abilities.text(report["processors"]),
        "rate": _rate_text(workers),
        "queue": _queue_text(depth),
        "oldest": _oldest_text(report),
        "database": f"PostgreSQL {report['database']}",
        "redis": f"Redis {report['redis']}",
        "lookups": lookups,
        "lookupsOff": lookups_off,
        "text": notice["text"],
        "lastSeen": _last_seen_text(report),
        "command": notice["command"] or "",
    }


def _queue_text(depth: int | None) -> str:
    if depth is None:
        return "queue unknown"
    return f"{depth:,} in the queue" if depth else "queue empty"


def _rate_text(workers: list[dict[str, Any]] | None) -> str:
    if workers is None:
        return "rate unknown"
    present = f"{several(int(sum(worker['rate'] for worker in workers)), 'email')}/s"
    # A worker with several processors has a rate for each, and none for all.
    limits = [worker["perMinute"] for worker in workers if worker["perMinute"] is not None]
    return f"{present}, at most {min(limits):,} a minute" if limits else present


def _workers_text(report: dict[str, Any]) -> str:
    workers, threads = report["workersAlive"], report["workerThreads"]
    if workers is None:
        return "workers unknown"
    return f"{several(workers, 'worker')}, {several(threads, 'thread')}" if workers else "no worker"


def _oldest_text(report: dict[str, Any]) -> str:
    oldest, unfinished = report["oldestWaiting"], report["unfinishedBatches"]
    if oldest is not None:
        return f"oldest waiting: batch {oldest['batchId']} for {duration(oldest['seconds'])}"
    if unfinished is None:
        return "waiting unknown"
    batches = several(unfinished, "unfinished batch", "unfinished batches")
    return batches if unfinished else "nothing waiting"


def _lookups_off_text(workers: list[dict[str, Any]]) -> str:
    """Say that workers look no domain up, why, and where that is set; empty if all do."""
    reasons = [worker["lookupsOff"] for worker in workers if worker["lookupsOff"]]
    if not reasons:
        return ""
    checking = [each for each in workers if each["lookupsOff"] or CHECK in each["processors"]]
    some = "Workers" if len(reasons) == len(checking) else "Some workers"
    return (
        f"{some} don't look domains up in the DNS, so an address at a domain that doesn't exist"
        f" comes out ok. Why: {shorten(reasons[0], MAX_WHY)}. To change that, see [check] in"
        " config.ini, and restart the workers."
    )


def _last_seen_text(report: dict[str, Any]) -> str:
    last = report["lastWorkerSeen"]
    if report["workersAlive"] != 0 or last is None:
        return ""
    return f"One was last seen {duration(last['secondsAgo'])} ago on {last['host']}:{last['pid']}."


_NO_ANSWER = {
    "level": "error",
    "word": "Not working",
    "text": "The server can't be reached. Is app.py running? This page tries again by itself.",
    "command": None,
}
_UNKNOWN = {"database": "unknown", "redis": "unknown", "notice": _NO_ANSWER}
# The part of a report, as JSON, that a page's scripts show while this server doesn't answer.
SILENT = json.dumps({"notice": _NO_ANSWER, "texts": _texts(_report(Status()) | _UNKNOWN)})
