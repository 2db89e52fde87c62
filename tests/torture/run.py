"""Kill everything at random while batches are uploaded, then see that no email is lost or doubled.

Work that must not be repeated calls a server of this process, which records what is done.

`python tests/torture/run.py --help` says how; `make torture` runs it. Processes and servers are its
own, in temporary folders.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

from harness.polling import eventually
from torture.audit import Faults, Verdict, audit
from torture.calls import Calls, Place
from torture.havoc import Havoc
from torture.listening import Listening
from torture.options import EMAILS, GOALS, parser
from torture.pace import SECONDS, Pace, paces
from torture.people import People, post
from torture.progress import READ_SECONDS, Progress
from torture.recording import Recording
from torture.recovery import Recoveries
from torture.report import report, say
from torture.stage import READY, WORKER_THREADS, Database, Stage
from torture.uploads import UNUSUAL_SHARES, Ledger, Uploader

UPLOADERS = 2
# Workers could process so many times the emails that come, were they left in peace.
HEADROOM = 2.5
# Emails in the database that are still to be processed are held near to what comes in this time.
BACKLOG_SECONDS = 12.0
# The largest file has so many rows as come in this time.
LARGEST_SECONDS = 10.0
# How many emails are handed out at once whose work must not be repeated; one of these is drawn.
WINDOWS = (1, 1, 5)
# Seconds: between two lines of progress; and, as a multiple of --seconds plus a constant, until a
# run that doesn't reach its goals is given up.
LINE_SECONDS = 10.0
OVERTIME, OVERTIME_SECONDS = 3.0, 150.0


class Run:
    """One run: upload and do harm, come to rest, and report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rng = random.Random(options.seed)
        self.goals = {family: getattr(options, name) for family, name in GOALS.items()}
        self.rate = options.emails / options.seconds
        self.faults = Faults(self._found)
        # Of work that must not be repeated.
        self.recording = Recording() if options.work == "once" else None
        self.window = self.rng.choice(WINDOWS)
        function = "once_only" if self.recording else "repeatable"
        self.stage = Stage(options.workers, self.faults, function, self._processor_options())
        self.ledger = Ledger()
        self.progress = Progress()
        self.verdict = Verdict()
        # What became of the emails that were interrupted, and then handed out again.
        self.second = Verdict()
        self.paces: list[Pace] = []
        self.handed_out_again = 0
        self.began = time.monotonic()
        self.seconds = 0.0
        self._threads: list[threading.Thread] = []
        # Set when nothing more is being started. Not a join(), which takes a thread for ended
        # that goes on, if a Ctrl-C interrupts it (Python 3.11).
        self._started = threading.Event()
        self._no_more_harm = threading.Event()
        self._no_more_uploads = threading.Event()
        self._at_rest = threading.Event()

    def _processor_options(self) -> dict[str, object]:
        threads = self.options.workers * WORKER_THREADS
        options: dict[str, object] = {"seconds": threads / self.rate / HEADROOM}
        if self.recording is not None:
            options |= {"port": self.recording.port, "window": self.window}
        return options

    def _calls(self, again: Mapping[Place, set[int]] | None = None) -> Calls | None:
        return None if self.recording is None else Calls(self.recording.keys, again)

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
        calls = self._calls()
        self.verdict = self._audit(calls)
        self._audit_paces()
        try:
            if calls is not None and self.clean:
                self._hand_out_again(calls)
            self.stage.retire(*self.stage.workers)
        except AssertionError as error:
            self.faults.add(str(error))

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
        if self.recording is not None:
            self.recording.close()
        keep = self.options.keep_logs or failed
        self.stage.destroy(keep_logs=keep)
        if keep:
            say(f"The logs are in {self.stage.logs}")

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.clean and self.second.clean and not self.faults.count

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
        self.people = People(self.stage.address, self.ledger, self.faults, self._random())
        self._spawn("listening", lambda: self.listening.run(self._at_rest))
        reading = self._spawn("progress", self._read_progress)
        uploading = [self._start_uploader(f"list-{letter}") for letter in "abcdef"[:UPLOADERS]]
        asking = self._spawn("people", lambda: self.people.run(self._no_more_harm))
        harming = self._spawn("havoc", lambda: self.havoc.run(self._no_more_harm))
        self._watch()
        self.seconds = time.monotonic() - self.began
        self._no_more_harm.set()
        for thread in (harming, asking):
            thread.join(60)
        # Uploads go on meanwhile: PostgreSQL's recovery shows by them.
        self.recoveries.finish()
        self._no_more_uploads.set()
        for thread in (*uploading, reading):
            thread.join(60)

    def _random(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    def _start_uploader(self, name: str) -> threading.Thread:
        largest = max(1, int(min(self.options.emails / 10, self.rate * LARGEST_SECONDS)))
        uploader = Uploader(
            name,
            self.stage.address,
            self.ledger,
            self.faults,
            self._random(),
            largest,
            UNUSUAL_SHARES[self.options.work],
            rated=self.recording is not None,
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
        kills = ", ".join(f"{family} {self.havoc.kills[family]}" for family in GOALS)
        return (
            f"{time.monotonic() - self.began:4.0f} s: {self.progress.batches} batches,"
            f" {self.progress.emails:,} emails, {self.progress.processed:,} processed;"
            f" harm: {kills}; faults: {self.faults.count}"
        )

    def _tell(self) -> None:
        say(self._told(), passing=True)

    # The end.

    def _come_to_rest(self) -> None:
        """Wait until everything runs and all work is done, without the app."""
        self.stage.await_ready()
        database = Database(self.stage.database_url)
        eventually(lambda: self._resumed(database), READY, "all batches are resumed")
        # Requests that nobody waits for may still be storing a batch: the app ends them first.
        self.stage.retire(self.stage.app)
        self._await_end(database)
        database.close()

    def _resumed(self, database: Database) -> bool:
        """Resume all batches that people have paused; return whether there was none."""
        paused = database.rows(
            "SELECT id FROM batch WHERE status IN ('pending', 'processing')"
            " AND paused_at IS NOT NULL AND resume_at IS NULL"
        )
        for (batch_id,) in paused:
            self.people.ask(batch_id, "resume")
        return not paused

    def _await_end(self, database: Database) -> None:
        """Wait until no batch is unfinished."""
        self.progress.await_end(database, self._told)
        self._tell()

    @property
    def most_interrupted(self) -> int:
        """How many emails may be interrupted by harm, and by people who cancel batches.

        A cancelled batch gets no outcomes of its turns but those that were noted, so each turn on
        it is as good as lost.
        """
        cancelled = self.people.cancels * self.options.workers * WORKER_THREADS
        return (self.havoc.turns_lost + cancelled) * self.window

    def _audit(self, calls: Calls | None) -> Verdict:
        url = self.stage.database_url
        return audit(url, self.ledger.uploads, calls, self.most_interrupted)

    def _audit_paces(self) -> None:
        """See that no batch with a rate was faster than that."""
        if self.recording is None:
            return
        database = Database(self.stage.database_url)
        rated = "SELECT id, per_minute FROM batch WHERE per_minute IS NOT NULL"
        rates: dict[int, int] = dict(database.rows(rated))
        database.close()
        in_flight = self.options.workers * WORKER_THREADS * self.window
        self.paces = paces(self.recording.calls, rates, in_flight)
        for batch_id, calls, most in self.paces:
            if calls > most:
                self.faults.add(f"batch {batch_id}: {calls} calls within {SECONDS:g} s, not {most}")

    def _hand_out_again(self, calls: Calls) -> None:
        """Have all interrupted emails handed out again, without harm, and look at all once more."""
        places = {*self.verdict.interrupted, *self.verdict.stopped}
        self.listening.forget()
        self.stage.app.recall()
        self.stage.await_ready()
        again: dict[Place, set[int]] = {}
        for batch_id in sorted({batch_id for batch_id, _ in places}):
            path = f"/api/batches/{batch_id}/retry"
            answer = post(self.stage.address, path, which="interrupted")
            mine = {place: calls.rounds(place) for place in places if place[0] == batch_id}
            if answer is None or answer[0] not in (200, 409):
                self.faults.add(f"batch {batch_id}: its retry was answered {answer}")
            elif answer[0] == 200:  # not cancelled
                again |= mine
                if answer[1]["requeued"] != len(mine):
                    self.faults.add(f"batch {batch_id}: {answer[1]}, not {len(mine)} requeued")
        database = Database(self.stage.database_url)
        self._await_end(database)
        database.close()
        self.second = self._audit(self._calls(again))
        self.handed_out_again = len(again)
        self.stage.retire(self.stage.app)


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
    options = parser(__doc__.split("\n", 1)[0]).parse_args()
    if options.emails is None:
        options.emails = EMAILS[options.work]
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
    say(report(run))
    return 0 if run.clean else 1


if __name__ == "__main__":
    sys.exit(main())
