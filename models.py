"""The tables, and Snapshot: a batch's progress at one revision.

PostgreSQL is the truth about a batch. Each transition is one function, guarded by the state that it
leaves, so that two callers can never both make it: the transitions of a turn are in
batches/claims.py and batches/commits.py, the others in batches/changes.py and batches/finishing.py.
The CHECK constraints in postgres/migrations/ hold everything that must be true within one table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    IdentityField,
    IntegerField,
    Model,
    TextField,
)
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from postgres.copy_in import Insert
from postgres.database import pool

TERMINAL = ("completed", "failed", "cancelled")
STATUSES = ("pending", "processing", *TERMINAL)
# The status in a deleted batch's last snapshot. The table keeps the status that the batch ended in.
DELETED = "deleted"
# The kinds of actions that delete a batch.
DELETIONS = ("deleted", "expired")
# The kinds of all actions.
ACTIONS = ("retried", "cancelled", "paused", "resumed", "finished", "rate", *DELETIONS)
# PostgreSQL's largest bigint, and so the largest id of a batch.
MAX_ID = 2**63 - 1
# PostgreSQL's largest integer, and so the largest line number of a row.
MAX_LINE = 2**31 - 1


class Table(Model):
    """The base of all tables."""

    class Meta:
        database = pool
        legacy_table_names = False

    @classmethod
    def read(cls, rest: str, parameters: Any, **expressions: str) -> list[Self]:
        """Return rows of the table.

        Peewee would write the SELECT anew each time, which takes longer than all else: for a batch,
        0.3 of 0.4 ms.

        rest: the end of the SELECT, from WHERE on.
        parameters: those of `rest`.
        expressions: by name, what is read in place of the field, or beside all fields.
        """
        rows = pool.execute_sql(cls.select_text(rest, **expressions), parameters).fetchall()
        return [cls.of_row(row, *expressions) for row in rows]

    @classmethod
    def select_text(cls, rest: str, **expressions: str) -> str:
        """Return the SELECT that read() sends."""
        read = {name: name for name in cls._meta.fields} | expressions
        return f"SELECT {', '.join(read.values())} FROM {cls._meta.table_name} {rest}"

    @classmethod
    def of_row(cls, row: tuple[Any, ...], *expressions: str) -> Self:
        """Return a row of a select_text() with expressions of these names, in the same order."""
        names = dict.fromkeys((*cls._meta.fields, *expressions))
        return cls._of(dict(zip(names, row, strict=True)))

    def as_insert(self) -> Insert:
        """Return the INSERT of this row."""
        values = {
            name: field.db_value(self.__data__[name])
            for name, field in self._meta.fields.items()
            if name in self.__data__
        }
        return Insert(f"{self._meta.table_name} ({', '.join(values)})", [[*values.values()]])

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        found = cls(__no_default__=True)
        found.__data__ = values
        return found


class Batch(Table):
    """One uploaded file.

    `uploaded_by` is null where nobody signs in.
    `processed_count` counts all emails that have an outcome, `failed_count` the failed ones.
    `waiting` counts the pending emails that are to be processed again later, and `next_at` is when
    the first of them are.
    `paused_at` is set while the batch is paused, and left if it ends meanwhile: by `paused_by`, for
    `pause_reason` unless a person did it, and until `resume_at` unless a person must resume it.
    `per_minute` is its rate: the most emails that begin to be processed in a minute.
    `unsettled` says whether the batch was cancelled and emails of it may still have to be counted.
    `reasons` has the number of emails for each reason.
    `processor` is the name of the processor that the batch is for; null, as in batches older than
    the column, for the default one. `options` has what was chosen for the batch of its options.
    `columns` has the names of the columns whose cells the processor gets, and `answers` the names
    of the answers that it gave.
    `format` is a tabular.formats.Format, which says how the file is read; null for batches older
    than the column.
    `deleted_at` is set once the batch is gone for everybody and only its rows remain to be removed.
    """

    id = IdentityField()
    filename = TextField()
    uploaded_by = TextField(null=True)
    total_emails = IntegerField()
    processed_count = IntegerField(default=0)
    failed_count = IntegerField(default=0)
    waiting = IntegerField(default=0)
    next_at = DateTimeTZField(null=True)
    paused_at = DateTimeTZField(null=True)
    paused_by = TextField(null=True)
    pause_reason = TextField(null=True)
    resume_at = DateTimeTZField(null=True)
    per_minute = IntegerField(null=True)
    unsettled = BooleanField(default=False)
    status = TextField(default="pending")
    revision = BigIntegerField(default=1)
    reasons = BinaryJSONField(default=dict, index=False)
    error = TextField(null=True)
    total_rows = IntegerField()
    duplicate_rows = IntegerField()
    rows_without_address = IntegerField()
    blank_rows = IntegerField()
    further_addresses = IntegerField(default=0)
    rows_with_others = IntegerField(default=0)
    processor = TextField(null=True)
    options = BinaryJSONField(default=dict, index=False)
    columns = BinaryJSONField(default=list, index=False)
    answers = BinaryJSONField(default=list, index=False)
    format = BinaryJSONField(null=True, index=False)
    created_at = DateTimeTZField()
    started_at = DateTimeTZField(null=True)
    completed_at = DateTimeTZField(null=True)
    deleted_at = DateTimeTZField(null=True)

    @property
    def history(self) -> list[Action]:
        """The newest actions on it, newest first, if queries.find_batch() was asked for them."""
        rows = self.__data__["history"]
        return [Action._of(row | {"at": datetime.fromisoformat(row["at"])}) for row in rows]


class Chunk(Table):
    """Consecutive emails of one batch, first_id to last_id, which a worker thread claims together.

    `done` of its emails, counted from the first, need no more work.
    `reasons` has the number of emails for each reason.
    `attempts` counts the turns begun since the last commit; the newest began at `begun_at`.
    `redone` counts the turns begun before that commit and never committed.
    `due_at` is set while its pending emails wait to be processed again: no turn begins before it.
    `rounds` counts how often they were put off, first at `put_off_at`.
    `rounds_before` counts the rounds of its emails before they were requeued.
    `addresses` has the addresses, one a line, until the first turn is committed: reading one text
    is much quicker than reading the rows of the emails.
    `cells` has the cells that the processor gets of each email (see batches/cells.py), from the
    upload on; null if there are none, and in a chunk that was cut off from another one.
    """

    batch_id = BigIntegerField()
    first_id = IntegerField()
    last_id = IntegerField()
    done = IntegerField(default=0)
    reasons = BinaryJSONField(default=dict, index=False)
    attempts = IntegerField(default=0)
    redone = IntegerField(default=0)
    begun_at = DateTimeTZField(null=True)
    due_at = DateTimeTZField(null=True)
    rounds = IntegerField(default=0)
    put_off_at = DateTimeTZField(null=True)
    rounds_before = IntegerField(default=0)
    addresses = TextField(null=True)
    cells = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("batch_id", "first_id")


class Pace(Table):
    """How much of a rate has been given out to turns: that of a batch, or of a processor.

    The row of a batch has no processor, and that of a processor, with all its batches, no batch;
    they have '' and 0 instead.
    `paced_at` is the time up to which the emails that the rate allows have been given out; null
    before the first turn.
    """

    batch_id = BigIntegerField()
    processor = TextField()
    paced_at = DateTimeTZField(null=True)

    class Meta:
        primary_key = CompositeKey("batch_id", "processor")


class Email(Table):
    """One address of a batch; `id` is its number in the batch, `row_number` its line in the file.

    `later` is the reason for which a pending email waits to be processed again; it means nothing
    once the email has an outcome.
    `answers` has what the processor answered besides, by name; null if it answered nothing.

    A million rows are quick to store and to update in place (HOT) because there is no foreign key
    and no second index, and each page has free space.
    """

    batch_id = BigIntegerField()
    id = IntegerField()
    email = TextField()
    row_number = IntegerField()
    status = TextField()
    reason = TextField(null=True)
    created_at = DateTimeTZField()
    later = TextField(null=True)
    answers = BinaryJSONField(null=True, index=False)

    class Meta:
        primary_key = CompositeKey("batch_id", "id")


class FilePiece(Table):
    """A piece of a batch's file, compressed by itself. There is no foreign key, as for emails.

    number: the position of the piece in the file, from 0.
    """

    batch_id = BigIntegerField()
    number = IntegerField()
    content = BlobField()

    class Meta:
        primary_key = CompositeKey("batch_id", "number")


class SkippedRow(Table):
    """A row of a batch's file that became no email, or one of several addresses in a row.

    row_number: the line that the row begins on.
    part: the place of a duplicate in its row, from 0.
    kind: one of batches.kept_files.KINDS.
    first_row: the line where a duplicate's address came first.
    content: the duplicate's address, or the cells of a row without an address.
    """

    batch_id = BigIntegerField()
    row_number = IntegerField()
    part = IntegerField(default=0)
    kind = TextField()
    first_row = IntegerField(null=True)
    content = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("batch_id", "row_number", "part")


class Journal(Table):
    """What the turn that took a chunk over last handed out to a processor with `once`.

    `turn` is the number of the turn.
    `handed` and `done` are ids: in this `round`, the emails up to `handed` were handed out, and
    those up to `done` have outcomes.
    `others` has [id, …outcome] of each outcome that isn't `processed` without a reason.
    """

    batch_id = BigIntegerField()
    chunk = IntegerField()
    turn = BigIntegerField()
    round = IntegerField(default=0)
    handed = IntegerField(default=0)
    done = IntegerField(default=0)
    others = BinaryJSONField(default=list, index=False)

    class Meta:
        primary_key = CompositeKey("batch_id", "chunk")


class Action(Table):
    """An action on a batch after its upload.

    `user_name` is null where nobody signs in.
    `which` says which emails were retried: `failed`, `unknown` or a reason; or what the rate is
    now: a number of emails a minute, or `none`.
    `emails` is the number of emails retried.
    `why` is the reason for which a processor paused the batch.
    There is no foreign key, because the deletion of a batch is kept when the batch is gone.
    """

    batch_id = BigIntegerField()
    id = BigIntegerField()
    kind = TextField()
    user_name = TextField(null=True)
    which = TextField(null=True)
    emails = IntegerField(null=True)
    why = TextField(null=True)
    at = DateTimeTZField()

    class Meta:
        primary_key = CompositeKey("batch_id", "id")


def iso(value: datetime | None) -> str | None:
    """Return a time in ISO 8601 and UTC, with milliseconds; None for None."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pause_of(batch: Batch) -> dict[str, str | None] | None:
    """Return a Snapshot's `paused` for a batch as it was read."""
    if batch.paused_at is None or batch.status in TERMINAL:
        return None
    return {
        "by": batch.paused_by,
        "at": iso(batch.paused_at),
        "why": batch.pause_reason,
        "until": iso(batch.resume_at),
    }


@dataclass(frozen=True)
class Snapshot:
    """A batch's progress at one revision.

    `waiting` counts the emails that are to be processed again later, the first of them at
    `next_at`, in ISO 8601 and UTC.
    `paused` says who paused the batch, when, why, and until when: `by`, `at`, `why` and `until`,
    of which all but `at` may be None. It is None if the batch isn't paused.
    `per_minute` is the batch's rate, the most emails a minute; None without.
    `processor` is the name of the batch's processor; None for the default one.
    """

    batch_id: int
    revision: int
    status: str
    processed: int
    failed: int
    total: int
    reasons: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    next_at: str | None = None
    paused: dict[str, str | None] | None = None
    per_minute: int | None = None
    processor: str | None = None

    @classmethod
    def of(cls, batch: Batch) -> Snapshot:
        """Return the snapshot of a batch as it was read."""
        return cls(
            batch.id,
            batch.revision,
            batch.status,
            batch.processed_count,
            batch.failed_count,
            batch.total_emails,
            batch.reasons,
            batch.waiting,
            iso(batch.next_at),
            pause_of(batch),
            batch.per_minute,
            batch.processor,
        )

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL or self.status == DELETED
