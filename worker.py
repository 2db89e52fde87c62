"""The worker: `python worker.py --threads 4`.

A supervisor runs several threads. Each pops a batch id off the Redis list by itself and takes a
turn on that batch (work/turns.py). The supervisor puts others in the place of threads that die or
hang, rings for batches that nobody rings for, says that this worker is there, and ends it in good
order.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import models
import processors
from batches import changes, removal
from postgres.database import UNREACHABLE, session
from postgres.schema import SchemaError
from processors import ProcessorError
from relay.doorbell import PROBE_SECONDS
from relay.presence import ANNOUNCE_SECONDS, Presence
from runtime import command, descriptors, logs, metrics, systemd
from runtime.command import exit_with, load_or_exit
from runtime.phrases import several
from runtime.settings import Settings
from servers import connect
from servers.confinement import BundledServerError
from work.turns import Turns, Workplace

# Seconds between two looks of the supervisor at its threads.
SUPERVISE_SECONDS = 0.2
# Seconds that a turn may outlast its time, in which the thread may come back from waiting for
# PostgreSQL by itself.
GRACE_SECONDS = 1.0
# Seconds after which the removal of a deleted batch counts as broken off: an app that still works
# on it has long removed a batch of any size by then, or does no harm.
REMOVAL_SECONDS = 60.0
# Seconds between two looks for batches that are older than they are to be kept, and how many are
# deleted at once.
EXPIRY_SECONDS = 60.0
MAX_EXPIRED = 100
# Ids that may stand in the list beyond two for each unfinished batch before it is cleared.
STALE_IDS = 100

logger = logs.Logger("worker")


class Supervisor:
    """Starts the threads, replaces them, sweeps, announces the worker, and stops it."""

    def __init__(self, workplace: Workplace, stopping: threading.Event) -> None:
        self._workplace = workplace
        self._settings = workplace.settings.worker
        self._doorbell = workplace.doorbell
        self._stopping = stopping
        self._presence = Presence(workplace.doorbell.client, workplace.settings.redis.queue_key)
        self._threads: dict[int, tuple[Turns, threading.Thread]] = {}
        self._hung: list[threading.Thread] = []
        # Emails of threads that were replaced; of all threads, at the last announcement.
        self._emails_before = 0
        self._announced_emails = 0
        self._announced_at = time.monotonic()
        self._next_sweep = 0.0
        self._next_expiry = 0.0
        self._next_announcement = 0.0
        self._next_probe = 0.0

    @property
    def worn_out(self) -> bool:
        """Whether so many threads hang that this process should make way for a fresh one."""
        return len(self._hung) >= self._settings.max_hung

    def run(self, not_frozen: Callable[[], object] = lambda: None) -> bool:
        """Work until `stopping` or worn out; True if all threads had ended their turns in time.

        `not_frozen` is called several times a second.
        """
        logger.info("worker started", pid=os.getpid(), threads=self._settings.threads)
        systemd.ready(f"{several(self._settings.threads, 'thread')} processing batches")
        while not (self._stopping.is_set() or self.worn_out):
            not_frozen()
            systemd.alive()
            try:
                self.run_once()
            except Exception:
                logger.exception("supervisor failed; it goes on")
            self._stopping.wait(SUPERVISE_SECONDS)
        return self._shut_down()

    def run_once(self) -> None:
        """Do what is due: replace dead and hung threads, probe Redis, announce, sweep."""
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        for number in range(1, self._settings.threads + 1):
            self._mind_thread(number)
        now = time.monotonic()
        if self._doorbell.away and now >= self._next_probe:
            self._next_probe = now + PROBE_SECONDS
            self._doorbell.probe()
        self._workplace.publisher.flush()
        self._announce_if_due()
        if now >= self._next_sweep:
            self._next_sweep = now + self._settings.sweep_seconds
            self.sweep()

    def _announce_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_announcement:
            return
        self._next_announcement = now + ANNOUNCE_SECONDS
        emails = self._emails_before + sum(turns.emails for turns, _ in self._threads.values())
        rate = (emails - self._announced_emails) / (now - self._announced_at)
        self._announced_emails, self._announced_at = emails, now
        reports = [turns.report() for turns, _ in self._threads.values()]
        self._doorbell.use(lambda: self._presence.announce(reports, rate))

    def sweep(self) -> None:
        """Ring for every unfinished batch that nobody rings for; go on with broken-off removals."""
        metrics.SWEEPS.inc()
        try:
            self._delete_expired()
            self._remove_deleted()
            if self._doorbell.away:
                return
            with session():
                unfinished = models.unfinished_batches()
                if self._clear_nonsense(len(unfinished)):
                    # Read again: what has been rung for meanwhile is gone from the list too.
                    unfinished = models.unfinished_batches()
        except UNREACHABLE as error:
            self._workplace.postgres.begin(error)
            return
        self._workplace.postgres.end()
        self._workplace.ring(*unfinished)

    def _delete_expired(self) -> None:
        """Delete batches that ended more than [retention] days ago; their rows go like others'."""
        days, now = self._workplace.settings.retention.days, time.monotonic()
        if not days or now < self._next_expiry:
            return
        with session():
            expired = removal.expired_batches(days, MAX_EXPIRED)
        for batch_id in expired:
            with session(), contextlib.suppress(changes.StateError):  # it is being retried
                last = changes.delete(batch_id, expired=True)
                if last is not None:
                    logger.info("expired", batch=batch_id, emails=last.total, days=f"{days:g}")
                    self._workplace.publisher.publish(last)
        if len(expired) < MAX_EXPIRED:
            self._next_expiry = now + EXPIRY_SECONDS

    def _remove_deleted(self) -> None:
        """Go on, for a moment, with removing deleted batches whose removal was broken off."""
        with session():
            deleted = removal.deleted_batches(REMOVAL_SECONDS)
        deadline = time.monotonic() + SUPERVISE_SECONDS
        for batch_id in deleted:
            place: removal.Place | None = (0, -1)
            while place is not None and time.monotonic() < deadline:
                with session():
                    place = removal.remove_some(batch_id, place)

    def _clear_nonsense(self, unfinished: int) -> bool:
        """Clear a list that holds far more ids than there are batches; whether that was needed."""
        queue = self._workplace.queue
        depth = self._doorbell.use(queue.depth) or 0
        if depth <= 2 * unfinished + STALE_IDS or unfinished >= models.MAX_SWEPT:
            return False
        self._doorbell.use(queue.clear)
        logger.warning("list cleared of ids that stand for nothing", ids=depth, batches=unfinished)
        return True

    def _mind_thread(self, number: int) -> None:
        """See to it that the thread of this number is there and gets on."""
        turns, thread = self._threads.get(number, (None, None))
        if turns is None or thread is None:
            self._start_thread(number)
        elif not thread.is_alive():
            logger.error("thread died; another takes its place", thread=number)
            self._start_thread(number)
        elif turns.outlasted(self._settings.turn_timeout_seconds + GRACE_SECONDS):
            turn = turns.turn
            turns.abandoned = True
            self._hung.append(thread)
            logger.error(
                "thread hangs; another takes its place",
                thread=number,
                batch=turn and turn.batch_id,
                chunk=turn and turn.first_id,
                hanging=len(self._hung),
            )
            self._start_thread(number)

    def _start_thread(self, number: int) -> None:
        if number in self._threads:
            self._emails_before += self._threads[number][0].emails
        turns = Turns(self._workplace, number)
        # A daemon, so that one that hangs can't keep a stopping process alive.
        thread = threading.Thread(target=turns.run, name=f"worker-{number}", daemon=True)
        thread.start()
        self._threads[number] = turns, thread

    def _shut_down(self) -> bool:
        if self.worn_out:
            logger.error("too many threads hang; the worker ends its turns and starts itself anew")
        else:
            logger.info("stopping: the threads end their turns")
            systemd.stopping()
        self._workplace.quiet.set()
        deadline = time.monotonic() + self._settings.shutdown_seconds
        for _, thread in self._threads.values():
            while thread.is_alive() and time.monotonic() < deadline:
                systemd.alive()
                thread.join(min(SUPERVISE_SECONDS, max(0.0, deadline - time.monotonic())))
                self._announce_if_due()
        self._workplace.publisher.flush()
        self._doorbell.use(self._presence.withdraw)
        unfinished = sum(thread.is_alive() for _, thread in self._threads.values())
        if unfinished:
            logger.error("stopped with turns unfinished; they will be repeated", threads=unfinished)
        else:
            logger.info("stopped")
        return not unfinished


@contextlib.contextmanager
def _ended_if_frozen(seconds: float) -> Iterator[Callable[[], object]]:
    """End the process, with a traceback of each thread, once it has used so much processor time
    without a call of what this yields.

    Native code that never returns and never lets go of the interpreter (a regular expression that
    backtracks for ever) stops all threads, the supervisor's too. Only the kernel can help then.
    """
    faulthandler.register(signal.SIGPROF, chain=True)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, seconds)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)


def _selftest(settings: Settings) -> int:
    # Only here, because it can do uploads too, for which no worker has to be made ready.
    from admin import selftest
    from admin.selftest import SelftestError

    # As it is said when the output goes to a file, too.
    say = functools.partial(print, flush=True)
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()  # where a finalizer runs just now, what is raised gets lost
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        passed = selftest.run(settings, say)
        if interrupted.is_set():
            return 130
        return 0 if passed else 1
    except (BundledServerError, SelftestError, *UNREACHABLE) as error:
        say(f"The selftest could not be carried out: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _allow_descriptors(settings: Settings) -> None:
    """Raise the limit of file descriptors to what the settings need, or end with what to do."""
    threads, concurrency = settings.worker.threads, settings.check.concurrency
    needed = (
        descriptors.OWN
        + descriptors.SESSION * settings.worker.connections
        + descriptors.THREAD * threads
        + descriptors.LOOKUP * concurrency
    )
    limit = descriptors.allow(needed)
    if limit < needed:
        what = f"[worker] threads = {threads} and [check] concurrency = {concurrency}"
        exit_with(str(descriptors.too_few(what, needed, limit)))


def main() -> int:
    """The command. Exit status 0 after a clean stop, 1 after another, 2 for wrong settings."""
    parser = command.argument_parser(
        "Process the uploaded batches, with several threads. Any number of workers may run, on"
        " any number of machines, against the same PostgreSQL and Redis.",
        "Stop it with Ctrl-C or SIGTERM: each thread ends its turn (about a second) first. A\n"
        "second signal ends it at once. Nothing is lost or counted twice either way, nor by\n"
        "kill -9: an unfinished turn is undone and repeated by another thread or worker.",
    )
    parser.add_argument("--threads", metavar="N", help="threads, instead of [worker] threads")
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="upload 10,000 generated rows, kill a worker half-way, and see whether each row"
        " comes out once; touches nothing else on the configured servers",
    )
    arguments = parser.parse_args()
    settings = load_or_exit(arguments, {("worker", "threads"): arguments.threads})
    if arguments.selftest:
        return _selftest(settings)
    _allow_descriptors(settings)
    logs.setup()
    # Before the processor, which may take its time to come up.
    stopping = command.stop_on_signals()
    # A processor of the team's own lies beside the configuration as a rule.
    sys.path.append(str(settings.path.parent))
    try:
        processor = processors.load(settings.worker.processor, settings.processor_options)
    except ProcessorError as error:
        exit_with(f"{settings.path}: [worker] processor: {error}.")
    try:
        with connect.servers(
            settings, stopping, name="worker", connections=settings.worker.connections
        ) as doorbell:
            supervisor = Supervisor(Workplace(settings, doorbell, processor), stopping)
            with _ended_if_frozen(settings.worker.turn_timeout_seconds) as not_frozen:
                clean = supervisor.run(not_frozen)
    except (BundledServerError, SchemaError) as error:
        exit_with(f"{error}.")
    if supervisor.worn_out and not stopping.is_set():
        os.execv(sys.executable, sys.orig_argv)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
