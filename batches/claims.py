"""What a turn does to the database: claim a chunk, store the outcomes.

Each transition is one statement, guarded by the state that it leaves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from peewee import DataError
from psycopg2 import errorcodes

from batches import snapshots
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, pool
from processors import as_lines
from processors.reasons import MAX_REASONS, OTHER_REASONS, bounded

# Seconds that PostgreSQL may take from a turn's beginning to its claim; normally a thousandth.
CLAIM_SECONDS = 0.2


@dataclass(frozen=True)
class Claim:
    """A chunk that this transaction holds, with its emails still to be processed.

    `text` has their addresses one a line, and is None if one of them has a line end of its own;
    `ids` has the id of each. `lost` counts the turns on this chunk that had begun before and were
    never committed, `more` says whether the batch has further unfinished chunks, maybe claimed by
    others, and `suspect` whether emails of the batch have got a reason that the claimer asked
    about. `started` is the batch's snapshot if it left `pending` with this turn.
    """

    batch_id: int
    first_id: int
    last_id: int
    lost: int
    more: bool
    started: Snapshot | None
    reasons: dict[str, int]
    suspect: bool
    ids: Sequence[int]
    text: str | None
    # None if it has yet to be made of the text.
    listed: list[str] | None = None

    @property
    def addresses(self) -> list[str]:
        """The addresses in the order of their ids."""
        return (self.text or "").split("\n") if self.listed is None else self.listed


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


def _free(where: str) -> str:
    """The first chunk, of those to which this applies, that a turn can begin on."""
    return f"""
  SELECT first_id FROM chunk
  WHERE batch_id = %(batch_id)s AND {where} AND done <= last_id - first_id
    -- A time that is yet to come was written before somebody set the clock back.
    AND (attempts > 0 AND begun_at BETWEEN clock_timestamp()
      - make_interval(secs => %(claiming)s) AND clock_timestamp()) IS NOT TRUE
  ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED"""


def _unfinished(where: str) -> str:
    """Whether the chunk's batch has an unfinished one where `first_id` is so."""
    return f"""EXISTS (SELECT FROM chunk AS o WHERE o.batch_id = chunk.batch_id
      AND o.first_id {where} AND o.done <= o.last_id - o.first_id)"""


# Two transactions, of which the second is left open. The first notes that a turn begins on the
# first unfinished chunk that nobody holds, from a place on or else of all, and makes a pending
# batch `processing`. It is one of its own, so that it is known of a turn that it was begun though
# whoever began it is dead. It doesn't wait for the disk: nothing depends on it, and it goes there
# before anything that comes after it. The second claims the chunk. Nobody holds it in between, so
# that for CLAIM_SECONDS it is nobody else's to begin a turn on; and both are sent at once, because
# a worker with much to do may take long to get round to the second. A setting of the session takes
# what the first found past it.
_BEGIN_TURN = f"""
BEGIN;
SELECT set_config('synchronous_commit', 'off', true), set_config('email_batch.turn', '', false);
WITH start AS (
  SELECT greatest(%(start)s, %(share)s * total_emails)::int AS id FROM batch
  WHERE id = %(batch_id)s AND status IN ('pending', 'processing')
), next AS ({_free("first_id >= (SELECT id FROM start)")}
), other AS ({_free("EXISTS (SELECT FROM start) AND NOT EXISTS (SELECT FROM next)")}
), taken AS (SELECT * FROM next UNION ALL SELECT * FROM other
), started AS (
  -- Only who has a chunk starts the batch, and so is there to tell of it.
  UPDATE batch SET status = 'processing', started_at = now(), revision = revision + 1
  WHERE id = %(batch_id)s AND status = 'pending' AND EXISTS (SELECT FROM taken)
  RETURNING jsonb_build_array({snapshots.COLUMNS}) AS snapshot
), begun AS (
  UPDATE chunk SET attempts = attempts + 1, begun_at = clock_timestamp()
  FROM taken LEFT JOIN started ON true
  WHERE chunk.batch_id = %(batch_id)s AND chunk.first_id = taken.first_id
  RETURNING jsonb_build_array(chunk.first_id, attempts - 1 + redone,
    -- There is most often one behind it. To look on both sides at once would mean to begin with
    -- all that are done.
    {_unfinished("> chunk.first_id")} OR {_unfinished("< chunk.first_id")},
    started.snapshot) AS turn
) SELECT set_config('email_batch.turn', turn::text, false) FROM begun;
COMMIT;
"""
_CLAIM = """
SELECT set_config('synchronous_commit', 'off', true),
  set_config('idle_in_transaction_session_timeout', %(idle)s, true);
SELECT turn, c.last_id, c.done, c.reasons, c.addresses, b.reasons ?| %(suspicious)s
FROM (SELECT nullif(current_setting('email_batch.turn'), '')::jsonb AS turn) AS begun
  JOIN chunk AS c ON c.batch_id = %(batch_id)s AND c.first_id = (turn->>0)::int
  JOIN batch AS b ON b.id = c.batch_id
WHERE b.status = 'processing' AND c.done <= c.last_id - c.first_id
-- Who else begins a turn may have it locked for a moment, to see that it is no longer to be had.
FOR UPDATE OF c
"""


def claim_chunk(
    batch_id: int,
    suspicious: Sequence[str],
    idle_seconds: float,
    *,
    start: int = 0,
    share: float = 0.0,
) -> Claim | None:
    """Begin a turn on the batch, and lock its chunk until the transaction that is left open ends.

    None if there is no chunk to be had, or no such batch. It is the first that begins not before
    the email `start`, nor before this `share` of all emails; or if there is none, the first of all.
    Emails with a `suspicious` reason make their batch suspect. When the transaction waits for its
    owner for longer than `idle_seconds`, PostgreSQL ends it.
    """
    row = fetch_one(
        f"{_BEGIN_TURN}{database.begin()}{_CLAIM}",
        {
            "batch_id": batch_id,
            "start": start,
            "share": share,
            "claiming": CLAIM_SECONDS,
            "idle": f"{idle_seconds * 1000:.0f}ms",
            "suspicious": list(suspicious),
        },
    )
    if row is None:
        return None
    (first_id, lost, more, started), last_id, done, reasons, text, suspect = row
    snapshot = snapshots.from_row(started)
    held = (batch_id, first_id, last_id, lost, more, snapshot, reasons, suspect)
    if text is not None and done == 0:
        return Claim(*held, range(first_id, last_id + 1), text)
    ids, addresses = _pending(batch_id, first_id + done, last_id)
    return Claim(*held, ids, as_lines(addresses), addresses)


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
    for _, status, reason in outcomes.marked:
        kinds.setdefault((status, reason), len(kinds))
    size = outcomes.last_id - claim.first_id + 1
    # Bytes are what PostgreSQL reads fastest; of a literal '{0,0,…}' it must parse each number.
    places = bytearray(size) if len(kinds) <= 256 else [0] * size
    for email_id, status, reason in outcomes.marked:
        places[email_id - claim.first_id] = kinds[status, reason]
    if len(kinds) == 1:
        become = "status = 'processed'"
    else:
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
            "places": places,
            "batch_id": claim.batch_id,
            "first": claim.first_id,
            "last": outcomes.last_id,
        },
    )
    return int(cursor.rowcount)


# Chunks that the rest of one is cut into, at most; none is smaller than what a turn does.
_PARTS = 16


def _share_rest(claim: Claim, outcomes: Outcomes) -> None:
    """Cut what a turn left of its chunk into chunks, if no others are left for other threads.

    This is for slow processors: with a fast one a turn ends with its chunk.
    """
    rest = claim.last_id - outcomes.last_id
    if len(claim.ids) - outcomes.count != rest:
        return  # it was requeued in part: whose the chunk's reasons are is not known
    size = max(-(-rest // _PARTS), outcomes.count)
    if rest <= size:
        return
    pool.execute_sql(
        "WITH shared AS ("
        "  UPDATE chunk SET last_id = %(last)s"
        "  WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s AND NOT EXISTS ("
        # Of one that is held, turns have begun.
        "    SELECT FROM chunk AS o WHERE o.batch_id = %(batch_id)s AND o.attempts = 0"
        "    AND o.done <= o.last_id - o.first_id AND o.first_id <> %(chunk)s)"
        # If its turns keep dying, so will those on its parts. The present one is in `attempts`.
        "  RETURNING redone + attempts - 1 AS redone"
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


def commit_outcomes(claim: Claim, outcomes: Outcomes) -> Snapshot | None:
    """Write a turn's outcomes, add them to the counts of its chunk and batch, and commit that.

    All is on the disk then. With its last email a batch becomes completed. None, with nothing
    counted, if the batch has left `processing` meanwhile: the caller must roll back. Raises
    CountError.
    """
    updated = _update_emails(claim, outcomes)
    if updated != outcomes.count:
        raise CountError(f"{outcomes.count} emails claimed, {updated} rows updated")
    found = Counter(reason for _, _, reason in outcomes.marked)
    if outcomes.last_id < claim.last_id:
        _share_rest(claim, outcomes)
    failed = sum(status == "failed" for _, status, _ in outcomes.marked)
    try:
        row = fetch_one(
            _COUNT.format(reasons=_SUM_OF_REASONS if found else "reasons"),
            {
                "count": outcomes.count,
                "failed": failed,
                "batch_id": claim.batch_id,
                "found": json.dumps(bounded(found)),
                "chunk": claim.first_id,
                "done": outcomes.last_id - claim.first_id + 1,
                "chunk_reasons": json.dumps(found + Counter(claim.reasons)),
            },
        )
    except DataError as error:
        if database.code_of(error) != errorcodes.DIVISION_BY_ZERO:
            raise
        return None
    return snapshots.from_row(row and row[0])


# Every turn on this batch waits for its row from the update to the commit. So this is the last that
# a turn does, and all is sent at once: otherwise the row would be held until the worker, which may
# have many threads to run and may be far away, gets round to the commit. An error, if there is no
# row to be updated, keeps PostgreSQL from going on to the commit; a setting of the session takes
# the snapshot past it. The commit doesn't wait for the disk, because meanwhile nobody else would
# get the row; the transaction after it does, which needs something to be written for that.
_COUNT = f"""
UPDATE chunk SET done = %(done)s, reasons = %(chunk_reasons)s, redone = redone + attempts - 1,
  attempts = 0, addresses = NULL
WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s;
WITH counted AS (
  UPDATE batch SET processed_count = processed_count + %(count)s,
    failed_count = failed_count + %(failed)s, revision = revision + 1, reasons = {{reasons}},
    status = CASE WHEN processed_count + %(count)s = total_emails
      THEN 'completed' ELSE status END,
    completed_at = CASE WHEN processed_count + %(count)s = total_emails
      THEN clock_timestamp() END
  WHERE id = %(batch_id)s AND status = 'processing'
  RETURNING jsonb_build_array({snapshots.COLUMNS})::text AS snapshot
) SELECT set_config('email_batch.snapshot', max(snapshot), false), 1 / count(*) FROM counted;
COMMIT;
SELECT current_setting('email_batch.snapshot')::jsonb
FROM pg_logical_emit_message(true, 'email-batch', '')
"""
