"""The state of PostgreSQL, Redis and the workers: for /api/health, /metrics and the pages."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from bottle import response
from prometheus_client import Metric

from batches import queries
from batches.queries import Backlog
from postgres import schema
from postgres.database import UNREACHABLE, is_read_only, require_writable, session
from relay import presence
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.presence import Worker, Workers
from runtime import metrics
from runtime.logs import Outage
from runtime.phrases import duration, several
from runtime.settings import VERSION, Settings
from web.problems import RETRY_AFTER

START_WORKER = "python worker.py --threads 4"
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


class Health:
    """Asks PostgreSQL and Redis for their state. One object serves all request threads.

    `postgres` logs the outages of PostgreSQL, whichever part of the app meets one.
    """

    def __init__(self, doorbell: Doorbell, settings: Settings, postgres: Outage) -> None:
        self._doorbell = doorbell
        self._queue_key = settings.redis.queue_key
        self._queue = BatchQueue(doorbell.client, self._queue_key)
        self._max_streams = settings.server.max_streams
        self._postgres = postgres
        self._lock = threading.Lock()
        self._recent: dict[str, Any] | None = None
        self._recent_until = 0.0

    def recent(self) -> dict[str, Any]:
        """Return a report that is at most RECENT_SECONDS old, and shared by all callers."""
        with self._lock:
            if self._recent is None or time.monotonic() >= self._recent_until:
                self._recent = self.report()
                self._recent_until = time.monotonic() + RECENT_SECONDS
            return self._recent

    def report(self) -> dict[str, Any]:
        """Return the body of /api/health. A value is null where its server is away."""
        return _report(self.status())

    def status(self) -> Status:
        """Ask PostgreSQL and Redis now."""
        read_only, backlog, version = self._ask_postgres()
        workers = self._doorbell.use(
            lambda: presence.workers(self._doorbell.client, self._queue_key)
        )
        depth = self._doorbell.use(self._queue.depth)
        return Status(read_only, backlog, version, workers, depth, self._doorbell.refusal)

    # The handlers.

    def health(self) -> dict[str, Any]:
        """GET /api/health: 503 when the database is out of reach."""
        report = self.report()
        if report["database"] != "ok":
            response.status = 503
            response.set_header("Retry-After", RETRY_AFTER)
        return report

    def metrics(self) -> bytes:
        """GET /metrics: what app and workers count, for Prometheus."""
        status = self.status()
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
                require_writable()
                answer = False, queries.backlog(), schema.version()
        except UNREACHABLE as error:
            self._postgres.begin(error)
            return is_read_only(error), None, None
        self._postgres.end()
        return answer


def _report(status: Status) -> dict[str, Any]:
    database = "unreachable" if status.backlog is None else "ok"
    report = {
        "status": "degraded" if status.backlog is None or status.workers is None else "ok",
        "database": "read-only" if status.read_only else database,
        "redis": "unreachable" if status.workers is None else "ok",
        **_workers_json(status.workers),
        "queueDepth": status.queue_depth,
        **_backlog_json(status.backlog),
        "version": VERSION,
        "schemaVersion": status.schema_version,
        "notice": _notice(status),
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
        gauge("queue_depth", "Batch ids on the Redis list.", status.queue_depth),
        gauge("unfinished_batches", "Batches that have not ended.", unfinished),
        gauge("oldest_waiting_seconds", "How long the oldest pending batch waits.", waiting),
        gauge("schema_version", "Version of the database's tables.", status.schema_version),
    ]


def _workers_json(workers: Workers | None) -> dict[str, Any]:
    if workers is None:
        return dict.fromkeys(("workersAlive", "workerThreads", "workers", "lastWorkerSeen"))
    last = workers.last_seen
    return {
        "workersAlive": len(workers.alive),
        "workerThreads": sum(worker.threads for worker in workers.alive),
        "workers": [_worker_json(worker) for worker in workers.alive],
        "lastWorkerSeen": last
        and {"host": last.host, "pid": last.pid, "secondsAgo": round(last.seen_ago, 1)},
    }


def _worker_json(worker: Worker) -> dict[str, Any]:
    return {
        "host": worker.host,
        "pid": worker.pid,
        "threads": worker.threads,
        "rate": round(worker.rate, 1),
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


def _backlog_json(backlog: Backlog | None) -> dict[str, Any]:
    if backlog is None:
        return {"oldestWaiting": None, "unfinishedBatches": None}
    oldest = None
    if backlog.seconds is not None:
        oldest = {
            "batchId": backlog.batch_id,
            "filename": backlog.filename,
            "seconds": round(backlog.seconds, 1),
        }
    return {"oldestWaiting": oldest, "unfinishedBatches": backlog.unfinished}


def _notice(status: Status) -> dict[str, str | None] | None:
    """Say why batches wait or updates arrive late, and which command helps; None if all is well."""

    def notice(level: str, text: str, command: str | None = None) -> dict[str, str | None]:
        return {"level": level, "text": text, "command": command}

    late = "Uploads are processed, but updates arrive late."
    if status.read_only:
        text = "The database can only be read. Nothing is processed until it takes writes again."
        return notice("error", text)
    if status.backlog is None:
        text = "The database can't be reached. Nothing is processed until it is back."
        return notice("error", text)
    if status.refusal is not None:
        refusal = status.refusal.rstrip(".")
        return notice("warning", f"Redis refuses what it is asked to do: {refusal}. {late}")
    if status.workers is None:
        return notice("warning", f"Redis can't be reached. {late}")
    if not status.workers.alive:
        return notice("error", "No worker is running, so batches wait.", START_WORKER)
    return None


def _texts(report: dict[str, Any]) -> dict[str, str]:
    """Return the texts of the strip on the pages, by data-field."""
    notice = report["notice"] or {"level": "ok", "text": "", "command": None}
    return {
        "level": {"ok": "OK", "warning": "Degraded", "error": "Problem"}[notice["level"]],
        "workers": _workers_text(report),
        "rate": _rate_text(report["workers"]),
        "queue": _or_unknown(report["queueDepth"], "{:,} in the queue", "queue unknown"),
        "oldest": _oldest_text(report),
        "database": f"PostgreSQL {report['database']}",
        "redis": f"Redis {report['redis']}",
        "text": notice["text"],
        "lastSeen": _last_seen_text(report),
        "command": notice["command"] or "",
    }


def _or_unknown(value: int | None, text: str, unknown: str) -> str:
    return unknown if value is None else text.format(value)


def _workers_text(report: dict[str, Any]) -> str:
    workers, threads = report["workersAlive"], report["workerThreads"]
    if workers is None:
        return "workers unknown"
    return f"{several(workers, 'worker')}, {several(threads, 'thread')}" if workers else "no worker"


def _rate_text(workers: list[dict[str, Any]] | None) -> str:
    rate = None if workers is None else int(sum(worker["rate"] for worker in workers))
    return _or_unknown(rate, "{:,} emails/s", "rate unknown")


def _oldest_text(report: dict[str, Any]) -> str:
    oldest = report["oldestWaiting"]
    if oldest is not None:
        return f"oldest waiting: batch {oldest['batchId']} for {duration(oldest['seconds'])}"
    unfinished = report["unfinishedBatches"]
    if unfinished == 0:
        return "nothing waits"
    return _or_unknown(unfinished, "{:,} unfinished", "waiting unknown")


def _last_seen_text(report: dict[str, Any]) -> str:
    last = report["lastWorkerSeen"]
    if report["workersAlive"] != 0 or last is None:
        return ""
    return f"One was last seen {duration(last['secondsAgo'])} ago on {last['host']}:{last['pid']}."


def _silent() -> str:
    unknown = {"database": "unknown", "redis": "unknown"}
    text = "The server can't be reached. Is app.py running? This page tries again by itself."
    notice = {"level": "error", "text": text, "command": None}
    report = _report(Status()) | unknown | {"notice": notice}
    return json.dumps({"notice": notice, "texts": _texts(report)})


# The part of a report, as JSON, that a page's scripts show while this server doesn't answer.
SILENT = _silent()
