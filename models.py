"""The tables, and what a batch's progress was at a time.

PostgreSQL is the truth about what is to be done and what is done. Each transition of a batch is one
function, in batches/changes.py or, if a turn makes it, in batches/claims.py, and guarded by the
state that it leaves, so that two callers can never both make it. What must always hold is written
into the tables as CHECK constraints; postgres/migrations/ makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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

    @classmethod
    def of(cls, batch: Batch) -> Snapshot:
        """The snapshot in a batch as it was read."""
        return cls(
            batch.id,
            batch.revision,
            batch.status,
            batch.processed_count,
            batch.failed_count,
            batch.total_emails,
            batch.reasons,
        )

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL or self.status == DELETED
