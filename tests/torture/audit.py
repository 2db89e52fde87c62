"""The books of a torture run: what the database holds against what was uploaded.

It knows nothing of the harm that was done, only a connection and what to expect. So the tests
can tamper with a database and see that it's noticed.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import psycopg2

from harness.books import BOOKS
from torture.calls import INTERRUPTED, Calls, Outcome, Place, allowed
from torture.expected import ACKNOWLEDGED, BROKEN_OFF, ROWS, UNKNOWN, Expected, Row

# Faults that are kept in words, in all and of the emails of a batch; the rest is only counted.
MAX_FAULTS, FAULTS_OF_BATCH = 50, 3


class Faults:
    """What is wrong, in sentences; any thread may add one."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self._say = say
        self._lock = threading.Lock()
        self.sentences: list[str] = []
        self.count = 0

    def add(self, sentence: str) -> None:
        """Note what is wrong; `say` hears it at once."""
        with self._lock:
            self.count += 1
            kept = self.count <= MAX_FAULTS
            if kept:
                self.sentences.append(sentence)
        if kept:
            self._say(sentence)


@dataclass
class Verdict:
    """The outcome of an audit, all batches together.

    lost: emails of batches that exist or must exist which are missing, or have another outcome than
    the expected one, or none though their batch wasn't cancelled. doubled: rows beyond what was
    expected, and how far a batch's counts are above its rows.

    Of work that must not be repeated: `calls` were recorded; `repeated` of them came with a key
    that had come before; `miscalled` emails were called more or less often than their outcomes say.
    """

    batches: int = 0
    emails: int = 0
    processed: int = 0
    failed: int = 0
    cancelled: int = 0
    redone: int = 0
    lost: int = 0
    doubled: int = 0
    calls: int = 0
    repeated: int = 0
    miscalled: int = 0
    # Emails that are interrupted by no Stop of the processor; and by one.
    interrupted: list[Place] = field(default_factory=list)
    stopped: list[Place] = field(default_factory=list)
    # Uploads that nobody answered for and that exist after all.
    unknown_stored: int = 0
    faults: Faults = field(default_factory=Faults)

    @property
    def clean(self) -> bool:
        wrong = self.lost or self.doubled or self.repeated or self.miscalled
        return not (wrong or self.faults.count)


# What must be empty when all is done, too.
_ALL_DONE = {
    "it is neither completed nor cancelled": """
        SELECT id FROM batch WHERE status NOT IN ('completed', 'cancelled')""",
    "what was under way when it was cancelled isn't counted": """
        SELECT id FROM batch WHERE unsettled""",
    "its processed_count is not what its chunks add up to": """
        SELECT b.id FROM batch b WHERE status = 'completed' AND processed_count
            <> (SELECT coalesce(sum(done), 0) FROM chunk WHERE batch_id = b.id)""",
}
# Half-stored batches. The loop over the primary key is many times faster than reading each email.
_EMAILS_WITHOUT_BATCH = """
    WITH RECURSIVE ids AS (
        (SELECT batch_id FROM email ORDER BY batch_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.batch_id FROM email e WHERE e.batch_id > ids.batch_id
            ORDER BY e.batch_id LIMIT 1) FROM ids WHERE ids.batch_id IS NOT NULL)
    SELECT i.batch_id, (SELECT count(*) FROM email e WHERE e.batch_id = i.batch_id)
    FROM ids i
    WHERE i.batch_id IS NOT NULL AND NOT EXISTS (SELECT FROM batch WHERE id = i.batch_id)"""
_BATCHES = f"""
    SELECT id, filename, processed_count, failed_count, status, {", ".join(ROWS.values())}
    FROM batch ORDER BY id"""
_EMAILS = """
    SELECT id, email, row_number, status, reason FROM email WHERE batch_id = %s ORDER BY id"""
# How many rounds of each pending email are over.
_OVER = """
    SELECT e.id, c.rounds_before + c.rounds
    FROM email e
    JOIN chunk c ON c.batch_id = e.batch_id AND e.id BETWEEN c.first_id AND c.last_id
    WHERE e.batch_id = %s AND e.status = 'pending'"""


def audit(
    url: str, uploads: Iterable[Expected], calls: Calls | None = None, most_interrupted: int = 0
) -> Verdict:
    """Compare everything in the database at `url` with the uploads, and with the calls.

    Without calls, the work may be repeated, so that no email may be interrupted. `most_interrupted`
    limits how many may be, besides those by a Stop. The database must be quiet. Memory is bounded
    by the largest batch, and by the calls.
    """
    with closing(psycopg2.connect(url)) as connection:
        verdict = _Audit(connection, calls).perform(uploads)
    interrupted = len(verdict.interrupted)
    if interrupted > most_interrupted:
        verdict.faults.add(f"{interrupted} emails are interrupted, at most {most_interrupted} may")
    return verdict


def _rows(connection: Any, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


class _Audit:
    def __init__(self, connection: Any, calls: Calls | None) -> None:
        self._connection = connection
        self._calls = calls
        self._verdict = Verdict()
        self._known: set[Place] = set()

    def _found(self, sentence: str) -> None:
        self._verdict.faults.add(sentence)

    def perform(self, uploads: Iterable[Expected]) -> Verdict:
        verdict = self._verdict
        for sentence, sql in (BOOKS | _ALL_DONE).items():
            for (batch_id,) in _rows(self._connection, sql):
                self._found(f"batch {batch_id}: {sentence}")
        for batch_id, count in _rows(self._connection, _EMAILS_WITHOUT_BATCH):
            verdict.doubled += count
            self._found(f"batch {batch_id}: half stored, {count} emails but no batch")
        stored: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for batch in _rows(self._connection, _BATCHES):
            stored[batch[1]].append(batch)
        for upload in uploads:
            self._upload(upload, stored.pop(upload.filename, []))
        for batch in chain.from_iterable(stored.values()):
            self._emails(batch, iter(()), set())
            self._found(f"batch {batch[0]}: nobody uploaded its file {batch[1]!r}")
        ((verdict.redone,),) = _rows(self._connection, "SELECT coalesce(sum(redone), 0) FROM chunk")
        if self._calls is not None:
            self._all_calls(self._calls)
        return verdict

    def _all_calls(self, calls: Calls) -> None:
        self._verdict.calls, self._verdict.repeated = calls.total, len(calls.repeated)
        for key in calls.repeated[:MAX_FAULTS]:
            self._found(f"{key}: this key came again")
        for batch_id, number in sorted(calls.others(self._known)):
            self._miscalled(batch_id, number, "was called, but there is no such email")
        for key in calls.strange:
            self._found(f"{key!r}: this key names no email")

    def _miscalled(self, batch_id: int, number: int, sentence: str) -> None:
        self._verdict.miscalled += 1
        self._found(f"batch {batch_id} email {number}: {sentence}")

    def _upload(self, upload: Expected, stored: list[tuple[Any, ...]]) -> None:
        """Add to the verdict what one upload became: `stored` are the batches with its filename."""
        if not stored and upload.standing == ACKNOWLEDGED:
            missing = sum(row.kind == "email" for row in upload.rows())
            self._verdict.lost += missing
            self._found(f"{upload.filename}: acknowledged, but gone with {missing} emails")
        if stored and upload.standing == BROKEN_OFF:
            self._found(f"{upload.filename}: broken off, but stored as batch {stored[0][0]}")
        self._verdict.unknown_stored += bool(stored) and upload.standing == UNKNOWN
        for times, batch in enumerate(stored):
            surplus = times > 0 or upload.standing == BROKEN_OFF
            if times > 0:
                self._found(f"batch {batch[0]}: its file {upload.filename} is stored already")
            counts: Counter[str] = Counter()
            expected = iter(()) if surplus else _counted(upload.rows(), counts)
            self._emails(batch, expected, upload.asked)
            if not surplus and [counts[kind] for kind in ROWS] != list(batch[5:]):
                self._found(
                    f"batch {batch[0]}: its rows were counted as {batch[5:]}, not {dict(counts)}"
                )

    def _emails(self, batch: tuple[Any, ...], expected: Iterator[Row], asked: set[str]) -> None:
        """Compare a batch's emails with the expected ones by their numbers, 1 to n; its counts."""
        batch_id, filename, processed_count, failed_count, batch_status = batch[:5]
        verdict, cancelled = self._verdict, batch_status == "cancelled"
        # One that was cancelled is completed if all that was left of it was under way.
        if cancelled and "cancel" not in asked:
            self._found(f"batch {batch_id}: it is cancelled, and people asked for {asked}")
        if not cancelled and "cancelled" in asked and self._calls is None:
            self._found(f"batch {batch_id}: it was cancelled, and is {batch_status}")
        found = {row[0]: row[1:] for row in _rows(self._connection, _EMAILS, batch_id)}
        self._known.update((batch_id, number) for number in found)
        ended = sum(status != "pending" for _, _, status, _ in found.values())
        failed = sum(status == "failed" for _, _, status, _ in found.values())
        verdict.batches += 1
        verdict.emails += len(found)
        verdict.processed += ended
        verdict.failed += failed
        verdict.cancelled += (len(found) - ended) * cancelled
        over = dict(_rows(self._connection, _OVER, batch_id)) if cancelled else {}
        lost = 0
        for number, row in enumerate(expected, start=1):
            is_now = found.pop(number, None)
            due = self._due((batch_id, number), row, is_now, asked, over.get(number))
            lost += due is not None
            if due is not None and lost <= FAULTS_OF_BATCH:
                self._found(f"batch {batch_id} ({filename}) email {number}: {is_now}, not {due}")
        surplus = len(found)
        miscounted = max(0, processed_count - ended) + max(0, failed_count - failed)
        verdict.lost += lost
        verdict.doubled += surplus + miscounted
        if surplus or miscounted:
            self._found(
                f"batch {batch_id} ({filename}): {surplus} emails too many,"
                f" {miscounted} too many counted"
            )

    def _due(
        self,
        place: Place,
        row: Row,
        is_now: tuple[Any, ...] | None,
        asked: set[str],
        over: int | None,
    ) -> str | None:
        """Return what an email should be if it isn't that; None if it is right."""
        outcomes = allowed(row, place, asked, self._calls, over)
        if is_now and is_now[:2] == (row.address, row.line) and is_now[2:] in outcomes:
            self._outcome(place, row, is_now[2:], outcomes[is_now[2:]])
            return None
        return f"{(row.address, row.line)} with one of {[*outcomes]}"

    def _outcome(self, place: Place, row: Row, outcome: Outcome, times: range) -> None:
        """Note an outcome, and compare the calls of its email, of which there may be `times`."""
        if outcome == INTERRUPTED:
            (self._verdict.stopped if row.stops else self._verdict.interrupted).append(place)
        sentence = self._calls and self._calls.wrong(place, times)
        if sentence:
            self._miscalled(*place, sentence)


def _counted(rows: Iterable[Row], counts: Counter[str]) -> Iterator[Row]:
    """The emails among the rows; all of them are counted by kind."""
    for row in rows:
        counts[row.kind] += 1
        if row.kind == "email":
            yield row
