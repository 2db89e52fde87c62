"""What a turn does to the database: begin, claim a chunk, store the outcomes.

Each is one statement, or one transaction, guarded by the state that it leaves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from database import pool
from models import MAX_REASONS, SNAPSHOT, Snapshot, bounded, fetch_one, snapshot_from
from processors.reasons import OTHER_REASONS

# Seconds that a turn may take from its beginning to its claim; normally about a thousandth.
CLAIM_SECONDS = 0.2


@dataclass(frozen=True)
class Turn:
    """A turn that has begun, on the chunk from `first_id` on, and is known to have begun.

    `lost` counts the turns on this chunk that had begun before it and were never committed, and
    `more` says whether the batch has further unfinished chunks, maybe claimed by others. `started`
    is the batch's snapshot if it left `pending` with this turn.
    """

    batch_id: int
    first_id: int
    lost: int
    more: bool
    started: Snapshot | None


@dataclass(frozen=True)
class Claim:
    """A chunk that this transaction holds, with its emails still to be processed.

    These are `addresses`, each with its id in `ids`. `suspect` says whether emails of the batch
    have got a reason that the claimer asked about.
    """

    batch_id: int
    first_id: int
    last_id: int
    reasons: dict[str, int]
    suspect: bool
    ids: Sequence[int]
    addresses: list[str]


@dataclass
class Outcomes:
    """What a turn found: how many emails, up to which id, and those that carry a reason.

    `marked` holds (id, status, reason); every other email up to `last_id` was processed without
    one.
    """

    last_id: int
    count: int = 0
    marked: list[tuple[int, str, str]] = field(default_factory=list)


# The batch's sums by reason with those of a turn added, within MAX_REASONS.
_SUM_OF_REASONS = f"""(
  SELECT jsonb_object_agg(code, number) FROM (
    SELECT CASE WHEN batch.reasons ? key OR known < {MAX_REASONS} THEN key
      ELSE '{OTHER_REASONS}' END AS code, sum(value::int) AS number
    FROM (
      SELECT * FROM jsonb_each_text(batch.reasons)
      UNION ALL SELECT * FROM jsonb_each_text(%(found)s::jsonb)
    ) AS parts, (SELECT count(*) AS known FROM jsonb_object_keys(batch.reasons)) AS keys
    GROUP BY code
  ) AS sums
)"""


class CountError(Exception):
    """The rows that a turn updated are not the emails that it claimed; the turn is rolled back."""


def begin_turn(batch_id: int) -> Turn | None:
    """Note that a turn begins on the batch's first unfinished chunk that nobody holds.

    A pending batch becomes `processing` with that. None if there is no such chunk or batch. This
    is a transaction of its own, so that it is known of a turn that it was begun though whoever
    began it is dead. It doesn't wait for the disk: nothing depends on it, and it goes there
    before anything that comes after it. Nobody holds the chunk between this and its claim, so
    that for CLAIM_SECONDS it is nobody else's to begin a turn on.
    """
    row = fetch_one(
        "SELECT set_config('synchronous_commit', 'off', true);"
        "WITH next AS ("
        "  SELECT c.first_id FROM chunk AS c JOIN batch AS b ON b.id = c.batch_id"
        "  WHERE c.batch_id = %(batch_id)s AND b.status IN ('pending', 'processing')"
        "  AND c.done <= c.last_id - c.first_id"
        # A time that is yet to come was written before somebody set the clock back.
        "  AND (c.attempts > 0 AND c.begun_at BETWEEN clock_timestamp()"
        "    - make_interval(secs => %(claiming)s) AND clock_timestamp()) IS NOT TRUE"
        "  ORDER BY c.first_id LIMIT 1 FOR UPDATE OF c SKIP LOCKED"
        # Only who has a chunk starts the batch, and so is there to tell of it.
        "), started AS ("
        "  UPDATE batch SET status = 'processing', started_at = now(), revision = revision + 1"
        "  WHERE id = %(batch_id)s AND status = 'pending' AND EXISTS (SELECT FROM next)"
        f" RETURNING {SNAPSHOT}"
        ") UPDATE chunk SET attempts = attempts + 1, begun_at = clock_timestamp()"
        " FROM next LEFT JOIN started ON true"
        " WHERE chunk.batch_id = %(batch_id)s AND chunk.first_id = next.first_id"
        " RETURNING chunk.first_id, attempts - 1 + redone, EXISTS (SELECT FROM chunk AS o"
        "  WHERE o.batch_id = chunk.batch_id AND o.first_id > chunk.first_id"
        "  AND o.done <= o.last_id - o.first_id), started.*",
        {"batch_id": batch_id, "claiming": CLAIM_SECONDS},
    )
    if row is None:
        return None
    first_id, lost, more, *started = row
    return Turn(batch_id, first_id, lost, more, snapshot_from(started) if started[0] else None)


def claim_chunk(turn: Turn, suspicious: Sequence[str], idle_seconds: float) -> Claim | None:
    """Lock the turn's chunk until this transaction ends; None if somebody else was quicker.

    Emails with a `suspicious` reason make their batch suspect. When the transaction waits for its
    owner for longer than `idle_seconds`, PostgreSQL ends it. Its commit doesn't wait for the disk:
    database.flush() is to do so, before anything is told of it.
    """
    row = fetch_one(
        "SELECT set_config('idle_in_transaction_session_timeout', %(idle)s, true),"
        " set_config('synchronous_commit', 'off', true);"
        "SELECT c.last_id, c.done, c.reasons, c.addresses, EXISTS (SELECT FROM chunk AS o"
        "  WHERE o.batch_id = c.batch_id AND o.reasons ?| %(suspicious)s)"
        " FROM chunk AS c JOIN batch AS b ON b.id = c.batch_id"
        " WHERE c.batch_id = %(batch_id)s AND c.first_id = %(first_id)s"
        " AND b.status = 'processing' AND c.done <= c.last_id - c.first_id"
        " FOR UPDATE OF c SKIP LOCKED",
        {
            "suspicious": list(suspicious),
            "idle": f"{idle_seconds * 1000:.0f}ms",
            "batch_id": turn.batch_id,
            "first_id": turn.first_id,
        },
    )
    if row is None:
        return None
    last_id, done, reasons, text, suspect = row
    ids: Sequence[int]
    if text is not None and done == 0:
        ids, addresses = range(turn.first_id, last_id + 1), text.split("\n")
    else:
        ids, addresses = _pending(turn.batch_id, turn.first_id + done, last_id)
    return Claim(turn.batch_id, turn.first_id, last_id, reasons, suspect, ids, addresses)


def _pending(batch_id: int, first_id: int, last_id: int) -> tuple[list[int], list[str]]:
    """The ids and the addresses of the emails in this range that are still to be processed."""
    rows = pool.execute_sql(
        "SELECT id, email FROM email"
        " WHERE batch_id = %s AND id BETWEEN %s AND %s AND status = 'pending' ORDER BY id",
        (batch_id, first_id, last_id),
    ).fetchall()
    return [email_id for email_id, _ in rows], [address for _, address in rows]


def _update_emails(claim: Claim, outcomes: Outcomes) -> int:
    """Write the outcomes of a turn's emails, and return how many rows that changed.

    One pass over the range whatever the outcomes are. To join the range with a list of the marked
    emails would be the obvious way, but a new batch has no statistics, the planner takes it for a
    single row, and compares each of the one with each of the other.
    """
    # What emails may have become, the first nothing special; and each email's place among them.
    kinds: dict[tuple[str, str | None], int] = {("processed", None): 0}
    places = [0] * (outcomes.last_id - claim.first_id + 1)
    for email_id, status, reason in outcomes.marked:
        places[email_id - claim.first_id] = kinds.setdefault((status, reason), len(kinds))
    if len(kinds) == 1:
        become = "status = 'processed'"
    else:
        # Bytes are what PostgreSQL reads fastest; of a literal '{0,0,…}' it must parse each number.
        place = "get_byte(%(places)s, id - %(first)s) + 1"
        if len(kinds) > 256:
            place = "(%(places)s::int[])[id - %(first)s + 1] + 1"
        become = (
            f"status = (%(statuses)s::text[])[{place}], reason = (%(reasons)s::text[])[{place}]"
        )
    cursor = pool.execute_sql(
        f"UPDATE email SET {become}"
        " WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s"
        " AND status = 'pending'",
        {
            "statuses": [status for status, _ in kinds],
            "reasons": [reason for _, reason in kinds],
            "places": bytes(places) if len(kinds) <= 256 else places,
            "batch_id": claim.batch_id,
            "first": claim.first_id,
            "last": outcomes.last_id,
        },
    )
    return int(cursor.rowcount)


# Chunks that the rest of one is cut into, and the least of what a turn did that each has.
_PARTS = 16
_LEAST_OF_A_TURN = 4


def _share_rest(claim: Claim, outcomes: Outcomes) -> None:
    """Cut what a turn left of its chunk into chunks, if no others are left for other threads.

    This is for slow processors: with a fast one a turn ends with its chunk.
    """
    rest = claim.last_id - outcomes.last_id
    if len(claim.ids) - outcomes.count != rest:
        return  # it was requeued in part: whose the chunk's reasons are is not known
    size = max(-(-rest // _PARTS), -(-outcomes.count // _LEAST_OF_A_TURN))
    if rest <= size:
        return
    pool.execute_sql(
        "WITH shared AS ("
        "  UPDATE chunk SET last_id = %(last)s"
        "  WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s AND NOT EXISTS ("
        # Of one that is held, turns have begun.
        "    SELECT FROM chunk AS o WHERE o.batch_id = %(batch_id)s AND o.attempts = 0"
        "    AND o.done <= o.last_id - o.first_id AND o.first_id <> %(chunk)s)"
        "  RETURNING redone"
        # If its turns keep dying, so will those on its parts.
        ") INSERT INTO chunk (batch_id, first_id, last_id, redone)"
        " SELECT %(batch_id)s, first, least(first + %(size)s - 1, %(end)s), redone"
        " FROM shared, generate_series(%(last)s + 1, %(end)s, %(size)s) AS first",
        {
            "batch_id": claim.batch_id,
            "chunk": claim.first_id,
            "last": outcomes.last_id,
            "end": claim.last_id,
            "size": size,
        },
    )


def store_outcomes(claim: Claim, outcomes: Outcomes) -> Snapshot | None:
    """Write a turn's outcomes and add them to the counts of its chunk and batch.

    With its last email a batch becomes completed. None, with nothing counted, if the batch has
    left `processing` meanwhile: the caller must roll back. Raises CountError.
    """
    updated = _update_emails(claim, outcomes)
    if updated != outcomes.count:
        raise CountError(f"{outcomes.count} emails claimed, {updated} rows updated")
    found = Counter(reason for _, _, reason in outcomes.marked)
    pool.execute_sql(
        "UPDATE chunk SET done = %s, reasons = %s, redone = redone + attempts - 1, attempts = 0,"
        " addresses = NULL"
        " WHERE batch_id = %s AND first_id = %s",
        (
            outcomes.last_id - claim.first_id + 1,
            json.dumps(found + Counter(claim.reasons)),
            claim.batch_id,
            claim.first_id,
        ),
    )
    if outcomes.last_id < claim.last_id:
        _share_rest(claim, outcomes)
    failed = sum(status == "failed" for _, status, _ in outcomes.marked)
    # Last, because every turn on this batch waits for this row from here to the commit.
    return snapshot_from(
        fetch_one(
            "UPDATE batch SET processed_count = processed_count + %(count)s,"
            "  failed_count = failed_count + %(failed)s, revision = revision + 1,"
            f"  reasons = {_SUM_OF_REASONS if found else 'reasons'},"
            "  status = CASE WHEN processed_count + %(count)s = total_emails"
            "    THEN 'completed' ELSE status END,"
            "  completed_at = CASE WHEN processed_count + %(count)s = total_emails"
            "    THEN clock_timestamp() END"
            f" WHERE id = %(batch_id)s AND status = 'processing' RETURNING {SNAPSHOT}",
            {
                "count": outcomes.count,
                "failed": failed,
                "batch_id": claim.batch_id,
                "found": json.dumps(bounded(found)),
            },
        )
    )
