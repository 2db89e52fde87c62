"""The two ends of a turn in the database: claim a chunk, commit the outcomes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from peewee import DataError
from psycopg2 import errorcodes

from batches import snapshots
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, fetch_value, pool
from processors import PROCESSED, Findings, as_lines
from processors.reasons import MAX_REASONS, OTHER_REASONS, bounded

# Seconds after the beginning of a turn in which no other worker may begin one on the same chunk.
# The claim normally follows after 0.001.
CLAIM_SECONDS = 0.2


@dataclass(frozen=True)
class Claim:
    """A chunk that this transaction has locked, and its pending emails.

    `lost` counts the earlier turns on this chunk that were never committed.
    `more` says whether the batch has other unfinished chunks, possibly claimed.
    `started` is the batch's snapshot if this turn took it out of `pending`.
    `reasons` are the chunk's counts by reason.
    `suspect` says whether the batch has an email with one of the claimer's suspicious reasons.
    `ids` are the ids of the pending emails.
    `text` has their addresses, one a line; None if an address contains a line end.
    `listed` has their addresses as a list; None if only the text has been read.
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
    listed: list[str] | None = None

    @property
    def addresses(self) -> list[str]:
        """The addresses in the order of `ids`."""
        return (self.text or "").split("\n") if self.listed is None else self.listed


# The batch's counts by reason plus a turn's, limited to MAX_REASONS.
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
    """A turn updated another number of rows than it claimed. The turn must be rolled back."""


def _free(where: str) -> str:
    """Return a query for the first chunk that meets the condition and that a turn can begin on."""
    return f"""
  SELECT first_id FROM chunk
  WHERE batch_id = %(batch_id)s AND {where} AND done <= last_id - first_id
    -- A time in the future means that the clock was set back; it protects no chunk.
    AND (attempts > 0 AND begun_at BETWEEN clock_timestamp()
      - make_interval(secs => %(claiming)s) AND clock_timestamp()) IS NOT TRUE
  ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED"""


def _unfinished(where: str) -> str:
    """Return a condition: the batch has an unfinished chunk whose `first_id` meets `where`."""
    return f"""EXISTS (SELECT FROM chunk AS o WHERE o.batch_id = chunk.batch_id
      AND o.first_id {where} AND o.done <= o.last_id - o.first_id)"""


# Claiming takes two transactions; the second is left open.
#
# _BEGIN_TURN notes that a turn begins on the first unfinished chunk that nobody holds, from `start`
# on or else in the whole batch, and makes a pending batch `processing`. The note is committed by
# itself, so that it outlives a worker that dies in the turn. The commit doesn't wait for the disk:
# the log keeps the order, so no later commit gets there without it.
#
# _CLAIM locks the chunk. No lock is held between the two, so for CLAIM_SECONDS no other worker may
# begin a turn on the chunk. Both are sent in one message, because a busy worker may take long to
# send a second one. Only the last result reaches the driver, so the first transaction passes its
# result to the second in a setting of the session, email_batch.turn.
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
  -- A turn without a chunk doesn't start the batch: it ends before it could publish that.
  UPDATE batch SET status = 'processing', started_at = now(), revision = revision + 1
  WHERE id = %(batch_id)s AND status = 'pending' AND EXISTS (SELECT FROM taken)
  RETURNING jsonb_build_array({snapshots.COLUMNS}) AS snapshot
), begun AS (
  UPDATE chunk SET attempts = attempts + 1, begun_at = clock_timestamp()
  FROM taken LEFT JOIN started ON true
  WHERE chunk.batch_id = %(batch_id)s AND chunk.first_id = taken.first_id
  RETURNING jsonb_build_array(chunk.first_id, attempts - 1 + redone,
    -- Usually one follows this chunk. A single search on both sides would first step over all
    -- chunks that are done.
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
-- Another worker may hold the lock for a moment, until it sees that the chunk's turn has begun.
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
    """Begin a turn on the batch and claim a chunk, in a transaction that is left open.

    Returns None if no chunk is free, or if there is no such batch. Takes the first free chunk whose
    first id is at least `start` and at least this `share` of all emails; if there is none, the
    first free one. An email with one of the `suspicious` reasons makes its batch suspect.
    PostgreSQL ends a transaction that is idle for `idle_seconds`.
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
    snapshot = Snapshot(*started) if started else None
    held = (batch_id, first_id, last_id, lost, more, snapshot, reasons, suspect)
    if text is not None and done == 0:
        return Claim(*held, range(first_id, last_id + 1), text)
    ids, addresses = _pending(batch_id, first_id + done, last_id)
    return Claim(*held, ids, as_lines(addresses), addresses)


def _pending(batch_id: int, first_id: int, last_id: int) -> tuple[list[int], list[str]]:
    """Return the ids and the addresses of the pending emails in this range."""
    rows = pool.execute_sql(
        "SELECT id, email FROM email"
        " WHERE batch_id = %s AND id BETWEEN %s AND %s AND status = 'pending' ORDER BY id",
        (batch_id, first_id, last_id),
    ).fetchall()
    return [email_id for email_id, _ in rows], [address for _, address in rows]


def _update_emails(claim: Claim, findings: Findings, last_id: int) -> int:
    """Write the outcomes of a turn's emails, up to `last_id`; return the number of rows updated.

    Makes one pass over the range of ids. A join with the emails that have a reason would be the
    obvious way, but a new batch has no statistics: the planner expects a single row, and its nested
    loop compares each row with each of those emails.
    """
    # The different outcomes, first the one without a reason; `places` has each email's outcome as
    # an index into them.
    kinds = {PROCESSED: 0}
    for _, outcome in findings.others:
        kinds.setdefault(outcome, len(kinds))
    size = last_id - claim.first_id + 1
    # PostgreSQL reads bytes fastest; in an array's literal it must parse each number.
    places = bytearray(size) if len(kinds) <= 256 else [0] * size
    for position, outcome in findings.others:
        places[claim.ids[position] - claim.first_id] = kinds[outcome]
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
            "last": last_id,
        },
    )
    return int(cursor.rowcount)


# The most parts that the rest of a chunk is cut into. None is smaller than the turn before it.
_PARTS = 16


def _share_rest(claim: Claim, count: int, last_id: int) -> None:
    """Cut the rest of a chunk into new chunks if other threads have none left to begin on.

    `count` emails of the chunk, up to `last_id`, have been processed. This is for slow processors;
    with a fast one, a turn completes its chunk.
    """
    rest = claim.last_id - last_id
    if len(claim.ids) - count != rest:
        return  # requeued in part: nothing says which of the parts its reasons belong to
    size = max(-(-rest // _PARTS), count)
    if rest <= size:
        return
    pool.execute_sql(
        "WITH shared AS ("
        "  UPDATE chunk SET last_id = %(last)s"
        "  WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s AND NOT EXISTS ("
        # A chunk without attempts is free.
        "    SELECT FROM chunk AS o WHERE o.batch_id = %(batch_id)s AND o.attempts = 0"
        "    AND o.done <= o.last_id - o.first_id AND o.first_id <> %(chunk)s)"
        # The parts inherit the count of lost turns, because one of them has the email that is to
        # blame. `attempts` includes the present turn.
        "  RETURNING redone + attempts - 1 AS redone"
        ") INSERT INTO chunk (batch_id, first_id, last_id, redone)"
        " SELECT %(batch_id)s, first, least(first + %(size)s - 1, %(end)s), redone"
        " FROM shared, generate_series(%(last)s + 1, %(end)s, %(size)s) AS first",
        {
            "batch_id": claim.batch_id,
            "chunk": claim.first_id,
            "last": last_id,
            "end": claim.last_id,
            "size": size,
        },
    )


def commit_outcomes(claim: Claim, findings: Findings) -> Snapshot | None:
    """Write a turn's outcomes, add them to the counts of its chunk and batch, and commit.

    Returns the batch's new snapshot once all is on the disk. The last email completes the batch.
    Returns None if the batch has left `processing` meanwhile; the caller must then roll back.
    Raises CountError.
    """
    count = findings.count
    last_id = claim.ids[count - 1] if count < len(claim.ids) else claim.last_id
    updated = _update_emails(claim, findings, last_id)
    if updated != count:
        raise CountError(f"{count} emails claimed, {updated} rows updated")
    found = Counter(outcome.reason for _, outcome in findings.others if outcome.reason)
    if last_id < claim.last_id:
        _share_rest(claim, count, last_id)
    failed = sum(outcome.status == "failed" for _, outcome in findings.others)
    try:
        counted = fetch_value(
            _COUNT.format(reasons=_SUM_OF_REASONS if found else "reasons"),
            {
                "count": count,
                "failed": failed,
                "batch_id": claim.batch_id,
                "found": json.dumps(bounded(found)),
                "chunk": claim.first_id,
                "done": last_id - claim.first_id + 1,
                "chunk_reasons": json.dumps(found + Counter(claim.reasons)),
            },
        )
    except DataError as error:
        if database.code_of(error) != errorcodes.DIVISION_BY_ZERO:
            raise
        return None  # the batch is not `processing`
    return Snapshot(*counted)


# All turns on a batch queue for its row, which is locked from the update to the commit. So the
# update comes last in a turn, and the commit is in the same message: the lock doesn't last until a
# busy or distant worker sends a second one. If the batch isn't `processing`, 1 / count(*) raises an
# error, and PostgreSQL doesn't get to the commit. A setting of the session takes the snapshot past
# the commit. The commit doesn't wait for the disk, because the row would stay locked meanwhile. The
# statement after it waits; it writes an empty message, because a transaction that writes nothing
# doesn't wait.
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
