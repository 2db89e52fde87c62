"""Kill everything at random while batches are uploaded, then see that no email is lost or doubled.

`python tests/torture/run.py --help` says how; `make torture` runs it. Processes and servers are its
own, in temporary folders.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

from torture.audit import Faults, Verdict, audit
from torture.havoc import HARM, Havoc
from torture.listening import Listening
from torture.recovery import Recoveries
from torture.stage import WORKER_THREADS, Database, Stage
from torture.uploads import Ledger, Uploader

UPLOADERS = 2
# Workers could process so many times the emails that come, were they left in peace.
HEADROOM = 2.5
# Emails in the database that are still to be processed are held near to what comes in this time.
BACKLOG_SECONDS = 12.0
# Seconds: between two readings and two lines of progress; without progress at the end; and, as a
# multiple of --seconds plus a constant, until a run that doesn't reach its goals is given up.
READ_SECONDS, LINE_SECONDS = 0.5, 10.0
STUCK_SECONDS = 120.0
OVERTIME, OVERTIME_SECONDS = 3.0, 60.0

FAMILIES = ("worker", "redis", "postgres", "app")


def parser() -> argparse.ArgumentParser:
    def number(kind: type, least: float) -> Callable[[str], float]:
        def parse(text: str) -> float:
            value: float = kind(text)
            if not least <= value < 1e12:
                raise ValueError
            return value

        parse.__name__ = f"number from {least} up"  # what argparse calls it in its message
        return parse

    result = argparse.ArgumentParser(
        prog="tests/torture/run.py",
        description=__doc__.split("\n", 1)[0],
        epilog="The run ends when the seconds have passed and all goals are reached. Exit status:"
        " 0 if nothing was lost or doubled and nothing else is wrong, 1 if so, 2 for wrong"
        " options, 130 after Ctrl-C. A big run: --seconds 400 --emails 1000000 --worker-kills 200"
        " --redis-kills 20 --postgres-kills 20 --app-kills 20",
    )

    def add(name: str, kind: type, least: float, default: float | None, about: str) -> None:
        shown = "" if default is None else f" (default: {default})"
        result.add_argument(
            name, type=number(kind, least), default=default, metavar="N", help=about + shown
        )

    add("--seconds", float, 1, 120, "do harm for so long at least")
    add("--emails", int, 1, 200_000, "upload so many emails at least")
    add("--workers", int, 1, 3, f"processes of worker.py, with {WORKER_THREADS} threads each")
    add("--worker-kills", int, 0, 60, "least number of workers killed")
    add("--redis-kills", int, 0, 6, "least number of times that Redis is killed or flushed")
    add("--postgres-kills", int, 0, 6, "least number of times that PostgreSQL is killed")
    add("--app-kills", int, 0, 6, "least number of times that the app is killed")
    add("--seed", int, 0, None, "for the same harm and the same uploads as in another run")
    result.add_argument("--keep-logs", action="store_true", help="also when all went well")
    return result


@dataclass
class Progress:
    """What the database said last. One thread at a time writes it."""

    batches: int = 0
    emails: int = 0
    processed: int = 0
    unfinished: int = 0
    # What had been sent when it said so.
    rows_sent: int = 0

    def read(self, database: Database) -> bool:
        """Read it anew; False while there is no database."""
        try:
            ((self.batches, self.emails, self.processed, self.unfinished),) = database.rows(
                "SELECT count(*), coalesce(sum(total_emails), 0),"
                " coalesce(sum(processed_count), 0), count(*) FILTER"
                " (WHERE status IN ('pending', 'processing')) FROM batch"
            )
        except psycopg2.Error:
            return False
        return True


class Run:
    """One run: upload and do harm, come to rest, and report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rng = random.Random(options.seed)
        self.goals = {family: getattr(options, f"{family}_kills") for family in FAMILIES}
        self.rate = options.emails / options.seconds
        self.faults = Faults(self._found)
        threads = options.workers * WORKER_THREADS
        self.stage = Stage(options.workers, threads / self.rate / HEADROOM, self.faults)
        self.ledger = Ledger()
        self.progress = Progress()
        self.verdict = Verdict()
        self.began = time.monotonic()
        self.seconds = 0.0
        self._threads: list[threading.Thread] = []
        # Set when nothing more is being started. Not a join(), which takes a thread for ended
        # that goes on, if a Ctrl-C interrupts it (Python 3.11).
        self._started = threading.Event()
        self._no_more_harm = threading.Event()
        self._no_more_uploads = threading.Event()
        self._at_rest = threading.Event()

    def _found(self, sentence: str) -> None:
        say(f"FAULT {sentence}")
        self.stage.note(f"FAULT {sentence}")

    def perform(self) -> None:
        """All of it. What goes wrong is among the faults afterwards."""
        self._spawn("start", self._start)
        self._started.wait()
        if self.faults.count:
            return
        try:
            self.stage.await_ready()
            self._spawn("supervisor", lambda: self.stage.supervise(self._at_rest))
            self._upload_and_do_harm()
        except AssertionError as error:
            self.faults.add(str(error))
            return
        try:
            self._come_to_rest()
        except AssertionError as error:
            self.faults.add(str(error))
        self.verdict = audit(self.stage.database_url, self.ledger.uploads)

    def _start(self) -> None:
        try:
            self.stage.start()
        finally:
            self._started.set()

    def stop(self, *, failed: bool) -> None:
        """End everything that was started; keep the logs if `failed`, or if they are wanted."""
        for event in (self._no_more_harm, self._no_more_uploads, self._at_rest):
            event.set()
        if self._threads:
            self._started.wait()
        self.stage.destroy_children()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        keep = self.options.keep_logs or failed
        self.stage.destroy(keep_logs=keep)
        if keep:
            say(f"The logs are in {self.stage.logs}")

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.clean and not self.faults.count

    def _spawn(self, name: str, function: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                function()
            except Exception as error:
                self.faults.add(f"the harness failed: {name}: {error!r}")

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)  # first: a Ctrl-C must not find one that nobody knows of
        thread.start()
        return thread

    # Uploads and harm.

    def _upload_and_do_harm(self) -> None:
        self.began = time.monotonic()
        self.recoveries = Recoveries(
            self.stage, self.faults, lambda: not self._no_more_uploads.is_set()
        )
        self.recoveries.start()
        self.havoc = Havoc(
            self.stage,
            self.recoveries,
            self.goals,
            self.options.seconds,
            self._random(),
            self.ledger.storing,
        )
        self.listening = Listening(
            self.stage.redis_client(), self.faults, lambda: self.havoc.times_emptied
        )
        self._spawn("listening", lambda: self.listening.run(self._at_rest))
        reading = self._spawn("progress", self._read_progress)
        uploading = [self._start_uploader(f"list-{letter}") for letter in "abcdef"[:UPLOADERS]]
        harming = self._spawn("havoc", lambda: self.havoc.run(self._no_more_harm))
        self._watch()
        self.seconds = time.monotonic() - self.began
        self._no_more_harm.set()
        harming.join(60)
        # Uploads go on meanwhile: PostgreSQL's recovery shows by them.
        self.recoveries.finish()
        self._no_more_uploads.set()
        for thread in (*uploading, reading):
            thread.join(60)

    def _random(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    def _start_uploader(self, name: str) -> threading.Thread:
        largest = max(1, int(self.options.emails) // 10)
        uploader = Uploader(
            name, self.stage.address, self.ledger, self.faults, self._random(), largest
        )
        run = lambda: uploader.run(self._no_more_uploads, self._may_upload)  # noqa: E731
        return self._spawn(name, run)

    def _may_upload(self) -> bool:
        """Work is never to run out, nor to pile up behind workers that are killed all the time."""
        backlog = self.rate * BACKLOG_SECONDS
        elapsed = time.monotonic() - self.began
        # What was stored when we read it last, and what may have been stored since.
        emails = self.progress.emails + self.ledger.rows_sent - self.progress.rows_sent
        due = self.rate * elapsed + backlog
        if elapsed > self.options.seconds:
            due = max(due, self.options.emails + 1)
        return emails < due and emails - self.progress.processed < backlog

    def _watch(self) -> None:
        """Tell of the progress until all goals are reached."""
        next_line = self.began + LINE_SECONDS
        limit = self.began + OVERTIME * self.options.seconds + OVERTIME_SECONDS
        while not self._reached():
            if time.monotonic() > next_line:
                next_line += LINE_SECONDS
                self._tell()
            if time.monotonic() > limit:
                self.faults.add(f"the goals were not reached: {self._told()}")
                break
            self._no_more_harm.wait(READ_SECONDS)

    def _read_progress(self) -> None:
        """Keep self.progress up to date as long as files are uploaded."""
        database = Database(self.stage.database_url)
        while not self._no_more_uploads.wait(READ_SECONDS):
            sent = self.ledger.rows_sent
            if self.progress.read(database):
                self.progress.rows_sent = sent
        database.close()

    def _reached(self) -> bool:
        if time.monotonic() - self.began < self.options.seconds:
            return False
        enough = all(self.havoc.kills[family] >= goal for family, goal in self.goals.items())
        return enough and bool(self.progress.emails >= self.options.emails)

    def _told(self) -> str:
        kills = ", ".join(f"{family} {self.havoc.kills[family]}" for family in FAMILIES)
        return (
            f"{time.monotonic() - self.began:4.0f} s: {self.progress.batches} batches,"
            f" {self.progress.emails:,} emails, {self.progress.processed:,} processed;"
            f" kills: {kills}; faults: {self.faults.count}"
        )

    def _tell(self) -> None:
        say(self._told(), passing=True)

    # The end.

    def _come_to_rest(self) -> None:
        """Wait until everything runs and all work is done; then end app and workers."""
        self.stage.await_ready()
        # Requests that nobody waits for may still be storing a batch: the app ends them first.
        self.stage.retire(self.stage.app)
        database = Database(self.stage.database_url)
        progressed, processed = time.monotonic(), -1
        while not (self.progress.read(database) and self.progress.unfinished == 0):
            if self.progress.processed != processed:
                progressed, processed = time.monotonic(), self.progress.processed
            stuck = time.monotonic() - progressed
            assert stuck < STUCK_SECONDS, f"no progress for {STUCK_SECONDS} s: {self._told()}"
            self._at_rest.wait(READ_SECONDS)
        database.close()
        self._tell()
        self.stage.retire(*self.stage.workers)

    # The report.

    def report(self) -> str:
        """The table, and every fault."""
        all_faults = (self.faults, self.verdict.faults)
        faults = [f"FAULT {each}" for kind in all_faults for each in kind.sentences]
        if not self.seconds:
            return "\n".join(["No harm was done.", *faults])
        rows = [("harm", "", "times")]
        rows += [("", harm.name, str(self.havoc.events[harm.name])) for harm in HARM]
        rows += [("kills", family, f"{self.havoc.kills[family]}") for family in FAMILIES]
        rows += [("uploads", answer, str(n)) for answer, n in sorted(self.ledger.answers.items())]
        rows += [("", "unanswered but stored", str(self.verdict.unknown_stored))]
        for name in ("batches", "emails", "processed", "failed", "lost", "doubled"):
            rows.append((name, "", f"{getattr(self.verdict, name):,}"))
        rows.append(("turns redone", "", f"{self.verdict.redone:,}"))
        for family in FAMILIES:
            seconds = self.recoveries.seconds[family] or [0.0]
            figures = f"median {statistics.median(seconds):.2f}, max {max(seconds):.2f}"
            count = len(self.recoveries.seconds[family])
            rows.append(("recovery in s", family, f"{figures}, count {count}"))
        rows.append(("messages heard", "", f"{self.listening.messages:,}"))
        for kind, megabytes in self.stage.peak_megabytes().items():
            rows.append(("peak memory", kind, f"{megabytes} MB"))
        own = psutil.Process().memory_info().rss // 1_000_000
        rows += [("", "this harness", f"{own} MB"), ("seconds", "", f"{self.seconds:.0f}")]
        rows += [("seed", "", str(self.options.seed))]
        rows += [("faults", "", str(sum(kind.count for kind in all_faults)))]
        lines = [f"{group:<14} {name:<30} {value}" for group, name, value in rows]
        return "\n".join(lines + faults)


def say(text: str, *, passing: bool = False) -> None:
    """Print a line; on a terminal the next takes the place of a passing one."""
    if sys.stdout.isatty():
        end = "" if passing else "\n"
        sys.stdout.write(f"\r\033[K{text}{end}")
    else:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C within; on the way out neither disturbs the cleaning up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)


def main() -> int:
    """The command."""
    options = parser().parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    say(f"seed {options.seed}")
    run = Run(options)
    try:
        with interruptible():
            run.perform()
    except KeyboardInterrupt:
        say("interrupted; ending everything that was started")
        run.stop(failed=bool(run.faults.count))
        return 130
    except BaseException:
        run.stop(failed=True)
        raise
    run.stop(failed=not run.clean)
    say(run.report())
    return 0 if run.clean else 1


if __name__ == "__main__":
    sys.exit(main())
