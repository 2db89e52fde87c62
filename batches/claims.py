"""The beginning of a turn in the database: claim a chunk. Its end is in batches/commits.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batches import allowances, snapshots
from batches.allowances import Wait
from batches.cells import ROW_END
from batches.items import Items, KeptCells
from models import Snapshot
from postgres import database
from postgres.database import fetch_one, pool
from postgres.prepared import BY_INDEX, Prepared
from processors import Item, Processor, as_lines, takes_items
from processors.items import key_of
from processors.options import options_of
from runtime.entries import ProcessorEntry

# Seconds after the beginning of a turn in which no other worker may begin one on the same chunk.
# The claim normally follows after 0.001.
CLAIM_SECONDS = 0.2


@dataclass(frozen=True)
class Claim:
    """A chunk that this transaction has locked, and its pending emails.

    `lost` counts the earlier turns on this chunk that were never committed.
    `more` says whether the batch has other unfinished chunks, possibly claimed.
    `started` is the batch's snapshot if this turn took it out of `pending`.
    `pending` counts the pending emails, and `ids` are the ids of those that the turn may take; of
    all, if the turn has a number.
    `text` has their addresses, one a line; None if an address contains a line end.
    `listed` has their addresses as a list; None if only the text has been read.
    `limit` is the number of emails that a rate gave out to the turn; None without a rate.
    `reasons` are the chunk's counts by reason.
    `suspect` says whether the batch has an email with one of the claimer's suspicious reasons.
    `rounds` counts how often the pending emails were put off, and `put_off` is the seconds since
    that was done first; None if it wasn't.
    `waited` says whether they are among those that the batch counts as waiting.
    `rounds_before` counts the rounds of these emails before they were requeued.
    `turn` is the number of this turn, larger than that of any earlier one on the chunk; 0 if none
    was asked for.
    `paused` says whether the batch was paused since the turn began.
    The fields below are read only for a processor that takes Items.
    `options` has the values that were chosen for the batch.
    `columns` has the names of the columns whose cells the batch keeps.
    `cells` has the cells of emails, a line of cells.pack() for each; None if the batch keeps none.
    `cells_from` is the id of the email whose cells come first in `cells`; None without cells.
    """

    batch_id: int
    first_id: int
    last_id: int
    lost: int
    more: bool
    started: Snapshot | None
    pending: int
    ids: Sequence[int]
    text: str | None
    listed: list[str] | None
    limit: int | None
    reasons: dict[str, int]
    suspect: bool
    rounds: int
    put_off: float | None
    waited: bool
    rounds_before: int
    turn: int
    paused: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] = ()
    cells: str | None = None
    cells_from: int | None = None

    @property
    def round(self) -> int:
        """How often these emails are processed, with this time."""
        return self.rounds_before + self.rounds + 1

    def given(self, processor: Processor) -> Sequence[str | Item]:
        """Return what the processor gets of each pending email, in the order of `ids`."""
        if not takes_items(processor):
            return self.addresses
        kept = None
        if self.cells is not None and self.cells_from is not None:
            kept = KeptCells(self.columns, self.cells_from, self.cells.split(ROW_END))
        batch_id, round_, options = self.batch_id, self.round, options_of(processor, self.options)

        def make(email_id: int, address: str) -> Item:
            cells = {} if kept is None else kept.of(email_id)
            return Item(address, key_of(batch_id, email_id, round_), round_, cells, options)

        return Items(self.ids, self.addresses, make)

    @property
    def addresses(self) -> list[str]:
        """The addresses in the order of `ids`."""
        return (self.text or "").split("\n") if self.listed is None else self.listed


def is_open(chunk: str) -> str:
    """Return a condition: the chunk has emails to be processed now."""
    return f"""{chunk}.done <= {chunk}.last_id - {chunk}.first_id
    AND ({chunk}.due_at <= clock_timestamp()) IS NOT FALSE"""


def _free(where: str) -> str:
    """Return a query for the first chunk that meets the condition and that a turn can begin on."""
    return f"""
  SELECT first_id FROM chunk
  WHERE batch_id = %(batch_id)s AND {where} AND {is_open("chunk")}
    -- A time in the future means that the clock was set back; it protects no chunk.
    AND (attempts > 0 AND begun_at BETWEEN clock_timestamp()
      - make_interval(secs => %(claiming)s) AND clock_timestamp()) IS NOT TRUE
  ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED"""


def _unfinished(where: str) -> str:
    """Return a condition: the batch has an open chunk whose `first_id` meets `where`."""
    return f"""EXISTS (SELECT FROM chunk AS o WHERE o.batch_id = chunk.batch_id
      AND o.first_id {where} AND {is_open("o")})"""


# Claiming takes two transactions; the second is left open.
#
# _turn_transaction() notes that a turn begins on the first open chunk that nobody holds: one that
# has waited until now, or one from `start` on, or any of the batch. It makes a pending batch
# `processing`. The note is committed by itself, so that it outlives a worker that dies in the turn.
# The commit doesn't wait for the disk: the log keeps the order, so no later commit gets there
# without it.
#
# _claim_transaction() locks the chunk. No lock is held between the two, so for CLAIM_SECONDS no
# other worker may begin a turn on the chunk. Both are sent in one message, because a busy worker
# may take long to send a second one. Only the last result reaches the driver, so the first
# transaction passes its result to the second in a setting of the session, email_batch.turn.
#
# With a rate, the first transaction also takes what the rate allows (allowances.py). Without one,
# nothing of that is sent.
#
# The turn and the claim are prepared, because planning them takes seven times as long as executing
# them. BY_INDEX holds until the end of the turn, so no statement of a turn may need to read a table
# from its beginning to its end. If the claim failed because the type of a column has changed, the
# message would be sent again and begin a second turn. So each column that it returns has a cast.


def _turn_sql(condition: str, limit: str = "NULL") -> str:
    return f"""
WITH start AS (
  SELECT greatest(%(start)s, %(share)s * total_emails)::int AS id, waiting FROM batch
  WHERE id = %(batch_id)s AND status IN ('pending', 'processing') AND paused_at IS NULL
    AND {snapshots.OF_PROCESSOR} AND {condition}
), due AS ({_free("due_at IS NOT NULL AND (SELECT waiting > 0 FROM start)")}
), next AS ({_free("first_id >= (SELECT id FROM start) AND NOT EXISTS (SELECT FROM due)")}
), other AS ({_free("EXISTS (SELECT FROM start) AND NOT EXISTS (TABLE due UNION TABLE next)")}
), taken AS (SELECT * FROM due UNION ALL SELECT * FROM next UNION ALL SELECT * FROM other
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
    started.snapshot, {limit}) AS turn
) SELECT set_config('email_batch.turn', turn::text, false) FROM begun"""


def _claim_sql(columns: str = "", tables: str = "") -> str:
    return f"""
SELECT turn, c.last_id::int, c.done::int, c.addresses::text, c.reasons::jsonb,
  b.reasons ?| %(suspicious)s, c.rounds::int,
  extract(epoch FROM clock_timestamp() - c.put_off_at)::float8, c.due_at IS NOT NULL,
  c.rounds_before::int, CASE WHEN %(numbered)s THEN nextval('turn') ELSE 0 END,
  b.paused_at IS NOT NULL
  {columns}
FROM (SELECT nullif(current_setting('email_batch.turn'), '')::jsonb AS turn) AS begun
  JOIN chunk AS c ON c.batch_id = %(batch_id)s AND c.first_id = (turn->>0)::int
  JOIN batch AS b ON b.id = c.batch_id
  {tables}
WHERE b.status = 'processing' AND {is_open("c")}
-- A pause since the beginning of the turn doesn't keep it from its chunk, because the turn would
-- count as lost. It ends without outcomes instead.
-- Another worker may hold the lock for a moment, until it sees that the chunk's turn has begun.
FOR UPDATE OF c"""


# A chunk that was cut off from another one leaves its cells there.
_KEPT = """LEFT JOIN LATERAL (
    SELECT cells, first_id FROM chunk
    WHERE batch_id = c.batch_id AND first_id <= c.first_id AND cells IS NOT NULL
      AND b.columns <> '[]'
    ORDER BY first_id DESC LIMIT 1
  ) AS kept ON true"""
_ITEMS = ", b.options::jsonb, b.columns::jsonb, kept.cells::text, kept.first_id::int"
_PREPARED = Prepared(
    {
        "batch_id": "bigint",
        "start": "int",
        "share": "float8",
        "claiming": "float8",
        "suspicious": "text[]",
        "numbered": "boolean",
        **snapshots.TYPES_OF_PROCESSOR,
    },
    turn=_turn_sql("per_minute IS NULL"),
    rated_turn=_turn_sql(allowances.ANY_ALLOWED, allowances.LIMIT),
    claim=_claim_sql(),
    claim_items=_claim_sql(_ITEMS, _KEPT),
)


def _turn_transaction(turn: str, before: str = "", after: str = "") -> str:
    return f"""
BEGIN;
SELECT set_config('synchronous_commit', 'off', true), set_config('email_batch.turn', '', false);
{before}{turn};
{after}COMMIT;
"""


def _claim_transaction(claim: str) -> str:
    return f"""
{BY_INDEX}
SELECT set_config('synchronous_commit', 'off', true),
  set_config('idle_in_transaction_session_timeout', %(idle)s, true);
{claim}
"""


_BEGIN_TURN = _turn_transaction(_PREPARED.execute["turn"])
_BEGIN_RATED_TURN = _turn_transaction(
    _PREPARED.execute["rated_turn"], allowances.TAKE, allowances.SPEND
)
_CLAIM = _claim_transaction(_PREPARED.execute["claim"])
_CLAIM_ITEMS = _claim_transaction(_PREPARED.execute["claim_items"])


def claim_chunk(
    batch_id: int,
    processor: ProcessorEntry,
    suspicious: Sequence[str],
    idle_seconds: float,
    *,
    start: int = 0,
    share: float = 0.0,
    numbered: bool = False,
    items: bool = False,
) -> Claim | Wait | None:
    """Begin a turn on the batch and claim a chunk, in a transaction that is left open.

    Returns None if no chunk is free, if the batch is paused, or if there is no such batch of this
    processor, however its id came into the processor's list; and Wait if a rate, the batch's or the
    processor's, allows no email at this moment. Takes the first free chunk whose emails have waited
    until now; if there is none, the first one whose first id is at least `start` and at least this
    `share` of all emails; if there is none, the first free one. An email with one of the
    `suspicious` reasons makes its batch suspect. PostgreSQL ends a transaction that is idle for
    `idle_seconds`.
    numbered: the turn gets a number.
    items: the claim has what the Items for a processor are made of.
    """
    rate = processor.rate
    parameters = {
        **allowances.parameters(batch_id, rate),
        **snapshots.of_processor(processor),
        "start": start,
        "share": share,
        "numbered": numbered,
        "claiming": CLAIM_SECONDS,
        "idle": f"{idle_seconds * 1000:.0f}ms",
        "suspicious": list(suspicious),
    }
    row = None
    claim = _CLAIM_ITEMS if items else _CLAIM
    if rate is None:
        row = _begin_and_claim(_BEGIN_TURN, claim, parameters)
    if row is None and (rate is not None or allowances.has_rate(batch_id)):
        pool.rollback()
        row = _begin_and_claim(_BEGIN_RATED_TURN, claim, parameters)
        if row is None:
            return allowances.wait(snapshots.OF_PROCESSOR, parameters)
    return None if row is None else _claim(batch_id, numbered, *row)


def _begin_and_claim(
    begin_turn: str, claim: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Send the message that begins a turn and claims its chunk; return the claim's row, if any."""
    message = f"{begin_turn}{database.begin()}{claim}"
    return _PREPARED.run(pool.connection(), lambda head: fetch_one(f"{head}{message}", parameters))


def _claim(
    batch_id: int,
    numbered: bool,
    turn: list[Any],
    last_id: int,
    done: int,
    text: str | None,
    *state: Any,
) -> Claim:
    first_id, lost, more, started, limit = turn
    # A turn with a number takes over all that an earlier one handed out, whatever its own limit.
    most = None if numbered else limit
    pending = last_id - first_id + 1
    ids: Sequence[int] = range(first_id, last_id + 1)[:most]
    listed = None
    if text is None or done:
        pending, ids, listed = _pending(batch_id, first_id + done, last_id, most)
        text = as_lines(listed)
    elif most is not None:
        text = "\n".join(text.split("\n", most)[:most])
    snapshot = Snapshot(*started) if started else None
    held = (batch_id, first_id, last_id, lost, more, snapshot, pending, ids, text, listed, limit)
    return Claim(*held, *state)


def _pending(
    batch_id: int, first_id: int, last_id: int, limit: int | None
) -> tuple[int, list[int], list[str]]:
    """Return how many emails in this range are pending, and ids and addresses of the first."""
    number = "NULL" if limit is None else "count(*) OVER ()"
    rows = pool.execute_sql(
        f"SELECT id, email, {number} FROM email"
        " WHERE batch_id = %s AND id BETWEEN %s AND %s AND status = 'pending' ORDER BY id LIMIT %s",
        (batch_id, first_id, last_id, limit),
    ).fetchall()
    pending = rows[0][2] if rows and limit is not None else len(rows)
    return pending, [row[0] for row in rows], [row[1] for row in rows]
