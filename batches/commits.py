"""The end of a turn in the database: write the outcomes, count them, commit."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from peewee import DataError
from psycopg2 import errorcodes

from batches import snapshots
from batches.claims import Claim, is_open
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, fetch_value, pool
from processors import PROCESSED, Findings, Later, Outcome
from processors.reasons import CATALOGUE, MAX_REASONS, OTHER_REASONS, bounded

# The batch's counts by reason plus a turn's. As in bounded(), each built-in reason has a count of
# its own. Other reasons are added until the batch has MAX_REASONS; those that come later are
# counted as OTHER_REASONS, however common they are.
_BUILT_IN = ", ".join(f"'{code}'" for code in CATALOGUE)
_SUM_OF_REASONS = f"""(
  SELECT jsonb_object_agg(code, number) FROM (
    SELECT CASE WHEN batch.reasons ? key OR known < {MAX_REASONS} OR key IN ({_BUILT_IN}) THEN key
      ELSE '{OTHER_REASONS}' END AS code, sum(value::int) AS number
    FROM (
      SELECT * FROM jsonb_each_text(batch.reasons)
      UNION ALL SELECT * FROM jsonb_each_text(%(found)s::jsonb)
    ) AS parts, (SELECT count(*) AS known FROM jsonb_object_keys(batch.reasons)) AS keys
    GROUP BY code
  ) AS sums
)"""

# The most names of answers that a batch has.
MAX_ANSWER_NAMES = 50
# The batch's names of answers and a turn's, in the order in which they came first.
_UNION_OF_NAMES = f"""(
  SELECT jsonb_agg(name ORDER BY place) FROM (
    SELECT name, min(place) AS place
    FROM jsonb_array_elements_text(batch.answers || %(names)s::jsonb)
      WITH ORDINALITY AS each (name, place)
    GROUP BY name ORDER BY min(place) LIMIT {MAX_ANSWER_NAMES}
  ) AS named
)"""


class CountError(Exception):
    """A turn updated another number of rows than it claimed. The turn must be rolled back."""


# The columns of an email that an outcome changes besides `answers`, and their values for one.
_COLUMNS = ("status", "reason", "later")
# The most emails that one statement updates if some have answers, which may take 50 kB each.
ANSWERS_AT_ONCE = 1_000


def _row(outcome: Outcome | Later) -> tuple[str, str | None, str | None]:
    if isinstance(outcome, Later):
        return "pending", None, outcome.reason
    return outcome.status, outcome.reason, None


def _update_emails(claim: Claim, findings: Findings, last_id: int) -> int:
    """Write the outcomes of a turn's emails, up to `last_id`; return the number of rows updated.

    Of emails that are to be processed later, the reason for that is written.
    """
    ids = [claim.ids[at] for at, _ in findings.others]
    others = [outcome for _, outcome in findings.others]
    columns = _COLUMNS if findings.later else _COLUMNS[:2]
    have_answers = any(outcome.answers for outcome, _ in findings.outcomes)
    size = ANSWERS_AT_ONCE if have_answers else last_id - claim.first_id + 1
    updated = 0
    for first in range(claim.first_id, last_id + 1, size):
        last = min(first + size - 1, last_id)
        here = slice(bisect_left(ids, first), bisect_right(ids, last))
        places = [email_id - first for email_id in ids[here]]
        part = others[here]
        become, source, parameters = _outcomes(places, part, columns, last - first + 1)
        if have_answers:
            become += ", answers = nullif(%(answers)s::jsonb -> id - %(first)s, 'null')"
            of_each: list[Mapping[str, Any] | None] = [None] * (last - first + 1)
            for place, outcome in zip(places, part, strict=True):
                if isinstance(outcome, Outcome):
                    of_each[place] = outcome.answers or None
            parameters["answers"] = json.dumps(of_each, ensure_ascii=False)
        cursor = pool.execute_sql(
            f"UPDATE email SET {become}{source}"
            " WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s"
            " AND status = 'pending'",
            {**parameters, "batch_id": claim.batch_id, "first": first, "last": last},
        )
        updated += int(cursor.rowcount)
    return updated


def _outcomes(
    places: Sequence[int], others: Sequence[Outcome | Later], columns: Sequence[str], size: int
) -> tuple[str, str, dict[str, object]]:
    """Return the assignments, the FROM or "", and the parameters of an UPDATE of a range of emails.

    The assignments make one pass over the range of ids. A join with the emails that have a reason
    would be the obvious way, but a new batch has no statistics: the planner expects a single row,
    and its nested loop compares each row with each of those emails.

    places: the emails with outcomes other than PROCESSED, counted from the range's beginning.
    others: these outcomes.
    size: the number of ids in the range.
    """
    # The different values of _COLUMNS, each with its number. Most emails have 0, an outcome without
    # a reason: for them, PostgreSQL looks into no array, which saves a twentieth of its time.
    kinds: dict[tuple[str | None, ...], int] = {_row(PROCESSED): 0}
    # The number of each outcome, by its id().
    number_of: dict[int, int] = {}
    for key, outcome in {id(outcome): outcome for outcome in others}.items():
        number_of[key] = kinds.setdefault(_row(outcome), len(kinds))
    if len(kinds) == 1:
        return "status = 'processed'", "", {}
    # The number of each email. PostgreSQL reads bytes fastest; in an array's literal it must parse
    # each number.
    numbers: bytearray | list[int]
    if len(kinds) <= 256:
        numbers, sql_type, number = bytearray(size), "bytea", "get_byte(numbers, id - %(first)s)"
    else:
        numbers, sql_type, number = [0] * size, "int[]", "numbers[id - %(first)s + 1]"
    for place, outcome in zip(places, others, strict=True):
        numbers[place] = number_of[id(outcome)]
    become = (
        f"{name} = CASE {number} WHEN 0 THEN %(usual_{name})s"
        f" ELSE (%({name})s::text[])[{number}] END"
        for name in columns
    )
    parameters: dict[str, object] = {"numbers": numbers}
    for name, usual, *further in zip(_COLUMNS, *kinds, strict=True):
        parameters |= {f"usual_{name}": usual, name: further}
    # With a subquery, the statement has the numbers once, and not once for each column. The planner
    # puts the constant where it is used, so nothing is joined.
    source = f" FROM (SELECT %(numbers)s::{sql_type} AS numbers) AS given"
    return ", ".join(become), source, parameters


# The most parts that the rest of a chunk is cut into. None but the last is smaller than the turn
# before it.
_PARTS = 16
# A rest of more emails is shared out even if the batch has free chunks. Otherwise each later turn
# on the chunk would read all of it, in about half a microsecond an email.
_LARGE_REST = 5_000


def _cut_rest(claim: Claim, findings: Findings, last_id: int) -> Counter[str]:
    """Cut the rest of a chunk, which begins after `last_id`, into new chunks if that is needed.

    If emails of this turn are to be processed later, the rest becomes a chunk of its own, so that
    it doesn't wait with them. A rest of more than _LARGE_REST, or any while the batch has no free
    chunk, is shared out, in parts of at least as many emails as this turn did. So nothing is cut
    after a turn that did at least half of its chunk, as with a fast processor. Returns the counts
    by reason of what is cut off.
    """
    left = claim.last_id - last_id
    # After a retry, some emails of the rest may have outcomes.
    is_mixed = claim.pending - findings.count != left
    reasons, done = (_REASONS_OF_PART, _DONE_OF_PART) if is_mixed else ("'{}'", "0")
    size = max(-(-left // _PARTS), findings.count)
    if not findings.later and size >= left:
        return Counter()
    share = f"(%(is_large)s OR {_NONE_FREE})"
    rows = pool.execute_sql(
        "WITH cut AS ("
        "  UPDATE chunk SET last_id = %(last)s"
        "  WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s"
        f"  AND (%(parted)s OR {share})"
        # The parts inherit the count of lost turns, because one of them has the email that is to
        # blame. `attempts` includes the present turn.
        "  RETURNING redone + attempts - 1 AS redone, due_at, rounds, put_off_at, rounds_before,"
        f"    CASE WHEN {share} THEN %(size)s ELSE %(left)s END AS size"
        ") INSERT INTO chunk"
        "  (batch_id, first_id, last_id, reasons, done, redone, due_at, rounds, put_off_at,"
        "   rounds_before)"
        f" SELECT %(batch_id)s, first, {_END_OF_PART},"
        f"  {reasons}, {done}, redone, due_at, rounds, put_off_at, rounds_before"
        " FROM cut, generate_series(%(last)s + 1, %(end)s, size) AS first RETURNING reasons",
        {
            "batch_id": claim.batch_id,
            "chunk": claim.first_id,
            "last": last_id,
            "end": claim.last_id,
            "parted": bool(findings.later),
            "is_large": left > _LARGE_REST,
            "size": size,
            "left": left,
        },
    ).fetchall()
    return sum((Counter(counts) for (counts,) in rows), Counter())


# A chunk without attempts is free.
_NONE_FREE = f"""NOT EXISTS (
  SELECT FROM chunk AS o WHERE o.batch_id = %(batch_id)s AND o.attempts = 0 AND {is_open("o")}
  AND o.first_id <> %(chunk)s)"""
# The id of the last email of a part, which begins with `first`.
_END_OF_PART = "least(first + size - 1, %(end)s)"
_IN_PART = f"email.batch_id = %(batch_id)s AND email.id BETWEEN first AND {_END_OF_PART}"
# The counts by reason of its emails.
_REASONS_OF_PART = f"""(
  SELECT coalesce(jsonb_object_agg(reason, number), '{{}}') FROM (
    SELECT reason, count(*) AS number FROM email
    WHERE {_IN_PART} AND reason IS NOT NULL GROUP BY reason
  ) AS counts
)"""
# How many of its emails come before its first pending one; all if none is pending.
_DONE_OF_PART = f"""coalesce(
  (SELECT min(id) FROM email WHERE {_IN_PART} AND status = 'pending'), {_END_OF_PART} + 1
) - first"""


def commit_outcomes(
    claim: Claim, findings: Findings, status: str = "processing"
) -> Snapshot | None:
    """Write a turn's outcomes, add them to the counts of its chunk and batch, and commit.

    Returns the batch's new snapshot once all is on the disk. The last email completes the batch.
    If emails are to be processed later, their chunk waits for the longest of their times.
    Returns None if the batch doesn't have this status any more; the caller must then roll back.
    Raises CountError.
    """
    count = findings.count
    last_id = claim.ids[count - 1] if count < claim.pending else claim.last_id
    updated = _update_emails(claim, findings, last_id)
    if updated != count:
        raise CountError(f"{count} emails claimed, {updated} rows updated")
    moved = _cut_rest(claim, findings, last_id) if last_id < claim.last_id else Counter[str]()
    return _count(claim, findings, last_id, moved, status)


def _count(
    claim: Claim, findings: Findings, last_id: int, moved: Counter[str], status: str
) -> Snapshot | None:
    """Count a turn's outcomes and commit; return the snapshot, None for another status.

    moved: the counts by reason of emails behind `last_id` that are in another chunk now.
    """
    count, outcomes, waiting = findings.count, findings.outcomes, findings.waiting
    found: Counter[str] = Counter()
    for outcome, number in outcomes:
        if outcome.reason:
            found[outcome.reason] += number
    names = dict.fromkeys(name for outcome, _ in outcomes for name in outcome.answers or ())
    waits = (each.wait(claim.rounds + 1) or 0 for each, _ in findings.later)
    try:
        counted = fetch_value(
            _COUNT.format(
                chunk=_PUT_OFF if waiting else _DONE,
                lock=_LOCK if waiting or claim.waited else "",
                waiting=_WAITING if waiting or claim.waited else "",
                reasons=_SUM_OF_REASONS if found else "reasons",
                answers=f"answers = {_UNION_OF_NAMES}," if names else "",
            ),
            {
                "count": count - waiting,
                "failed": sum(number for each, number in outcomes if each.status == "failed"),
                "batch_id": claim.batch_id,
                "status": status,
                "found": json.dumps(bounded(found)),
                "names": json.dumps([*names][:MAX_ANSWER_NAMES]),
                "chunk": claim.first_id,
                "done": last_id - claim.first_id + 1,
                "chunk_reasons": json.dumps(found + Counter(claim.reasons) - moved),
                "wait": max(waits, default=0),
                "waiting": waiting - (count if claim.waited else 0),
            },
        )
    except DataError as error:
        if database.code_of(error) != errorcodes.DIVISION_BY_ZERO:
            raise
        return None  # the batch has another status
    return Snapshot(*counted)


# A chunk whose pending emails, if it has any, were not put off by this turn.
_DONE = "done = %(done)s, due_at = CASE WHEN %(done)s <= last_id - first_id THEN due_at END"
# A chunk with emails that were put off: all its pending ones wait.
_PUT_OFF = """done = 0, due_at = clock_timestamp() + make_interval(secs => %(wait)s),
  rounds = rounds + 1, put_off_at = coalesce(put_off_at, clock_timestamp())"""
# For a turn that changes which emails wait. The batch is locked by a statement of its own, so that
# the next one sees the chunks of all turns that were counted before; not more strictly than by an
# update, because a turn that cuts its chunk holds a share of the lock by the foreign key.
_LOCK = "SELECT FROM batch WHERE id = %(batch_id)s FOR NO KEY UPDATE;\n"
# What the chunks say decides whether any wait: workers of the version before process emails that
# wait without counting them here, while another version is rolled out.
_WAITING = """(waiting, next_at) = (
      SELECT CASE WHEN min(due_at) IS NULL THEN 0 ELSE greatest(batch.waiting + %(waiting)s, 1) END,
        min(due_at)
      FROM chunk WHERE batch_id = %(batch_id)s AND done <= last_id - first_id),
    """
# All turns on a batch queue for its row, which is locked from the update to the commit. So the
# update comes last in a turn, and the commit is in the same message: the lock doesn't last until a
# busy or distant worker sends a second one. If the batch has another status, 1 / count(*) raises an
# error, and PostgreSQL doesn't get to the commit. A setting of the session takes the snapshot past
# the commit. The commit doesn't wait for the disk, because the row would stay locked meanwhile. The
# statement after it waits; it writes an empty message, because a transaction that writes nothing
# doesn't wait.
_COUNT = f"""
UPDATE chunk SET {{chunk}}, reasons = %(chunk_reasons)s, redone = redone + attempts - 1,
  attempts = 0, addresses = NULL
WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s;
{{lock}}WITH counted AS (
  UPDATE batch SET {{waiting}}processed_count = processed_count + %(count)s,
    failed_count = failed_count + %(failed)s, revision = revision + 1, reasons = {{reasons}},
    {{answers}}status = CASE WHEN processed_count + %(count)s = total_emails
      THEN 'completed' ELSE status END,
    completed_at = CASE WHEN processed_count + %(count)s = total_emails
      THEN clock_timestamp() ELSE completed_at END
  WHERE id = %(batch_id)s AND status = %(status)s
  RETURNING jsonb_build_array({snapshots.COLUMNS})::text AS snapshot
) SELECT set_config('email_batch.snapshot', max(snapshot), false), 1 / count(*) FROM counted;
COMMIT;
SELECT current_setting('email_batch.snapshot')::jsonb
FROM pg_logical_emit_message(true, 'email-batch', '')
"""


def give_back(claim: Claim) -> Snapshot | None:
    """Commit a turn without outcomes, which doesn't count as lost: its chunk is free as before.

    Returns the batch's snapshot once all is on the disk; None if the batch isn't `processing`.
    """
    row = fetch_one(_GIVE_BACK, {"batch_id": claim.batch_id, "chunk": claim.first_id})
    return None if row is None else Snapshot(*row)


# Waits for the disk as _COUNT does.
_GIVE_BACK = f"""
UPDATE chunk SET redone = redone + attempts - 1, attempts = 0
WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s;
COMMIT;
SELECT {snapshots.COLUMNS}
FROM batch, pg_logical_emit_message(true, 'email-batch', '')
WHERE batch.id = %(batch_id)s AND status = 'processing'
"""
