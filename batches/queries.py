"""Queries for the pages and the API. All of them only read."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batches.filters import ANY, CONTAINS, EMAIL, Filter
from batches.snapshots import OF_PROCESSOR
from models import Action, Batch
from postgres.database import fetch_all, fetch_value, pool
from postgres.prepared import Prepared
from processors.syntax import MAX_CHARACTERS
from runtime.phrases import shorten
from tabular.formats import CELLS


@dataclass(frozen=True)
class Backlog:
    """The work that is waiting.

    `unfinished` counts the batches that are pending or processing, and not paused.
    `batch_id` and `filename` are of the batch that has been pending longest; None if none is.
    `seconds` is the time for which that batch has been pending.
    `processors` are the names of the processors of all unfinished batches.
    """

    unfinished: int
    batch_id: int | None
    filename: str | None
    seconds: float | None
    processors: list[str]


def backlog(unnamed: str) -> Backlog:
    """Return the Backlog of all batches; `unnamed` is the processor of those that name none."""
    name = "coalesce(processor, %(unnamed)s)"
    cursor = pool.execute_sql(
        "SELECT unfinished, oldest.id, filename,"
        "  extract(epoch FROM greatest(now(), created_at) - created_at)::float8, processors"
        " FROM (SELECT count(*) AS unfinished, min(id) FILTER (WHERE status = 'pending') AS id,"
        f"  coalesce(array_agg(DISTINCT {name} ORDER BY {name}), '{{}}') AS processors"
        "  FROM batch WHERE status IN ('pending', 'processing') AND paused_at IS NULL) AS oldest"
        " LEFT JOIN batch ON batch.id = oldest.id",
        {"unnamed": unnamed},
    )
    return Backlog(*cursor.fetchone())


# The most actions shown for one batch.
MAX_ACTIONS = 20
# A batch's newest actions. To read them by a statement of their own would take twice as long.
_HISTORY = f"""(SELECT coalesce(json_agg(newest), '[]') FROM (
  SELECT * FROM action WHERE batch_id = batch.id ORDER BY id DESC LIMIT {MAX_ACTIONS}
) AS newest)"""
_OF_ID = "WHERE id = %(batch_id)s AND deleted_at IS NULL"
# Nearly all requests read a batch, and planning that takes as long as executing it.
_ONE = Prepared(
    {"batch_id": "bigint"},
    batch=Batch.select_text(_OF_ID),
    with_history=Batch.select_text(_OF_ID, history=_HISTORY),
)


def find_batch(batch_id: int, *, with_history: bool = False) -> Batch | None:
    """Return the batch; None if it doesn't exist or was deleted."""
    row = _ONE.fetch_one("with_history" if with_history else "batch", {"batch_id": batch_id})
    return None if row is None else Batch.of_row(row, *(["history"] if with_history else []))


def last_action(batch_id: int) -> Action | None:
    """Return the newest action on the batch, which may be gone; None if there was none."""
    found = Action.read("WHERE batch_id = %s ORDER BY id DESC LIMIT 1", (batch_id,))
    return found[0] if found else None


# What is read of batches that are listed: of the columns that a batch keeps, of which there may be
# 16,384, only the first CELLS.
_LISTED = {"columns": f"jsonb_path_query_array(columns, '$[0 to {CELLS - 1}]')"}
# The most batches that one call of find_batches() examines, so that it is never slow.
MAX_BATCHES = 10_000
# Conditions of listed batches, by what is wanted.
_WANTED = {
    "before": "id < %(before)s",
    "status": "status = %(status)s",
    "of_processor": OF_PROCESSOR,
    "containing": CONTAINS.format("filename", "%(containing)s"),
}


def find_batches(
    status: str | None = None,
    containing: str | None = None,
    of_processor: tuple[str, bool] | None = None,
    *,
    before: int | None = None,
    limit: int,
) -> tuple[dict[int, str], int | None]:
    """Return the batches that match every argument, newest first, and the next page's `before`.

    The batches are ids with the versions of their rows; with each change, a row gets a new version.
    A page may be short or empty although there is a next one, because at most MAX_BATCHES are
    examined. `containing` is a part of the file's name; case is ignored. `of_processor` has
    the two parameters of OF_PROCESSOR.
    """
    wanted: dict[str, Any] = {"before": before, "status": status, "containing": containing}
    wanted["of_processor"] = of_processor
    wanted = {name: value for name, value in wanted.items() if value}
    conditions = " AND ".join(["deleted_at IS NULL", *(_WANTED[name] for name in wanted)])
    of, of_unnamed = of_processor or (None, None)
    parameters = wanted | {"of": of, "of_unnamed": of_unnamed}
    parameters |= {"limit": limit + 1, "most": MAX_BATCHES}
    following = None
    if wanted.keys() - {"before"}:
        beyond = _first_not_examined(parameters)
        if beyond is not None:
            conditions += f" AND id > {beyond}"
            following = beyond + 1
    # A row's version is the transaction that wrote it, and its revision: on another server, after a
    # failover or a restore, another transaction may have the same number.
    found = fetch_all(
        f"SELECT id, xmin || ' ' || revision FROM batch WHERE {conditions}"
        " ORDER BY id DESC LIMIT %(limit)s",
        parameters,
    )
    if len(found) > limit:
        return dict(found[:limit]), found[limit - 1][0]
    return dict(found), following


def _first_not_examined(parameters: Mapping[str, Any]) -> int | None:
    """Return the id of the first batch that find_batches() leaves to the next page, if any.

    It is found by ids, because counting MAX_BATCHES batches takes as long as examining them.
    """
    earlier = _WANTED["before"] if "before" in parameters else "true"
    number: int | None = fetch_value(
        "SELECT max(id) FROM batch WHERE deleted_at IS NULL AND id <= ("
        f"  SELECT max(id) - %(most)s FROM batch WHERE deleted_at IS NULL AND {earlier})",
        parameters,
    )
    return number


def listed(batch_ids: Iterable[int]) -> list[Batch]:
    """Return those of the batches that exist, newest first, with the first CELLS of `columns`."""
    return Batch.read(
        "WHERE id = ANY(%s) AND deleted_at IS NULL ORDER BY id DESC", ([*batch_ids],), **_LISTED
    )


def elapsed_seconds(batch: Batch) -> float | None:
    """Return the seconds from the batch's start to its end, or to now; None before its start."""
    if batch.started_at is None:
        return None
    if batch.completed_at is not None:
        lasted: float = (batch.completed_at - batch.started_at).total_seconds()
        return max(0.0, lasted)
    seconds: float | None = fetch_value(
        "SELECT extract(epoch FROM"
        "  greatest(coalesce(completed_at, now()), started_at) - started_at)::float8"
        " FROM batch WHERE id = %s",
        (batch.id,),
    )
    return seconds


# For each reason, the status of one of its emails, in the first chunk that is found to have one. A
# join with all such chunks would read the emails of each: for 57 reasons that are rare among a
# million emails, it takes 2 s, and this 0.06 s.
_STATUS_OF_REASONS = """
SELECT reason, (
  SELECT status FROM email
  WHERE batch_id = %(batch_id)s AND id BETWEEN holder.first_id AND holder.last_id
    AND email.reason = named.reason LIMIT 1
) FROM unnest(%(reasons)s::text[]) AS named (reason), LATERAL (
  SELECT first_id, last_id FROM chunk
  WHERE batch_id = %(batch_id)s AND reasons ? named.reason LIMIT 1
) AS holder
"""


def status_of_reasons(batch_id: int, reasons: Collection[str]) -> dict[str, str]:
    """Return for each reason the status of one of its emails; a reason without one is left out."""
    rows = fetch_all(_STATUS_OF_REASONS, {"batch_id": batch_id, "reasons": [*reasons]})
    return {reason: status for reason, status in rows if status}


# Limits of one call of find_emails(), so that it is never slow: emails at which it stops, unless
# their addresses are searched, because a person wants all of the batch searched at once; chunks
# examined of those that may have what is wanted; seconds after which it stops.
MAX_SCANNED = 50_000
MAX_CHUNKS = 200
MAX_SECONDS = 1.0
# The first statement of find_emails() examines PIECE emails. After one that took less than QUICK
# seconds, the next examines twice as many, but never more than MAX_PIECE. So MAX_SCANNED may be
# exceeded by a piece.
PIECE, MAX_PIECE, QUICK = 10_000, 80_000, 0.1


@dataclass(frozen=True)
class Found:
    """An email with its outcome.

    `id` is its number in the batch, `row_number` its line in the file.
    `email` is its address, shortened to MAX_CHARACTERS.
    `answers` has what the processor answered besides, by name; None if it answered nothing.
    """

    id: int
    email: str
    row_number: int
    status: str
    reason: str | None
    answers: dict[str, str] | None = None


# The bytes of answers at which a page of emails ends, because an email may have 50 kB of them.
MAX_BYTES = 1 << 20
# The emails of a piece that are wanted, until there is no room for more answers; with the bytes of
# answers up to each, and how many emails there are without regard to the room.
_FOUND = f"""
SELECT id, email, row_number, status, reason, answers, upto, matching FROM (
  SELECT *, sum(size) OVER (ORDER BY id) AS upto, count(*) OVER () AS matching FROM (
    SELECT id, left(email, {MAX_CHARACTERS + 1}) AS email, row_number, status, reason, answers,
      coalesce(octet_length(answers::text), 0) AS size
    FROM email WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s
      AND {{condition}} ORDER BY id LIMIT %(limit)s
  ) AS page
) AS sized WHERE upto - size < %(room)s ORDER BY id
"""


# For no filter, as on a batch's page at first. Planning it takes as long as executing it.
_ALL = Prepared(
    {"batch_id": "bigint", "first": "int", "last": "int", "limit": "int", "room": "int"},
    all=_FOUND.format(condition=ANY),
)


def find_emails(
    batch: Batch, wanted: Filter, *, after: int = 0, limit: int
) -> tuple[list[Found], int | None]:
    """Return the emails of a batch that are wanted, by id, and the next page's `after`.

    A page may be short or empty although there is a next one. It ends at MAX_BYTES of answers, and
    no further piece is examined after MAX_SECONDS, nor after MAX_SCANNED emails unless addresses
    are searched. Only the first MAX_CHARACTERS of an address are returned.
    """
    email_condition, chunk_condition, parameters = wanted.conditions()
    parameters["batch_id"] = batch.id
    found: list[Found] = []
    room = MAX_BYTES
    scanned, deadline = 0, time.monotonic() + MAX_SECONDS
    ranges = _ranges(batch, chunk_condition, {**parameters, "after": after})
    for number, first_id, last_id in _pieces(ranges, after):
        enough = scanned >= MAX_SCANNED and not wanted.containing
        late = scanned and time.monotonic() >= deadline
        if enough or number == MAX_CHUNKS or late:
            return found, first_id - 1
        scanned += last_id - first_id + 1
        piece = {"first": first_id, "last": last_id, "limit": limit + 1 - len(found)}
        rows = _rows(email_condition, {**parameters, **piece, "room": room})
        found += [
            Found(number, shorten(email, MAX_CHARACTERS), *rest)
            for number, email, *rest, _, _ in rows
        ]
        if len(found) > limit:
            return found[:limit], found[limit - 1].id
        if rows:
            taken, matching = rows[-1][-2:]
            room -= taken
            if room <= 0 or matching > len(rows):
                return found, found[-1].id
    return found, None


def _rows(condition: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Return the rows of _FOUND."""
    if condition == ANY:
        return _ALL.fetch_all("all", parameters)
    return fetch_all(_FOUND.format(condition=condition), parameters)


def _ranges(
    batch: Batch, condition: str, parameters: Mapping[str, object]
) -> Sequence[tuple[Any, ...]]:
    """Return the first and last ids of the first MAX_CHUNKS + 1 chunks that meet the condition.

    If all chunks do, they are one range, because a batch's emails are numbered from 1 without gaps.
    """
    if condition == ANY:
        return [(1, batch.total_emails)]
    return fetch_all(
        "SELECT first_id, last_id FROM chunk"
        f" WHERE batch_id = %(batch_id)s AND last_id > %(after)s AND {condition}"
        " ORDER BY first_id LIMIT %(most)s",
        {**parameters, "most": MAX_CHUNKS + 1},
    )


def _pieces(ranges: Iterable[tuple[Any, ...]], after: int) -> Iterator[tuple[int, int, int]]:
    """Yield pieces of ranges of emails, which are given by their first and last ids.

    A piece is (number of the range from 0, first id above `after`, last id). It has PIECE emails,
    or fewer at the end of a range; and twice as many after each full one with which the caller was
    done in QUICK seconds.
    """
    size = PIECE
    for number, (first_id, last_id) in enumerate(ranges):
        first = max(first_id, after + 1)
        while first <= last_id:
            began, following = time.monotonic(), first + size
            yield number, first, min(following - 1, last_id)
            first = following
            if following <= last_id and time.monotonic() - began < QUICK:
                size = min(2 * size, MAX_PIECE)


# The most domains that typo_domains() returns.
MAX_DOMAINS = 100
# Reads each chunk as a range of the primary key. OFFSET 0 keeps the planner to that: a new batch
# has no statistics, which could lead it to another plan.
_TYPO_DOMAINS = f"""
SELECT lower(substring({EMAIL} FROM '[^@]*$')) AS domain, count(*) AS number
FROM chunk CROSS JOIN LATERAL (
  SELECT email FROM email
  WHERE batch_id = %(batch_id)s AND id BETWEEN first_id AND last_id AND reason = 'likely_typo'
  OFFSET 0
) AS mistyped
WHERE chunk.batch_id = %(batch_id)s AND reasons ? 'likely_typo'
GROUP BY domain ORDER BY number DESC, domain LIMIT %(most)s
"""


def typo_domains(batch_id: int) -> list[tuple[str, int]]:
    """Return (domain in lower case, number of emails) of the likely typos, most frequent first."""
    rows = fetch_all(_TYPO_DOMAINS, {"batch_id": batch_id, "most": MAX_DOMAINS})
    return [(str(domain), int(number)) for domain, number in rows]
