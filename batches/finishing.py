"""Finishing a batch: emails that wait to be processed again become unknown at once.

A turn that began on them and died may have handed some out to a processor whose work must not be
repeated. So the journal is taken over first, as a turn does: these keep their outcomes or become
`interrupted`, and nothing more is handed out by a turn that was stopped and goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from batches import changes, commits, snapshots
from batches.changes import StateError
from batches.claims import Claim
from batches.journal import Journal
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, pool
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
RETURNING first_id, last_id, reasons, rounds, rounds_before, nextval('turn')
"""


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
        row = fetch_one(f"{database.begin()}{_TAKE}", {"batch_id": batch_id})
        if row is None:
            return None
        first_id, last_id, reasons, rounds, rounds_before, turn = row
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
            waited=True,
            rounds_before=rounds_before,
            turn=turn,
        )
        findings = Journal(claim, fetch_one).take_over()
        if findings is None:
            return None
        for _, later in emails[findings.count :]:
            findings.add(Outcome("processed", later))
        snapshot = commits.commit_outcomes(claim, findings.settled(rounds + 1, over=True))
        return None if snapshot is None else (len(emails), snapshot)
