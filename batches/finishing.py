"""Outcomes without a turn: of a batch that is finished, and of one that was cancelled.

Finishing a batch makes emails that wait to be processed again unknown at once. A turn that began on
them and died may have handed some out to a processor whose work must not be repeated. So the
journal is taken over first, as a turn does: these keep their outcomes or become `interrupted`, and
nothing more is handed out by a turn that was stopped and goes on.

When a batch is cancelled, the turns under way can't commit any more. So what they handed out to
such a processor is counted afterwards, by the sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batches import changes, commits, snapshots
from batches.changes import StateError
from batches.claims import Claim
from batches.journal import Journal
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, fetch_value, pool
from processors import Outcome

# A reason for emails that were put off by a worker of a version that doesn't note it.
_REASON = "dns_timeout"
# Takes the next chunk whose emails wait, as a turn does. One that is under way is left out.
_TAKE = """
UPDATE chunk SET attempts = attempts + 1
WHERE batch_id = %(batch_id)s AND first_id = (
  SELECT first_id FROM chunk
  WHERE batch_id = %(batch_id)s AND due_at IS NOT NULL AND done <= last_id - first_id
  ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
_TAKEN = "RETURNING batch_id, first_id, last_id, reasons, rounds, rounds_before, nextval('turn')"


def finish(
    batch_id: int, on_chunk: Callable[[Snapshot], object], by: str | None = None
) -> tuple[int, Snapshot] | None:
    """End the wait of the batch's emails, and return their number and the batch's snapshot.

    Each comes out with the reason for which it waits, and so as unknown, or as a turn that died
    left it in the journal. Those that are processed at this moment, because their time has come,
    are left out. Calls `on_chunk` after each chunk.
    Returns None if there is no such batch. Raises StateError if the batch has ended.
    """
    found = snapshots.present([batch_id])
    if not found:
        return None
    present = found[0]
    if present.terminal:
        raise StateError(f"Batch {batch_id} is {present.status}, so that no email of it waits.")
    count = 0
    while (taken := _finish_chunk(batch_id)) is not None:
        number, present = taken
        count += number
        on_chunk(present)
    found = snapshots.present([batch_id])  # somebody may have cancelled it meanwhile
    if count:
        with pool.atomic():
            changes.add_action(batch_id, "finished", by)
    return count, found[0] if found else present


def _finish_chunk(batch_id: int) -> tuple[int, Snapshot] | None:
    """Give the emails of one chunk their outcomes; return None if no chunk is left."""
    with database.own_transactions():
        row = fetch_one(f"{database.begin()}{_TAKE}{_TAKEN}", {"batch_id": batch_id})
        if row is None:
            return None
        claim, reasons = _claim(*row, waited=True)
        findings = Journal(claim).take_over()
        if findings is None:
            return None
        for reason in reasons[findings.count :]:
            findings.add(Outcome("processed", reason))
        snapshot = commits.commit_outcomes(claim, findings.settled(claim.rounds + 1, over=True))
        return None if snapshot is None else (len(claim.ids), snapshot)


def _claim(
    batch_id: int, first_id: int, last_id: int, *state: Any, waited: bool
) -> tuple[Claim, list[str]]:
    """Return a claim of the chunk, and the reason for which each pending email of it waits."""
    reasons, rounds, rounds_before, turn = state
    emails = pool.execute_sql(
        "SELECT id, coalesce(later, %s) FROM email"
        " WHERE batch_id = %s AND id BETWEEN %s AND %s AND status = 'pending' ORDER BY id",
        (_REASON, batch_id, first_id, last_id),
    ).fetchall()
    claim = Claim(
        batch_id,
        first_id,
        last_id,
        lost=0,
        more=False,
        started=None,
        pending=len(emails),
        ids=[number for number, _ in emails],
        text=None,
        listed=[],
        limit=None,
        reasons=reasons,
        suspect=False,
        rounds=rounds,
        put_off=None,
        waited=waited,
        rounds_before=rounds_before,
        turn=turn,
    )
    return claim, [later for _, later in emails]


# Chunks of which emails were handed out in the present round, and aren't counted.
_UNCOUNTED = """
SELECT first_id FROM chunk JOIN journal ON (journal.batch_id, chunk) = (chunk.batch_id, first_id)
WHERE chunk.batch_id = %(batch_id)s AND round = rounds_before + rounds + 1 AND EXISTS (
  SELECT FROM email WHERE email.batch_id = chunk.batch_id
  AND email.id BETWEEN first_id AND handed AND status = 'pending')"""
_TAKE_UNCOUNTED = f"""
UPDATE chunk SET attempts = attempts + 1
WHERE batch_id = %(batch_id)s AND first_id = (
  {_UNCOUNTED} ORDER BY first_id LIMIT 1 FOR UPDATE OF chunk SKIP LOCKED)
"""
# Whether a turn is under way on the batch.
_UNDER_WAY = """
WITH begun AS (SELECT FROM chunk WHERE batch_id = %(batch_id)s AND attempts > 0),
  free AS (SELECT FROM chunk WHERE batch_id = %(batch_id)s AND attempts > 0
    FOR KEY SHARE SKIP LOCKED)
SELECT (SELECT count(*) FROM begun) > (SELECT count(*) FROM free)
"""
_SETTLED = f"""
UPDATE batch SET unsettled = false WHERE id = %(batch_id)s AND NOT EXISTS ({_UNCOUNTED})
"""


def unsettled() -> list[int]:
    """Return the ids of cancelled batches of which emails may still have to be counted.

    Deleted ones are left out, because their rows are being removed.
    """
    rows = pool.execute_sql(
        "SELECT id FROM batch WHERE unsettled AND deleted_at IS NULL LIMIT 100"
    ).fetchall()
    return [batch_id for (batch_id,) in rows]


def settle(batch_id: int) -> Snapshot | None:
    """Count what had been handed out when the batch was cancelled; return None if nothing had.

    Emails that turns handed out to a processor whose work must not be repeated keep their outcomes,
    or become `interrupted`. The batch is settled once no turn is under way any more.
    """
    under_way = fetch_value(_UNDER_WAY, {"batch_id": batch_id})
    last = None
    while (snapshot := _settle_chunk(batch_id)) is not None:
        last = snapshot
    if not under_way:
        pool.execute_sql(_SETTLED, {"batch_id": batch_id})
    return last


def _settle_chunk(batch_id: int) -> Snapshot | None:
    """Count the emails of one chunk, and return the batch's snapshot; None if none can be."""
    with database.own_transactions():
        row = fetch_one(f"{database.begin()}{_TAKE_UNCOUNTED}{_TAKEN}", {"batch_id": batch_id})
        if row is None:
            return None
        claim, _ = _claim(*row, waited=False)
        findings = Journal(claim).take_over()
        if findings is None:
            return None
        found = findings.settled(claim.rounds + 1, over=True)
        return commits.commit_outcomes(claim, found, "cancelled")
