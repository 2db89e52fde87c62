"""Turns: the loop of a worker thread.

A turn is one transaction: claim a chunk, process emails until the chunk is done, turn_seconds have
passed or MOST_TO_WRITE is reached, write the outcomes, count them, commit. If the process dies at
any instant, the transaction is rolled back and the chunk is free again. The beginning of each turn
is committed before it, so that a chunk whose turns keep dying is known; its emails are processed in
isolation.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import processors
from batches import allowances, changes, claims, commits, snapshots
from batches.allowances import Wait
from batches.claims import Claim
from models import Snapshot
from postgres import database
from postgres.beside import NoFurtherError
from postgres.database import UNREACHABLE, Session, pool, session
from processors import CRASHED, TIMED_OUT, Findings, ReasonError, is_once, takes_items
from processors.reasons import CATALOGUE, verdict
from relay import publish
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.presence import ThreadReport
from relay.publish import Publisher
from runtime import logs, metrics
from runtime.bounded import BoundedDict
from runtime.settings import Settings
from work import isolation, once
from work.later_rings import LaterRings
from work.loaded import Loaded
from work.rotation import Rotation

# The longest wait of a thread for an id on one of the lists.
DEQUEUE_SECONDS = 1.0
# The longest pause of a thread after errors, in seconds.
MAX_BACKOFF = 2.0
# The longest pause of a thread that got no connection for the journal, because threads hold all of
# them. It is so long that the journal and the app get connections while some threads stay away.
MAX_CROWDED = 30.0
# A turn ends with so many emails that have a reason or answers or are put off: storing as many
# answers takes about half a second, in which other batches wait. A processor's `of_lines` isn't
# limited, because its outcomes rarely have answers.
MOST_TO_WRITE = 20_000
# Turns lost on a chunk after which its emails are processed in isolation.
MAX_LOST = 2
# A batch with an email that failed for one of these reasons is processed in isolation.
KILLING = (str(CRASHED.reason), str(TIMED_OUT.reason))
# The most pairs of a batch and a kind of error that are known to have been logged.
MAX_LOGGED = 1000

logger = logs.Logger("worker")


class Services:
    """All that the threads of a worker share."""

    def __init__(self, settings: Settings, doorbell: Doorbell, loaded: Sequence[Loaded]) -> None:
        self.settings = settings
        self.doorbell = doorbell
        self.queue = BatchQueue(doorbell.client, doorbell.key, *settings.names_in_queue)
        # The processors that this worker can do, by name.
        self.processors = {each.entry.name: each for each in loaded}
        self.rotation = Rotation(self.processors)
        # Set to make the threads end their turns and begin no others.
        self.quiet = threading.Event()
        self.publisher = Publisher(
            lambda snapshot: self.doorbell.use(
                lambda: publish.publish(doorbell, settings.redis.channel_prefix, snapshot)
            )
        )
        self.postgres = logs.Outage("postgres", logger, settle=1.0)
        self.no_batch = logs.RateLimited(logger)
        self.no_time = logs.RateLimited(logger)
        self.no_lines = logs.RateLimited(logger)
        # By processor: the last batch served without Redis; the batches get their turns in the
        # order of their ids.
        self.served = dict.fromkeys(self.processors, 0)
        self.later_rings = LaterRings()
        # Pairs of a batch and a kind of processor error that have been logged. A thread that looks
        # for a pair and adds it holds the lock.
        self._logged = BoundedDict[tuple[int, str], None](MAX_LOGGED)
        self._logging = threading.Lock()

    def ring(self, processor: str, *batch_ids: int) -> None:
        """Ring for the processor's batches; without Redis, threads find them in PostgreSQL."""
        self.doorbell.use(lambda: self.queue.enqueue(processor, *batch_ids))

    def log_error(self, batch_id: int, error: Exception) -> None:
        """Log an error of the processor, each kind of error once a batch."""
        name = type(error).__name__
        with self._logging:
            if (batch_id, name) in self._logged:
                return
            self._logged[batch_id, name] = None
        if isinstance(error, ReasonError):
            logger.error(
                "the processor says what isn't allowed; such emails fail with the reason error",
                batch=batch_id,
                error=error,
            )
        else:
            logger.error("processor failed", batch=batch_id, error=name, exc_info=error)


class Turns(threading.Thread):
    """A thread that takes turns.

    The thread writes all attributes but `abandoned`, which the supervisor sets when it starts
    another thread in its place.
    """

    def __init__(self, services: Services, number: int) -> None:
        # A daemon thread, because a hanging one must not keep the process alive.
        super().__init__(name=f"worker-{number}", daemon=True)
        self._services = services
        self._settings = services.settings.worker
        self.number = number
        # The turn under way, and its beginning (monotonic).
        self.turn: Claim | None = None
        self.since = time.monotonic()
        # The emails of all committed turns.
        self.emails = 0
        # The batch and the chunk of the last turn. The thread looks for its next chunk from there
        # on, or in another batch from its share on; otherwise each of hundreds of threads on one
        # batch would step over all chunks that the others hold or have done.
        self._last = 0, 0
        self._share = (number - 1) / self._settings.threads
        self.abandoned = False

    def outlasted(self, seconds: float) -> bool:
        """Return whether a turn is under way and has lasted longer than this."""
        # Read in this order, because the thread sets `since` before `turn`.
        return self.turn is not None and time.monotonic() - self.since > seconds

    def report(self) -> ThreadReport:
        """Return what the thread is doing."""
        turn = self.turn  # read once, because the thread may end the turn at any moment
        if turn is None:
            return ThreadReport(self.number)
        seconds = round(time.monotonic() - self.since, 3)
        return ThreadReport(self.number, turn.batch_id, turn.first_id, seconds)

    def run(self) -> None:
        """Take turns until the worker is quiet; back off after errors."""
        failures = 0
        while not (self._services.quiet.is_set() or self.abandoned):
            try:
                self.run_once()
                failures = 0
                continue
            except UNREACHABLE as error:
                if self.abandoned:
                    return  # the watchdog cut its connection
                if database.is_limit(error):
                    self._services.no_time.warning(
                        "turn ended by a limit of PostgreSQL's", error=error
                    )
                else:
                    self._services.postgres.begin(error)
                if isinstance(error, NoFurtherError):
                    self._services.quiet.wait(random.uniform(0.0, MAX_CROWDED))
            except Exception:
                logger.exception("turn failed; its emails stay pending")
            failures = min(failures + 1, 10)
            # Jitter keeps the threads of all workers from coming back at the same moment.
            self._services.quiet.wait(
                min(0.1 * 2**failures, MAX_BACKOFF) * random.uniform(0.5, 1.0)
            )

    def run_once(self) -> bool:
        """Wait for a batch, a second at most, and take a turn on it; return False without one."""
        found = self._next_batch()
        if found is None:
            return False
        processor, batch_id = found
        self._services.rotation.served(processor)
        if self._services.later_rings.join(processor, batch_id):
            return False
        with session(self._settings.turn_timeout_seconds) as current:
            taken = self.take_turn(processor, batch_id, current)
            exists = taken or bool(snapshots.present([batch_id]))
        self._services.postgres.end()
        if not exists:
            self._services.no_batch.warning("no such batch", batch=batch_id)
        unfit = batch_id in self._services.processors[processor].unfit
        waits = unfit or batch_id in self._services.later_rings
        if not (taken or waits) and self._services.doorbell.away:
            self._services.quiet.wait(DEQUEUE_SECONDS)  # others hold all chunks
        return taken

    def take_turn(self, processor: str, batch_id: int, current: Session) -> bool:
        """Claim, process, commit, publish; return False if there was nothing to claim.

        There is nothing in a batch that isn't for this processor, or doesn't fit it.
        """
        mine = self._services.processors[processor]
        last_batch, last_chunk = self._last
        again = batch_id == last_batch
        if not again and not mine.fits(batch_id):
            return False
        with database.own_transactions():
            claim = claims.claim_chunk(
                batch_id,
                mine.entry,
                KILLING,
                self._settings.turn_timeout_seconds,
                start=last_chunk if again else 0,
                share=0 if again else self._share,
                numbered=is_once(mine.processor),
                items=takes_items(mine.processor),
            )
            if isinstance(claim, Wait):
                self._services.later_rings.put(mine.entry.name, batch_id, claim)
            if not isinstance(claim, Claim):
                return False
            self._last = batch_id, claim.first_id
            self.since, self.turn = time.monotonic(), claim
            try:
                self._take(claim, mine, current)
            except BaseException:
                self._services.ring(mine.entry.name, batch_id)
                raise
            finally:
                self.turn, self.since = None, time.monotonic()
        return True

    def _take(self, claim: Claim, mine: Loaded, current: Session) -> None:
        if claim.more:
            self._services.ring(mine.entry.name, claim.batch_id)  # so that other threads join in
        if claim.started is not None:
            self._services.publisher.publish(claim.started, soon=not claim.more)
        findings = Findings() if claim.paused else self._process(claim, mine, current)
        if findings is None:
            return
        if findings.later:
            findings = findings.settled(claim.rounds + 1, self._was_last_round(claim))
        snapshot = self._commit(claim, findings)
        if snapshot is None:
            return
        self.emails += findings.count - findings.waiting
        count_turn(findings, time.monotonic() - self.since)
        self._services.publisher.publish(snapshot)
        if snapshot.terminal:
            totals = {"emails": snapshot.total, "failed": snapshot.failed}
            logger.info("batch completed", batch=claim.batch_id, **totals)
        if claim.limit is not None and findings.count < claim.limit:
            # Only after the commit: the processor's row, which all turns wait for, would stay
            # locked for as long as a worker is stopped before it.
            unused = claim.limit - findings.count
            allowances.return_unused(claim.batch_id, mine.entry.rate, unused)
        if findings.count < claim.pending:
            self._services.ring(mine.entry.name, claim.batch_id)

    def _commit(self, claim: Claim, findings: Findings) -> Snapshot | None:
        """Commit the outcomes and, in the same transaction, the pause that the processor wants."""
        stop = findings.stop
        ended = findings.count - findings.waiting
        paused = stop is not None and changes.stop(claim.batch_id, stop.reason, stop.seconds, ended)
        # A turn without outcomes isn't lost: no email is to blame for it.
        snapshot = (
            commits.commit_outcomes(claim, findings) if findings.count else commits.give_back(claim)
        )
        if stop is not None and paused:
            logger.warning(
                "stopped by the processor; the batch is paused",
                batch=claim.batch_id,
                why=stop,
                seconds=stop.seconds,
            )
        return snapshot

    def _was_last_round(self, claim: Claim) -> bool:
        """Return whether the claim's emails may not be put off again."""
        seconds = 3600 * self._settings.later_hours
        return claim.rounds + 1 >= self._settings.later_rounds or (claim.put_off or 0) >= seconds

    def _process(self, claim: Claim, mine: Loaded, current: Session) -> Findings | None:
        """Process emails of the claim; return None if the turn must end without outcomes."""
        processor = mine.processor
        deadline = time.monotonic() + self._settings.turn_seconds

        def on_error(error: Exception) -> None:
            self._services.log_error(claim.batch_id, error)

        repeatable = not is_once(processor)
        isolated = repeatable and (claim.lost >= MAX_LOST or claim.suspect)
        if claim.lost:
            metrics.REPEATED_TURNS.inc()
            logger.warning(
                "chunk claimed again after lost turns",
                batch=claim.batch_id,
                chunk=claim.first_id,
                lost=claim.lost,
                isolated=isolated,
            )
        if not repeatable:
            return once.process(processor, claim, deadline=deadline, on_error=on_error)
        if isolated:
            return self._process_isolated(claim, mine, current, on_error)
        if getattr(processor, "of_lines", None) and claim.text is not None:
            try:
                return processors.process_lines(processor, claim.text, deadline, on_error)
            except Exception as error:
                # If one address is to blame, only its own outcome is an error then.
                self._services.no_lines.warning(
                    "the processor's of_lines failed; the processor is called instead",
                    batch=claim.batch_id,
                    error=repr(error),
                )
        given = claim.given(processor)
        return processors.process(processor, given, deadline, on_error, MOST_TO_WRITE)

    def _process_isolated(
        self,
        claim: Claim,
        mine: Loaded,
        current: Session,
        on_error: Callable[[Exception], None],
    ) -> Findings:
        timeout = self._settings.turn_timeout_seconds
        options = getattr(mine.processor, "isolated_options", None)

        def alive() -> None:
            # The child has a limit for each email. Until that expires, neither PostgreSQL, nor the
            # watchdog, nor the supervisor must take this turn for a hanging one.
            pool.execute_sql("SELECT 1")
            current.extend(timeout)
            self.since = time.monotonic()

        return isolation.process(
            mine.entry.reference,
            claim.given(mine.processor),
            options=options or mine.entry.options,
            turn_seconds=self._settings.turn_seconds,
            limit=timeout,
            alive=alive,
            on_error=on_error,
        )

    def _next_batch(self) -> tuple[str, int] | None:
        """Return the next id from the lists, or from PostgreSQL while Redis is away.

        The name is that of the processor for which the batch is to get a turn.
        """
        services = self._services
        names = services.rotation.names
        found = services.doorbell.use(lambda: services.queue.dequeue(DEQUEUE_SECONDS, names))
        if found is not None or not services.doorbell.away:
            return found
        ready = [name for name in names if not services.later_rings.everyone_waits(name)]
        if ready:
            with session():
                found = next(filter(None, map(self._unfinished, ready)), None)
        return found or services.later_rings.take_one(DEQUEUE_SECONDS)

    def _unfinished(self, name: str) -> tuple[str, int] | None:
        """Return the processor's next unfinished batch that isn't known not to fit it."""
        mine, served = self._services.processors[name], self._services.served
        unfit = [*mine.unfit]
        waiting = snapshots.unfinished_batches(
            mine.entry, after=served[name], without=unfit, limit=1
        ) or snapshots.unfinished_batches(mine.entry, without=unfit, limit=1)
        if not waiting:
            return None
        served[name] = waiting[0]
        return name, waiting[0]


def count_turn(findings: Findings, seconds: float) -> None:
    """Count a turn, its seconds and its emails for /metrics, also those that were put off."""
    metrics.TURNS.observe(seconds)
    metrics.EMAILS.labels("ok", "").inc(findings.count - len(findings.others))
    for each, number in findings.later:
        metrics.PUT_OFF.labels(each.reason).inc(number)
    found: Counter[tuple[str, str | None]] = Counter()
    for outcome, number in findings.outcomes:
        found[outcome.status, outcome.reason] += number
    for (status, reason), number in found.items():
        known = reason if reason is None or reason in CATALOGUE else "own"
        metrics.EMAILS.labels(verdict(status, reason), known or "").inc(number)
