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
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import psycopg2

from harness.books import BOOKS

# What is known of an upload. Acknowledged: it must exist whole, once. Unknown, because nobody
# answered: it may exist whole, once, or not at all. Broken off: it must not exist.
ACKNOWLEDGED, UNKNOWN, BROKEN_OFF = "acknowledged", "unknown", "broken off"

# Faults that are kept in words; the rest is only counted.
MAX_FAULTS = 50


class Row(NamedTuple):
    """One row of an uploaded file.

    `kind` is one of those of ROWS below; `line` is the line that it begins on, `text` all of it
    as it stands in the file. What follows is for kind `email`: what is to become of the address.
    """

    kind: str
    line: int
    text: str
    address: str = ""
    status: str = "processed"
    reason: str | None = None


# The kinds of rows, and the column of table batch that counts each.
ROWS = {
    "email": "total_emails",
    "duplicate": "duplicate_rows",
    "without address": "rows_without_address",
    "blank": "blank_rows",
}


class Expected(Protocol):
    """An upload, by a filename of its own."""

    @property
    def filename(self) -> str: ...

    @property
    def standing(self) -> str: ...

    def rows(self) -> Iterator[Row]: ...


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

    lost: emails of batches that exist or must exist which are missing, pending, or have another
    outcome than the expected one. doubled: rows beyond what was expected, and how far a batch's
    counts are above its rows.
    """

    batches: int = 0
    emails: int = 0
    processed: int = 0
    failed: int = 0
    redone: int = 0
    lost: int = 0
    doubled: int = 0
    # Uploads that nobody answered for and that exist after all.
    unknown_stored: int = 0
    faults: Faults = field(default_factory=Faults)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.faults.count)


# What must be empty when all is done, too.
_ALL_DONE = {
    "it is not completed": "SELECT id FROM batch WHERE status <> 'completed'",
    "its processed_count is not what its chunks add up to": """
        SELECT b.id FROM batch b WHERE processed_count
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
    SELECT id, filename, processed_count, failed_count, {", ".join(ROWS.values())}
    FROM batch ORDER BY id"""
_EMAILS = """
    SELECT id, email, row_number, status, reason FROM email WHERE batch_id = %s ORDER BY id"""


def audit(url: str, uploads: Iterable[Expected]) -> Verdict:
    """Compare everything in the database at `url` with the uploads.

    The database must be quiet. Memory is bounded by the largest batch.
    """
    with closing(psycopg2.connect(url)) as connection:
        return _audit(connection, uploads)


def _audit(connection: Any, uploads: Iterable[Expected]) -> Verdict:
    verdict = Verdict()
    for sentence, sql in (BOOKS | _ALL_DONE).items():
        for (batch_id,) in _rows(connection, sql):
            verdict.faults.add(f"batch {batch_id}: {sentence}")
    for batch_id, count in _rows(connection, _EMAILS_WITHOUT_BATCH):
        verdict.doubled += count
        verdict.faults.add(f"batch {batch_id}: half stored, {count} emails but no batch")
    stored: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for batch in _rows(connection, _BATCHES):
        stored[batch[1]].append(batch)
    for upload in uploads:
        _audit_upload(connection, upload, stored.pop(upload.filename, []), verdict)
    for batch in chain.from_iterable(stored.values()):
        _audit_emails(connection, batch, iter(()), verdict)
        verdict.faults.add(f"batch {batch[0]}: nobody uploaded its file {batch[1]!r}")
    ((verdict.redone,),) = _rows(connection, "SELECT coalesce(sum(redone), 0) FROM chunk")
    return verdict


def _rows(connection: Any, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _audit_upload(
    connection: Any, upload: Expected, stored: list[tuple[Any, ...]], verdict: Verdict
) -> None:
    """Add to the verdict what one upload became: `stored` are the batches with its filename."""
    if not stored and upload.standing == ACKNOWLEDGED:
        missing = sum(row.kind == "email" for row in upload.rows())
        verdict.lost += missing
        verdict.faults.add(f"{upload.filename}: acknowledged, but gone with {missing} emails")
    if stored and upload.standing == BROKEN_OFF:
        verdict.faults.add(f"{upload.filename}: broken off, but stored as batch {stored[0][0]}")
    verdict.unknown_stored += bool(stored) and upload.standing == UNKNOWN
    for times, batch in enumerate(stored):
        surplus = times > 0 or upload.standing == BROKEN_OFF
        if times > 0:
            verdict.faults.add(f"batch {batch[0]}: its file {upload.filename} is stored already")
        counts: Counter[str] = Counter()
        expected = iter(()) if surplus else _counted(upload.rows(), counts)
        _audit_emails(connection, batch, expected, verdict)
        if not surplus and [counts[kind] for kind in ROWS] != list(batch[4:]):
            verdict.faults.add(
                f"batch {batch[0]}: its rows were counted as {batch[4:]}, not {dict(counts)}"
            )


def _counted(rows: Iterable[Row], counts: Counter[str]) -> Iterator[Row]:
    """The emails among the rows; all of them are counted by kind."""
    for row in rows:
        counts[row.kind] += 1
        if row.kind == "email":
            yield row


def _audit_emails(
    connection: Any, batch: tuple[Any, ...], expected: Iterator[Row], verdict: Verdict
) -> None:
    """Compare a batch's emails with the expected ones by their numbers, 1 to n; and its counts."""
    batch_id, filename, processed_count, failed_count = batch[:4]
    found = {row[0]: row[1:] for row in _rows(connection, _EMAILS, batch_id)}
    ended = sum(status != "pending" for _, _, status, _ in found.values())
    failed = sum(status == "failed" for _, _, status, _ in found.values())
    verdict.batches += 1
    verdict.emails += len(found)
    verdict.processed += ended
    verdict.failed += failed
    wrong = []
    for number, row in enumerate(expected, start=1):
        is_now = found.pop(number, None)
        if is_now != (row.address, row.line, row.status, row.reason):
            wrong.append((number, row, is_now))
    for number, row, is_now in islice(wrong, 3):
        due = (row.address, row.line, row.status, row.reason)
        verdict.faults.add(f"batch {batch_id} ({filename}) email {number}: {is_now}, not {due}")
    surplus = len(found)
    miscounted = max(0, processed_count - ended) + max(0, failed_count - failed)
    verdict.lost += len(wrong)
    verdict.doubled += surplus + miscounted
    if surplus or miscounted:
        verdict.faults.add(
            f"batch {batch_id} ({filename}): {surplus} emails too many,"
            f" {miscounted} too many counted"
        )
