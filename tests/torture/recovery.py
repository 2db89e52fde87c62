"""How long it takes until work goes on after a kill, as seen from outside by polling.

Harm may overlap, which makes a figure longer: it's what was seen.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2

from torture.audit import Faults
from torture.stage import Database, Stage

# Seconds: between two looks, and after which nobody waits any longer; for workers, since any turn
# began or ended, because emails in isolation take their time on a busy machine.
POLL = 0.02
GIVE_UP = 60.0

# Turns that are begun anew if they are lost: not those of a batch that was paused or cancelled.
_TURNS = (
    "SELECT batch_id, first_id, attempts, redone, done FROM chunk JOIN batch ON batch.id = batch_id"
    " WHERE attempts > 0 AND status = 'processing' AND paused_at IS NULL"
)
_PROGRESS = (
    "SELECT count(*), coalesce(sum(processed_count), 0), count(*) FILTER"
    " (WHERE status IN ('pending', 'processing')) FROM batch"
)

# A chunk, and what a turn's end or a new turn changes of it.
Turns = dict[tuple[int, int], tuple[int, int, int]]


@dataclass
class _Kill:
    """A kill of workers; `turns` were under way just after it, None while nobody could say."""

    at: float
    turns: Turns | None = None


class Recoveries:
    """Takes the time after each kill, without holding up who kills."""

    def __init__(self, stage: Stage, faults: Faults, uploading: Callable[[], bool]) -> None:
        self._stage = stage
        self._faults = faults
        self._uploading = uploading
        self._kills: queue.SimpleQueue[_Kill] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._turns: Turns = {}
        self._changed = 0.0
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def start(self) -> None:
        """Start the thread that watches turns."""
        self._spawn(self._watch_turns)

    def finish(self) -> None:
        """Wait until every measurement has ended."""
        self._closing.set()
        for thread in list(self._threads):
            thread.join()

    def measure(self, family: str) -> None:
        """Something of this family was killed just now."""
        at = time.monotonic()
        if family == "worker":
            self._kills.put(_Kill(at))
        elif family in ("postgres", "redis", "app"):
            method = {"postgres": self._postgres, "redis": self._redis, "app": self._app}[family]
            self._spawn(lambda: method(at))

    def _spawn(self, function: Callable[[], None]) -> None:
        def run() -> None:
            try:
                function()
            except Exception as error:
                self._faults.add(f"the harness failed in {function}: {error!r}")

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=run, name="recovery", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _note(self, family: str, at: float) -> None:
        seconds = time.monotonic() - at
        with self._lock:
            self.seconds[family].append(seconds)
        self._stage.note(f"recovered: {family} {seconds:.2f} s after its kill")

    def _given_up(self, family: str, at: float, awaited: object, changed: float = 0.0) -> bool:
        if time.monotonic() - max(at, changed) < GIVE_UP:
            return False
        self._note(family, at)
        self._faults.add(f"no recovery {GIVE_UP} s after a kill of {family}: {awaited}")
        return True

    # Workers: every turn that was under way is committed, or begun anew.

    def _watch_turns(self) -> None:
        database = Database(self._stage.database_url)
        waiting: list[_Kill] = []
        while waiting or not self._kills.empty() or not self._closing.is_set():
            try:
                # Without kills to look after, the next one wakes us; with some, it's our pause.
                waiting.append(self._kills.get(timeout=POLL if waiting else 0.2))
            except queue.Empty:
                if not waiting:
                    continue
            waiting = self._look(database, waiting)
        database.close()

    def _look(self, database: Database, waiting: list[_Kill]) -> list[_Kill]:
        """The kills that are still to be waited for."""
        try:
            rows = database.rows(_TURNS)
        except psycopg2.Error:
            return [kill for kill in waiting if not self._stuck(kill, "no database")]
        turns: Turns = {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
        if turns != self._turns:
            self._turns, self._changed = turns, time.monotonic()
        remaining = []
        for kill in waiting:
            if kill.turns is None:
                kill.turns = turns
                if turns:
                    self._stage.note(f"under way when workers were killed: {turns}")
                    remaining.append(kill)
                continue
            kill.turns = {
                chunk: state for chunk, state in kill.turns.items() if turns.get(chunk) == state
            }
            if not kill.turns:
                self._note("worker", kill.at)
            elif not self._stuck(kill, kill.turns):
                remaining.append(kill)
        return remaining

    def _stuck(self, kill: _Kill, awaited: object) -> bool:
        return self._given_up("worker", kill.at, awaited, self._changed)

    # PostgreSQL: more emails are counted, or another batch is stored.

    def _postgres(self, at: float) -> None:
        database = Database(self._stage.database_url)
        before: tuple[int, int] | None = None
        while not self._given_up("postgres", at, "no emails counted, no batch stored"):
            try:
                ((batches, processed, unfinished),) = database.rows(_PROGRESS)
            except psycopg2.Error:
                pass
            else:
                if before is None:
                    before = (batches, processed)  # a new connection, so it's the new server's
                elif before != (batches, processed):
                    self._note("postgres", at)
                    break
                elif not unfinished and not self._uploading():
                    break
            threading.Event().wait(POLL)
        database.close()

    # Redis: it answers, and a worker has announced itself.

    def _redis(self, at: float) -> None:
        client = self._stage.redis_client()
        while not self._given_up("redis", at, "no answer, or no worker announced"):
            if self._stage.worker_announced(client):
                self._note("redis", at)
                break
            threading.Event().wait(POLL)
        client.close()

    # The app: it answers.

    def _app(self, at: float) -> None:
        while not self._given_up("app", at, "no answer from /api/health"):
            if self._stage.app_answers():
                self._note("app", at)
                break
            threading.Event().wait(POLL)
