"""The tables, and what a batch's progress was at a time.

PostgreSQL is the truth about what is to be done and what is done. Each transition of a batch is one
function, in batches/changes.py or, if a turn makes it, in batches/claims.py, and guarded by the
state that it leaves, so that two callers can never both make it. What must always hold is written
into the tables as CHECK constraints; postgres/migrations/ makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peewee import (
    BigIntegerField,
    CompositeKey,
    IdentityField,
    IntegerField,
    Model,
    TextField,
)
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from postgres.database import pool
from processors.reasons import OTHER_REASONS

TERMINAL = ("completed", "failed", "cancelled")
STATUSES = ("pending", "processing", *TERMINAL)
# The status in a deleted batch's last snapshot; in the table it keeps the one that it ended with.
DELETED = "deleted"
# What says of a batch that it is gone.
DELETIONS = ("deleted", "expired")
# PostgreSQL's largest bigint; no batch's id is beyond it.
MAX_ID = 2**63 - 1
# And its largest integer: no row of a file has a line beyond it.
MAX_LINE = 2**31 - 1
# Unfinished batches that are looked at, at once; the others' turn comes later.
MAX_SWEPT = 10_000
# Different reasons that a batch counts by themselves; the rest count as OTHER_REASONS. A
# processor of somebody's own may invent any number, and they are part of every message.
MAX_REASONS = 100


class Table(Model):
    """A table of ours."""

    class Meta:
        database = pool
        legacy_table_names = False


class Batch(Table):
    """One uploaded file. `processed_count` counts emails finished either way.

    `reasons` adds up the outcomes that have a reason, by reason. A batch with `deleted_at` set is
    gone for everybody, and only its rows are still being removed.
    """

    id = IdentityField()
    filename = TextField()
    # Who uploaded it; null where nobody has to sign in.
    uploaded_by = TextField(null=True)
    total_emails = IntegerField()
    processed_count = IntegerField(default=0)
    failed_count = IntegerField(default=0)
    status = TextField(default="pending")
    revision = BigIntegerField(default=1)
    reasons = BinaryJSONField(default=dict, index=False)
    error = TextField(null=True)
    total_rows = IntegerField()
    duplicate_rows = IntegerField()
    rows_without_address = IntegerField()
    blank_rows = IntegerField()
    # How the file is read, a formats.Format; null for a batch from before that was kept.
    format = BinaryJSONField(null=True, index=False)
    created_at = DateTimeTZField()
    started_at = DateTimeTZField(null=True)
    completed_at = DateTimeTZField(null=True)
    deleted_at = DateTimeTZField(null=True)


class Chunk(Table):
    """A run of emails of one batch, first_id to last_id, that a worker thread claims as a whole.

    `done` of its emails, counted from the first, need no more work. `reasons` adds up the
    outcomes that have a reason, by reason. `attempts` counts the turns begun since the last that
    was committed, the newest at `begun_at`, and `redone` those before it that never were.
    `addresses` has those of the emails, one a line, until the outcomes of the first turn are
    stored: to read one text is much quicker than to read the emails.
    """

    batch_id = BigIntegerField()
    first_id = IntegerField()
    last_id = IntegerField()
    done = IntegerField(default=0)
    reasons = BinaryJSONField(default=dict, index=False)
    attempts = IntegerField(default=0)
    redone = IntegerField(default=0)
    begun_at = DateTimeTZField(null=True)
    addresses = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("batch_id", "first_id")


class Email(Table):
    """One address of a batch; `id` is its number in the batch, `row_number` its line in the file.

    There is no foreign key and no second index, and room is left on each page, because that is
    what makes a million of them quick to store and to update in place (HOT).
    """

    batch_id = BigIntegerField()
    id = IntegerField()
    email = TextField()
    row_number = IntegerField()
    status = TextField()
    reason = TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        primary_key = CompositeKey("batch_id", "id")


class Action(Table):
    """What somebody did to a batch after it was uploaded, and who; null where nobody signs in.

    `which` emails were retried, and how many. There is no foreign key: that a batch was deleted is
    kept when the batch is gone.
    """

    batch_id = BigIntegerField()
    id = BigIntegerField()
    kind = TextField()
    user_name = TextField(null=True)
    which = TextField(null=True)
    emails = IntegerField(null=True)
    at = DateTimeTZField()

    class Meta:
        primary_key = CompositeKey("batch_id", "id")


@dataclass(frozen=True)
class Snapshot:
    """What a batch's progress was at one revision."""

    batch_id: int
    revision: int
    status: str
    processed: int
    failed: int
    total: int
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL or self.status == DELETED


SNAPSHOT = "id, revision, status, processed_count, failed_count, total_emails, reasons"


def bounded(reasons: Counter[str]) -> dict[str, int]:
    """The sums by reason, beyond MAX_REASONS the rarest under OTHER_REASONS."""
    kept = dict(reasons.most_common(MAX_REASONS))
    rest = reasons.total() - sum(kept.values())
    if rest:
        kept[OTHER_REASONS] = kept.get(OTHER_REASONS, 0) + rest
    return kept


def snapshot_from(row: Sequence[Any] | None) -> Snapshot | None:
    return Snapshot(*row) if row else None


def fetch_one(sql: str, parameters: Sequence[Any] | dict[str, Any]) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = pool.execute_sql(sql, parameters).fetchone()
    return row


def reserve_batch_id() -> int:
    """The id of a batch to be stored, needed before its emails are copied."""
    cursor = pool.execute_sql("SELECT nextval(pg_get_serial_sequence('batch', 'id'))")
    return int(cursor.fetchone()[0])


def unfinished_batches(*, after: int = 0, limit: int = MAX_SWEPT) -> list[int]:
    """Ids, ascending and greater than `after`, of batches that have emails to be processed."""
    query = (
        Batch.select(Batch.id)
        .where(Batch.status.in_(("pending", "processing")), Batch.id > after)
        .order_by(Batch.id)
        .limit(limit)
    )
    return [batch_id for (batch_id,) in query.tuples().execute()]


def snapshots(batch_ids: Sequence[int]) -> list[Snapshot]:
    """The present snapshots of those of the batches that exist, in no order."""
    rows = pool.execute_sql(
        f"SELECT {SNAPSHOT} FROM batch WHERE id = ANY(%s::bigint[]) AND deleted_at IS NULL",
        (list(batch_ids),),
    )
    return [Snapshot(*row) for row in rows.fetchall()]


def present_snapshots(newest: int, unfinished: int) -> list[Snapshot]:
    """Those of the newest so many batches and of the oldest so many unfinished ones, by id."""
    rows = pool.execute_sql(
        f"SELECT {SNAPSHOT} FROM batch WHERE deleted_at IS NULL AND id = ANY("
        "  ARRAY(SELECT id FROM batch WHERE deleted_at IS NULL ORDER BY id DESC LIMIT %s)"
        "  || ARRAY(SELECT id FROM batch WHERE status IN ('pending', 'processing')"
        "    ORDER BY id LIMIT %s)) ORDER BY id",
        (newest, unfinished),
    )
    return [Snapshot(*row) for row in rows.fetchall()]


def snapshot_of(batch: Batch) -> Snapshot:
    """The snapshot in a batch as it was read."""
    return Snapshot(
        batch.id,
        batch.revision,
        batch.status,
        batch.processed_count,
        batch.failed_count,
        batch.total_emails,
        batch.reasons,
    )
