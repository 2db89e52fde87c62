"""Reading how far batches are: their snapshots, and which of them are unfinished."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from batches.allowances import ALLOWED_NOW
from models import MAX_ID, Snapshot
from postgres.database import pool
from postgres.prepared import Prepared
from runtime.entries import ProcessorEntry


def _iso(time: str) -> str:
    """Return an expression for a time as models.iso() gives it."""
    return f"""to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


# The columns of a batch that make a Snapshot, in its order.
COLUMNS = f"""id, revision, status, processed_count, failed_count, total_emails, reasons, waiting,
  {_iso("next_at")}, CASE WHEN paused_at IS NOT NULL AND status IN ('pending', 'processing')
    THEN jsonb_build_object('by', paused_by, 'at', {_iso("paused_at")},
      'why', pause_reason, 'until', {_iso("resume_at")}) END, per_minute, processor"""
# The most unfinished batches that are looked at in one go; a later look finds the others.
MAX_UNFINISHED = 10_000
# A condition: the batch is one of the processor's. Its parameters are the processor's name, and
# whether batches that name none are for it.
OF_PROCESSOR = "coalesce(processor = %(of)s, %(of_unnamed)s)"
# The types of its parameters, for a Prepared.
TYPES_OF_PROCESSOR = {"of": "text", "of_unnamed": "boolean"}


def of_processor(entry: ProcessorEntry) -> dict[str, Any]:
    """Return the parameters of OF_PROCESSOR."""
    return {"of": entry.name, "of_unnamed": entry.takes_unnamed}


def present(batch_ids: Sequence[int]) -> list[Snapshot]:
    """Return the snapshots of the batches that exist among these, in any order."""
    rows = pool.execute_sql(
        f"SELECT {COLUMNS} FROM batch WHERE id = ANY(%s::bigint[]) AND deleted_at IS NULL",
        ([each for each in batch_ids if abs(each) <= MAX_ID],),
    )
    return [Snapshot(*row) for row in rows.fetchall()]


def newest_and_unfinished(newest: int, unfinished: int) -> list[Snapshot]:
    """Return the snapshots of the newest batches and of the oldest unfinished ones, by id.

    `newest` and `unfinished` are how many of each, at most.
    """
    rows = pool.execute_sql(
        f"SELECT {COLUMNS} FROM batch WHERE deleted_at IS NULL AND id = ANY("
        "  ARRAY(SELECT id FROM batch WHERE deleted_at IS NULL ORDER BY id DESC LIMIT %s)"
        "  || ARRAY(SELECT id FROM batch WHERE status IN ('pending', 'processing')"
        "    ORDER BY id LIMIT %s)) ORDER BY id",
        (newest, unfinished),
    )
    return [Snapshot(*row) for row in rows.fetchall()]


def unfinished_batches(
    processor: ProcessorEntry,
    *,
    after: int = 0,
    without: Iterable[int] = (),
    limit: int = MAX_UNFINISHED,
) -> list[int]:
    """Return the ids, ascending and above `after`, of batches that have emails to be processed now.

    Only batches of this processor. Emails that wait until later are left out, and batches that are
    paused, or whose rate allows no email at this moment, or whose ids are in `without`.
    """
    rows = pool.execute_sql(
        "SELECT id FROM batch WHERE status IN ('pending', 'processing')"
        f" AND id > %(after)s AND paused_at IS NULL AND {OF_PROCESSOR}"
        " AND (waiting < total_emails - processed_count OR next_at <= clock_timestamp())"
        f" AND {ALLOWED_NOW} AND NOT id = ANY(%(without)s::bigint[])"
        " ORDER BY id LIMIT %(limit)s",
        {**of_processor(processor), "after": after, "without": [*without], "limit": limit},
    )
    return [batch_id for (batch_id,) in rows.fetchall()]


class Given(NamedTuple):
    """What a processor is given for a batch, as the batch was stored.

    options: those that were chosen for it.
    others: the headers of the columns whose cells the processor doesn't get.
    gets_all: whether there are no other columns, with or without a header.
    """

    options: dict[str, Any]
    others: list[str]
    gets_all: bool


# Read for each batch that a worker's thread takes up.
_GIVEN = Prepared(
    {"batch_id": "bigint"} | TYPES_OF_PROCESSOR,
    given=f"""
SELECT options, columns, format->>'kind', format->'header', (format->>'columns')::int
FROM batch WHERE id = %(batch_id)s AND {OF_PROCESSOR}""",
)


def given(batch_id: int, entry: ProcessorEntry) -> Given | None:
    """Return what the processor is given for a batch; None if the entry has no such batch."""
    row = _GIVEN.fetch_one("given", {**of_processor(entry), "batch_id": batch_id})
    if row is None:
        return None
    options, columns, kind, header, width = row
    if kind in (None, "list", "vcard"):  # there are no columns
        return Given(options, [], gets_all=True)
    # A column whose header is `*` has another name (see tabular.columns.cell_names).
    known = {"", "*", *columns}
    others = [name.strip() for name in header or () if name.strip() not in known]
    return Given(options, others, gets_all=len(columns) >= width)
