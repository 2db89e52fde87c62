"""The supervisor of a worker's threads.

Each thread dequeues a batch id from a Redis list and takes a turn on that batch (turns.py). The
supervisor replaces threads that die or hang, rings for unfinished batches, deletes expired batches
and removes the rows of deleted ones, announces the worker, and shuts it down gracefully.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from batches import changes, finishing, removal, snapshots
from postgres.database import UNREACHABLE, session
from relay.doorbell import PROBE_SECONDS
from relay.presence import ANNOUNCE_SECONDS, Presence
from runtime import logs, metrics, systemd
from runtime.every import Every
from runtime.phrases import several
from work.loaded import Broken, Loaded
from work.turns import Services, Turns

# Seconds between two runs of run_once().
SUPERVISE_SECONDS = 0.2
# Seconds that a turn may outlast its timeout, in which the thread may return from PostgreSQL.
GRACE_SECONDS = 1.0
# Seconds after which workers remove the rows of a deleted batch. The process that deleted it has
# removed them by then, or was interrupted.
REMOVAL_SECONDS = 60.0
# Seconds between two queries for expired batches.
EXPIRY_SECONDS = 60.0
# The most expired batches deleted in one sweep.
MAX_EXPIRED = 100
# A Redis list is cleared if it has over two ids for each unfinished batch and this many besides.
STALE_IDS = 100

logger = logs.Logger("worker")


class Supervisor:
    """Starts and replaces the worker's threads, sweeps, announces the worker, and shuts it down."""

    def __init__(
        self, services: Services, stopping: threading.Event, broken: Sequence[Broken] = ()
    ) -> None:
        """`broken` are the processors that this worker announces it can't load."""
        self._services = services
        self._announced: list[Loaded | Broken] = [*services.processors.values(), *broken]
        self._settings = services.settings.worker
        self._doorbell = services.doorbell
        self._stopping = stopping
        self._presence = Presence(self._doorbell.client, self._doorbell.key)
        self._threads: dict[int, Turns] = {}
        self._hung: list[Turns] = []
        # Emails processed by threads that were replaced.
        self._emails_before = 0
        # Emails processed by all threads until the last announcement, and its time.
        self._announced_emails = 0
        self._announced_at = time.monotonic()
        self._probe = Every(PROBE_SECONDS)
        self._announcement = Every(ANNOUNCE_SECONDS)
        self._sweep = Every(self._settings.sweep_seconds)
        self._expiry = Every(EXPIRY_SECONDS)

    @property
    def worn_out(self) -> bool:
        """True if so many threads hang that a new process should replace this one."""
        return len(self._hung) >= self._settings.max_hung

    def run(self, not_frozen: Callable[[], object] = lambda: None) -> bool:
        """Run until `stopping` is set or the worker is worn out.

        Returns whether all threads ended their turns in time. Calls `not_frozen` several times a
        second.
        """
        logger.info("worker started", pid=os.getpid(), threads=self._settings.threads)
        systemd.ready(f"{several(self._settings.threads, 'thread')} processing batches")
        while not (self._stopping.is_set() or self.worn_out):
            not_frozen()
            systemd.alive()
            try:
                self.run_once()
            except Exception:
                logger.exception("supervisor failed; it continues")
            self._stopping.wait(SUPERVISE_SECONDS)
        return self._shut_down()

    def run_once(self) -> None:
        """Run each duty that is due: replace threads, probe, publish, ring, announce, sweep."""
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        for number in range(1, self._settings.threads + 1):
            self._start_or_replace(number)
        if self._doorbell.away and self._probe.due():
            self._doorbell.probe()
        self._services.publisher.flush()
        if not self._doorbell.away:
            for processor, batch_id in self._services.later_rings.take():
                self._services.ring(processor, batch_id)
        self._announce_if_due()
        if self._sweep.due():
            self.sweep()

    def _announce_if_due(self) -> None:
        if not self._announcement.due():
            return
        now = time.monotonic()
        emails = self._emails_before + sum(thread.emails for thread in self._threads.values())
        rate = (emails - self._announced_emails) / (now - self._announced_at)
        self._announced_emails, self._announced_at = emails, now
        reports = [thread.report() for thread in self._threads.values()]
        abilities = [each.ability() for each in self._announced]
        self._doorbell.use(lambda: self._presence.announce(reports, rate, abilities))

    def sweep(self) -> None:
        """Resume batches whose time has come, delete expired ones, remove rows of deleted ones.

        Then ring for all unfinished ones that this worker can do.
        """
        metrics.SWEEPS.inc()
        try:
            self._resume_due()
            self._settle_cancelled()
            self._delete_expired()
            self._remove_deleted()
            for each in self._services.processors.values():
                with session():
                    each.forget_ended()
                if not self._doorbell.away:
                    self._ring_for_unfinished(each)
        except UNREACHABLE as error:
            self._services.postgres.begin(error)
            return
        self._services.postgres.end()

    def _ring_for_unfinished(self, mine: Loaded) -> None:
        """Ring for the processor's unfinished batches, except those that don't fit it."""
        entry = mine.entry
        with session():
            unfit = [*mine.unfit]
            unfinished = snapshots.unfinished_batches(entry, without=unfit)
            if self._clear_stale_ids(entry.name, len(unfinished) + len(unfit)):
                # Batches enqueued since the query were cleared from the list too.
                unfinished = snapshots.unfinished_batches(entry, without=unfit)
        self._services.ring(entry.name, *unfinished)

    def _resume_due(self) -> None:
        """Resume the batches whose time has come, and publish that; the sweep rings for them."""
        with session():
            resumed = changes.resume_due()
        for snapshot in resumed:
            logger.info("resumed", batch=snapshot.batch_id)
            self._services.publisher.publish(snapshot)

    def _settle_cancelled(self) -> None:
        """Count what had been handed out when batches were cancelled."""
        with session():
            unsettled = finishing.unsettled()
        for batch_id in unsettled:
            with session():
                snapshot = finishing.settle(batch_id)
            if snapshot is not None:
                self._services.publisher.publish(snapshot)

    def _delete_expired(self) -> None:
        """Delete the batches that ended more than [retention] days ago."""
        days = self._services.settings.retention.days
        if not days or not self._expiry.due():
            return
        with session():
            expired = removal.expired_batches(days, MAX_EXPIRED)
        for batch_id in expired:
            with session(), contextlib.suppress(changes.StateError):  # it was retried meanwhile
                last = changes.delete(batch_id, expired=True)
                if last is not None:
                    logger.info("expired", batch=batch_id, emails=last.total, days=f"{days:g}")
                    self._services.publisher.publish(last)
        if len(expired) == MAX_EXPIRED:
            self._expiry.hasten()

    def _remove_deleted(self) -> None:
        """Remove rows of deleted batches whose removal was interrupted, for SUPERVISE_SECONDS."""
        with session():
            deleted = removal.deleted_batches(REMOVAL_SECONDS)
        deadline = time.monotonic() + SUPERVISE_SECONDS
        for batch_id in deleted:
            removal.remove_all(batch_id, deadline=deadline)

    def _clear_stale_ids(self, processor: str, unfinished: int) -> bool:
        """Clear a list if it has far more ids than there are batches; return whether it had."""
        queue = self._services.queue
        depth = self._doorbell.use(lambda: queue.depth(processor)) or 0
        if depth <= 2 * unfinished + STALE_IDS or unfinished >= snapshots.MAX_UNFINISHED:
            return False
        self._doorbell.use(lambda: queue.clear(processor))
        logger.warning(
            "list cleared, because most of its ids have no batch", ids=depth, batches=unfinished
        )
        return True

    def _start_or_replace(self, number: int) -> None:
        """Start a thread of this number if there is none, or if it died or hangs."""
        thread = self._threads.get(number)
        if thread is not None:
            if not thread.is_alive():
                logger.error("thread died; another takes its place", thread=number)
            elif thread.outlasted(self._settings.turn_timeout_seconds + GRACE_SECONDS):
                turn = thread.turn
                thread.abandoned = True
                self._hung.append(thread)
                logger.error(
                    "thread hangs; another takes its place",
                    thread=number,
                    batch=turn and turn.batch_id,
                    chunk=turn and turn.first_id,
                    hanging=len(self._hung),
                )
            else:
                return
            self._emails_before += thread.emails
        self._threads[number] = Turns(self._services, number)
        self._threads[number].start()

    def _shut_down(self) -> bool:
        if self.worn_out:
            logger.error("too many threads hang; the worker ends its turns and restarts itself")
        else:
            logger.info("stopping: the threads end their turns")
            systemd.stopping()
        self._services.quiet.set()
        deadline = time.monotonic() + self._settings.shutdown_seconds
        for thread in self._threads.values():
            while thread.is_alive() and time.monotonic() < deadline:
                systemd.alive()
                thread.join(min(SUPERVISE_SECONDS, max(0.0, deadline - time.monotonic())))
                self._services.publisher.flush()
                self._announce_if_due()
        self._services.publisher.flush()
        self._doorbell.use(self._presence.withdraw)
        unfinished = sum(thread.is_alive() for thread in self._threads.values())
        if unfinished:
            logger.error("stopped with turns unfinished; they will be repeated", threads=unfinished)
        else:
            logger.info("stopped")
        return not unfinished


@contextlib.contextmanager
def ended_if_frozen(seconds: float) -> Iterator[Callable[[], object]]:
    """Yield a function; the process ends after `seconds` of processor time without a call of it.

    Native code that never returns and never releases the interpreter, such as a regular expression
    that backtracks for ever, stops all threads, the supervisor's too. So a timer of the kernel ends
    the process, after a traceback of each thread has been written.
    """
    faulthandler.register(signal.SIGPROF, chain=True)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, seconds)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
