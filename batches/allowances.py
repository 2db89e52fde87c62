"""Rates: how many emails a turn may take now, as parts of the message that begins it.

A rate is a number of emails a minute, of a batch or of a processor with all its batches. The table
`pace` has the time up to which its emails have been given out. A turn moves that time on by what
its emails take at this rate, but never past the present, so that turns get what has become due
since: one email at least, and at most one second's worth, however long nobody asked. The rows are
locked meanwhile, and a turn that finds no chunk moves nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from postgres.database import fetch_value, pool
from runtime.rate import Rate


class Wait(NamedTuple):
    """The answer to a turn that can't begin, because a rate allows no email at this moment.

    seconds: until it allows one.
    everyone: whether it is the processor's rate, so that all batches wait.
    """

    seconds: float
    everyone: bool


# The rates that hold for a batch, by the keys of their rows in `pace`.
_RATES = """(
  SELECT id AS batch_id, '' AS processor, per_minute FROM batch
    WHERE id = %(batch_id)s AND per_minute IS NOT NULL
  UNION ALL SELECT 0, %(processor)s::text, %(per_minute)s::int WHERE %(per_minute)s IS NOT NULL
) AS rates"""
# Each transaction locks the rows in this order before it changes any, so that no two wait for each
# other.
_LOCKED = f"""held AS MATERIALIZED (
  SELECT pace.batch_id, paced_at, per_minute FROM pace JOIN {_RATES} USING (batch_id, processor)
  ORDER BY pace.batch_id FOR UPDATE OF pace
)"""


def _since(now: str) -> str:
    """Return an expression for the time from which on emails can be given out.

    A time in the future means that the clock was set back. The ten microseconds make up for
    rounding: without them, a second's worth may never be due.
    """
    least = f"{now} - make_interval(secs => greatest(1, 60.0 / per_minute) + 0.00001)"
    return f"""CASE WHEN paced_at BETWEEN {least} AND {now} + interval '1 s'
  THEN paced_at ELSE {least} END"""


def _spend(emails: str) -> str:
    """Return a statement that gives out this number of emails, an expression; none if it is null.

    Of a negative number, emails that were given out are taken back.
    """
    return f"""
UPDATE pace SET paced_at = {_since("clock_timestamp()")}
  + make_interval(secs => 60.0 * ({emails}) / per_minute)
FROM {_RATES}
WHERE (pace.batch_id, pace.processor) = (rates.batch_id, rates.processor)
  AND ({emails}) IS NOT NULL;
"""


# Before the turn: put into a setting of the session how many emails it may take, null for any
# number; how many seconds it must wait if that is 0; and whether it is for the processor's rate.
TAKE = f"""
INSERT INTO pace (batch_id, processor) SELECT batch_id, processor FROM {_RATES}
ON CONFLICT DO NOTHING;
WITH {_LOCKED}, timed AS MATERIALIZED (
  -- The clock is read when the rows are locked, and for each row once.
  SELECT *, clock_timestamp() AS now FROM held
), due AS (
  SELECT batch_id, per_minute,
    extract(epoch FROM now - {_since("now")}) * per_minute / 60 AS emails FROM timed
)
SELECT set_config('email_batch.allowance', jsonb_build_array(
  -- Null if the batch's rate has just been taken off; greatest() would make 0 of that.
  CASE WHEN min(emails) < 0 THEN 0 ELSE floor(min(emails)) END,
  max((1 - emails) * 60 / per_minute),
  coalesce(bool_or(batch_id = 0 AND emails < 1), false))::text, false) FROM due;
"""
# The number of emails that the turn may take.
_ALLOWED = "(current_setting('email_batch.allowance')::jsonb->>0)::int"
# A condition: a turn may begin.
ANY_ALLOWED = f"coalesce({_ALLOWED} > 0, true)"
# The most emails that the turn takes of `chunk`.
LIMIT = f"least({_ALLOWED}, last_id - chunk.first_id + 1 - done)"
# After the beginning of the turn, which has put its limit into a setting, if it found a chunk.
SPEND = _spend("(nullif(current_setting('email_batch.turn'), '')::jsonb->>4)::int")

# A condition on a batch: it has no rate, or that allows an email now.
ALLOWED_NOW = f"""(per_minute IS NULL OR NOT EXISTS (
  SELECT FROM pace WHERE pace.batch_id = batch.id
    AND statement_timestamp()
      < {_since("statement_timestamp()")} + make_interval(secs => 60.0 / per_minute)))"""


def parameters(batch_id: int, rate: Rate | None) -> dict[str, Any]:
    """Return the parameters of these statements; `rate` is the processor's."""
    processor, per_minute = rate or ("", None)
    return {"batch_id": batch_id, "processor": processor, "per_minute": per_minute}


def has_rate(batch_id: int) -> bool:
    """Return whether the batch has a rate, and turns could begin on it."""
    sql = (
        "SELECT true FROM batch WHERE id = %s AND per_minute IS NOT NULL AND paused_at IS NULL"
        " AND status IN ('pending', 'processing')"
    )
    return bool(fetch_value(sql, (batch_id,)))


def wait(condition: str, parameters: dict[str, Any]) -> Wait | None:
    """Return why the turn that this session tried last didn't begin; None if no rate forbade it.

    Also None if its batch doesn't meet the condition: it would wait in vain.
    """
    sql = "SELECT current_setting('email_batch.allowance')::jsonb FROM batch"
    allowance = fetch_value(f"{sql} WHERE id = %(batch_id)s AND {condition}", parameters)
    emails, *rest = allowance or (None,)
    return Wait(*rest) if emails == 0 else None


def return_unused(batch_id: int, rate: Rate | None, emails: int) -> None:
    """Take back what was given out for this number of emails, because the turn left them."""
    pool.execute_sql(
        f"WITH {_LOCKED} SELECT FROM held; {_spend('-%(emails)s')}",
        {**parameters(batch_id, rate), "emails": emails},
    )
