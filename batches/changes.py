"""Transitions made by people: pause, resume, cancel or delete a batch, set its rate, retry emails.

Each is one transaction that locks the batch, checks that its status allows the transition, and
adds an Action with the user's name. The pause that a processor wants is part of its turn's instead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from batches import snapshots
from models import DELETED, TERMINAL, Snapshot
from postgres import database
from postgres.database import fetch_one, fetch_value, pool
from processors.reasons import bounded


class StateError(Exception):
    """The batch's status doesn't allow the transition; the message says what to do."""


def _lock(batch_id: int) -> str | None:
    """Return the batch's status, and lock the batch until this transaction ends.

    Returns None if there is no such batch.
    """
    status: str | None = fetch_value(
        "SELECT status FROM batch WHERE id = %s AND deleted_at IS NULL FOR UPDATE", (batch_id,)
    )
    return status


def add_action(
    batch_id: int,
    kind: str,
    by: str | None,
    *,
    which: str | None = None,
    emails: int | None = None,
    why: str | None = None,
) -> None:
    """Add an Action to the batch's history."""
    pool.execute_sql(
        # A turn that is stopped began up to minutes ago, and so did its transaction.
        "INSERT INTO action (batch_id, kind, user_name, which, emails, why, at)"
        " VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp())",
        (batch_id, kind, by, which, emails, why),
    )


def _update(batch_id: int, assignments: str, *values: object) -> Snapshot:
    (row,) = pool.execute_sql(
        f"UPDATE batch SET {assignments}, revision = revision + 1 WHERE id = %s"
        f" RETURNING {snapshots.COLUMNS}",
        (*values, batch_id),
    ).fetchall()
    return Snapshot(*row)


# Assignments to a batch that isn't paused any more.
_NOT_PAUSED = "paused_at = NULL, paused_by = NULL, pause_reason = NULL, resume_at = NULL"


# Seconds that a pause waits for the turns under way. Usually they end after [worker] turn_seconds.
TURNS_SECONDS = 2.0


def pause(batch_id: int, by: str | None = None) -> Snapshot | None:
    """Pause the batch until somebody resumes it: no turn begins; those under way are counted.

    Returns when these have ended, or after TURNS_SECONDS, because a slow email may take minutes.
    Changes nothing if it is already paused so; a pause until a time becomes one without. Returns
    None if there is no such batch. Raises StateError if it has ended.
    """
    with pool.atomic():
        present = _lock_unfinished(batch_id, "paused")
        if present is None:
            return None
        if not present.paused or present.paused["until"] is not None:
            add_action(batch_id, "paused", by)
            _update(
                batch_id,
                "paused_at = clock_timestamp(), paused_by = %s, pause_reason = NULL,"
                " resume_at = NULL",
                by,
            )
    _await_turns(batch_id)
    return next(iter(snapshots.present([batch_id])), None)


def _await_turns(batch_id: int) -> None:
    """Wait until no turn has a chunk of the batch any more, or for TURNS_SECONDS."""
    try:
        with database.limited(TURNS_SECONDS):
            pool.execute_sql(
                "SELECT FROM chunk WHERE batch_id = %s AND attempts > 0"
                " ORDER BY first_id FOR KEY SHARE",
                (batch_id,),
            )
    except database.UNREACHABLE as error:
        if not database.is_limit(error):
            raise


def stop(batch_id: int, reason: str, seconds: float | None, ended: int) -> bool:
    """Pause the batch for a processor that can't go on, and return whether that was to be done.

    This is part of the open transaction of a turn, which gives `ended` emails their outcomes. An
    earlier pause stays as it is, whoever wanted it, and so does a batch that has ended or ends with
    this turn. Unless `seconds` is None, the batch goes on after it.
    """
    paused = fetch_one(
        "UPDATE batch SET paused_at = clock_timestamp(), pause_reason = %s,"
        " resume_at = clock_timestamp() + make_interval(secs => %s), revision = revision + 1"
        " WHERE id = %s AND status = 'processing' AND paused_at IS NULL"
        " AND processed_count + %s < total_emails RETURNING id",
        (reason, seconds, batch_id, ended),
    )
    if paused is None:
        return False
    add_action(batch_id, "paused", None, why=reason)
    return True


def resume(batch_id: int, by: str | None = None) -> Snapshot | None:
    """Resume a paused batch; change nothing if it isn't paused.

    Returns None if there is no such batch. Raises StateError if it has ended.
    """
    with pool.atomic():
        present = _lock_unfinished(batch_id, "resumed")
        if present is None or present.paused is None:
            return present
        add_action(batch_id, "resumed", by)
        return _update(batch_id, _NOT_PAUSED)


def set_rate(batch_id: int, by: str | None, per_minute: int | None) -> Snapshot | None:
    """Let at most so many emails of the batch a minute begin to be processed; None for no rate.

    Changes nothing if that is its rate already. Returns None if there is no such batch. Raises
    StateError if it has ended.
    """
    with pool.atomic():
        present = _lock_unfinished(batch_id, "given a rate")
        if present is None or present.per_minute == per_minute:
            return present
        add_action(batch_id, "rate", by, which=str(per_minute or "none"))
        return _update(batch_id, "per_minute = %s", per_minute)


# Why batches of a restored backup are paused, and the statement that does it. It has no parameters,
# because psql runs it, in the transaction that restores them.
RESTORED = (
    "Emails processed since the restored backup was made would be processed again. Resume if that"
    " is fine."
)


def pause_restored(condition: str) -> str:
    """Return a statement that pauses the unfinished batches that meet a condition."""
    return f"""
UPDATE batch SET paused_at = clock_timestamp(), paused_by = NULL, pause_reason = '{RESTORED}',
  resume_at = NULL, revision = revision + 1
WHERE status IN ('pending', 'processing') AND deleted_at IS NULL
  AND (paused_at IS NULL OR resume_at IS NOT NULL) AND {condition};
"""


def _lock_unfinished(batch_id: int, change: str) -> Snapshot | None:
    """Return the batch's snapshot, and lock the batch until this transaction ends.

    Returns None if there is no such batch. Raises StateError if it has ended and so can't be
    changed.
    """
    status = _lock(batch_id)
    if status is None:
        return None
    if status in TERMINAL:
        raise StateError(f"Batch {batch_id} is {status} and can't be {change} any more.")
    return snapshots.present([batch_id])[0]


def paused_by_restore() -> list[int]:
    """Return the ids of the unfinished batches that are paused because they were restored."""
    rows = pool.execute_sql(
        "SELECT id FROM batch WHERE pause_reason = %s AND deleted_at IS NULL"
        " AND status IN ('pending', 'processing') ORDER BY id",
        (RESTORED,),
    ).fetchall()
    return [batch_id for (batch_id,) in rows]


def resume_due() -> list[Snapshot]:
    """Resume the batches whose time has come, and return their snapshots."""
    with pool.atomic():
        rows = pool.execute_sql(
            f"UPDATE batch SET {_NOT_PAUSED}, revision = revision + 1"
            " WHERE resume_at <= clock_timestamp() AND status IN ('pending', 'processing')"
            f" RETURNING {snapshots.COLUMNS}"
        ).fetchall()
        resumed = [Snapshot(*row) for row in rows]
        for snapshot in resumed:
            add_action(snapshot.batch_id, "resumed", None)
    return resumed


def cancel(batch_id: int, by: str | None = None) -> Snapshot | None:
    """Cancel the batch; emails counted so far stay counted, turns under way are not counted.

    Of work that must not be repeated, what was handed out is counted later: see finishing.settle().
    Changes nothing if the batch is cancelled already. Returns None if there is no such batch.
    Raises StateError if it has ended otherwise.
    """
    with pool.atomic():
        status = _lock(batch_id)
        if status is None:
            return None
        if status in ("pending", "processing"):
            add_action(batch_id, "cancelled", by)
            return _update(
                batch_id,
                "status = 'cancelled', completed_at = clock_timestamp(), unsettled = true,"
                f" waiting = 0, next_at = NULL, {_NOT_PAUSED}",
            )
        if status != "cancelled":
            raise StateError(f"Batch {batch_id} is {status} and can't be cancelled any more.")
        return snapshots.present([batch_id])[0]


def retry(
    batch_id: int,
    which: str,
    reasons: Sequence[str],
    on_chunk: Callable[[], object],
    by: str | None = None,
) -> tuple[int, Snapshot] | None:
    """Requeue emails of a completed batch, and return their number and the batch's snapshot.

    Requeues the failed emails if `which` is "failed", otherwise those with one of the `reasons`.
    Changes nothing if there are none. Calls `on_chunk` before each chunk; a million emails take
    seconds. Returns None if there is no such batch. Raises StateError unless it is completed.
    """
    chosen = "status = 'failed'" if which == "failed" else "reason = ANY(%(reasons)s)"
    parameters = {"batch_id": batch_id, "reasons": list(reasons)}
    with pool.atomic():
        status = _lock(batch_id)
        if status is None:
            return None
        if status != "completed":
            hint = "Wait until it is completed." if status != "cancelled" else "Upload it again."
            raise StateError(f"Batch {batch_id} is {status}, so nothing is requeued. {hint}")
        count = failed = 0
        for first_id, last_id in pool.execute_sql(_CHUNKS_WITH_REASONS, parameters).fetchall():
            on_chunk()
            row = fetch_one(
                _REQUEUE.format(chosen=chosen), {**parameters, "first": first_id, "last": last_id}
            )
            if row is not None:
                count, failed = count + row[0], failed + row[1]
        if not count:
            return 0, snapshots.present([batch_id])[0]
        add_action(batch_id, "retried", by, which=which, emails=count)
        rest = Counter(fetch_value(_SUM_OF_CHUNKS, parameters))
        return count, _update(
            batch_id,
            "status = 'pending', started_at = NULL, completed_at = NULL,"
            " processed_count = processed_count - %s, failed_count = failed_count - %s,"
            # Not 0 if workers of the version before, which don't count it, completed the batch.
            f" waiting = 0, next_at = NULL, {_NOT_PAUSED}, reasons = %s",
            count,
            failed,
            json.dumps(bounded(rest)),
        )


_CHUNKS_WITH_REASONS = """
SELECT first_id, last_id FROM chunk WHERE batch_id = %(batch_id)s AND reasons <> '{}'
ORDER BY first_id
"""
# Requeues the chosen emails of one chunk. A new batch has no statistics, and a chunk's range of the
# primary key needs none.
_REQUEUE = """
WITH range AS (
  SELECT id, status, reason, ({chosen}) AS chosen FROM email
  WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s AND reason IS NOT NULL
), again AS (
  UPDATE email SET status = 'pending', reason = NULL, answers = NULL
  WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s AND {chosen}
), rest AS (
  SELECT reason, count(*) AS number FROM range WHERE NOT chosen GROUP BY reason
), counts AS (
  SELECT count(*) AS number, count(*) FILTER (WHERE status = 'failed') AS failed
  FROM range WHERE chosen
)
UPDATE chunk SET done = 0, redone = redone + attempts, attempts = 0, addresses = NULL,
  due_at = NULL, rounds_before = rounds_before + rounds + 1, rounds = 0, put_off_at = NULL,
  reasons = (SELECT coalesce(jsonb_object_agg(reason, number), '{{}}') FROM rest)
FROM counts WHERE batch_id = %(batch_id)s AND first_id = %(first)s AND counts.number > 0
RETURNING counts.number, counts.failed
"""
_SUM_OF_CHUNKS = """
SELECT jsonb_object_agg(code, number) FROM (
  SELECT each.key AS code, sum(each.value::int) AS number
  FROM chunk, jsonb_each_text(chunk.reasons) AS each WHERE batch_id = %(batch_id)s GROUP BY 1
) AS sums
"""


def delete(batch_id: int, by: str | None = None, *, expired: bool = False) -> Snapshot | None:
    """Mark the batch as deleted, and return its last snapshot, with the status `deleted`.

    The batch is gone for everybody then; removal.py removes its rows. If it is `expired`, the
    action has no user. Returns None if there is no such batch. Raises StateError unless the batch
    has ended.
    """
    with pool.atomic():
        status = _lock(batch_id)
        if status is None:
            return None
        if status not in TERMINAL:
            raise StateError(f"Batch {batch_id} is {status}. Cancel it first, then delete it.")
        add_action(batch_id, "expired" if expired else "deleted", by)
        return replace(_update(batch_id, "deleted_at = now()"), status=DELETED)
