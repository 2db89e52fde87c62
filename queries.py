"""What is read for people: nothing here changes anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from peewee import SQL

from database import pool
from formats import shorten
from models import Action, Batch, fetch_one
from processors import reasons
from processors.syntax import MAX_CHARACTERS


@dataclass(frozen=True)
class Backlog:
    """How many batches are unfinished, and which has been pending longest, for how many seconds;
    None if none is pending."""

    unfinished: int
    batch_id: int | None
    filename: str | None
    seconds: float | None


def backlog() -> Backlog:
    """What is still to be done, in short."""
    cursor = pool.execute_sql(
        "SELECT (SELECT count(*) FROM batch WHERE status IN ('pending', 'processing')),"
        "  oldest.id, filename,"
        "  extract(epoch FROM greatest(now(), created_at) - created_at)::float8"
        " FROM (SELECT min(id) AS id FROM batch WHERE status = 'pending') AS oldest"
        " LEFT JOIN batch ON batch.id = oldest.id"
    )
    return Backlog(*cursor.fetchone())


def find_batch(batch_id: int) -> Batch | None:
    """The batch, or None."""
    found: Batch | None = Batch.get_or_none(Batch.id == batch_id, Batch.deleted_at.is_null())
    return found


# What was done to one batch, that is shown of it: the newest.
MAX_ACTIONS = 20


def actions(batch_id: int) -> list[Action]:
    """What was done to the batch since it was uploaded, the newest first, MAX_ACTIONS at most."""
    query = Action.select().where(Action.batch_id == batch_id)
    return list(query.order_by(Action.id.desc()).limit(MAX_ACTIONS))


# Whether a text has another in it, whatever the case of both. ILIKE would try each place in turn,
# which takes ten times as long for a long text with nearly the same in it over and over.
_CONTAINS = "strpos(lower({}), lower({})) > 0"

# Batches that one call of find_batches() looks at, at most, so that it never lasts.
MAX_BATCHES = 10_000


def find_batches(
    *,
    status: str | None = None,
    containing: str | None = None,
    before: int | None = None,
    limit: int,
) -> tuple[list[Batch], int | None]:
    """Batches that fit all that is given, newest first, and the `before` of the next page.

    A page may be short, even empty, although there is a next one: MAX_BATCHES at most are looked
    at. `containing` is a part of the file's name, whatever its case.
    """
    query = Batch.select().where(Batch.deleted_at.is_null()).order_by(Batch.id.desc())
    if before is not None:
        query = query.where(Batch.id < before)
    following = None
    if status or containing:
        # The first that is not looked at.
        beyond = query.select(Batch.id).offset(MAX_BATCHES).limit(1).tuples().first()
        if beyond is not None:
            query = query.where(Batch.id > beyond[0])
            following = beyond[0] + 1
    if status:
        query = query.where(Batch.status == status)
    if containing:
        query = query.where(SQL(_CONTAINS.format("filename", "%s"), (containing,)))
    found = list(query.limit(limit + 1))
    if len(found) > limit:
        return found[:limit], found[limit - 1].id
    return found, following


def elapsed_seconds(batch_id: int) -> float | None:
    """Seconds from when the batch was started to its end, or to now; None if it isn't started."""
    row = fetch_one(
        "SELECT extract(epoch FROM"
        "  greatest(coalesce(completed_at, now()), started_at) - started_at)::float8"
        " FROM batch WHERE id = %s",
        (batch_id,),
    )
    return row[0] if row else None


# Emails and chunks that one call of find_emails() looks at, at most, and the seconds after which it
# looks at no more, so that it never lasts; and the emails that one statement looks at.
MAX_SCANNED = 100_000
MAX_CHUNKS = 200
MAX_SECONDS = 1.0
PIECE = 5_000

# As much of an address as is looked at elsewhere: to search an endless one takes long.
_EMAIL = f"left(email, {MAX_CHARACTERS})"
# What each filter asks of an email, and of a chunk that may hold such emails: there is no index
# on what became of an email, but a chunk knows its sums by reason. A processor's own reasons may
# stand for a failure or for a risk.
_NOT_FAILED = [code for code, reason in reasons.CATALOGUE.items() if reason.verdict != "invalid"]
_NOT_RISKY = [code for code, reason in reasons.CATALOGUE.items() if reason.verdict != "risky"]
_ANY = "true"
_STATUS = {
    "pending": ("status = 'pending'", "done <= last_id - first_id"),
    "processed": ("status = 'processed'", _ANY),  # a chunk that is retried has some, done = 0
    "failed": ("status = 'failed'", "reasons - %(not_failed)s::text[] <> '{}'"),
}
_VERDICT = {
    "ok": ("status = 'processed' AND reason IS NULL", _ANY),
    "risky": (
        "status = 'processed' AND reason <> ALL (%(unknown)s)",
        "reasons - %(not_risky)s::text[] <> '{}'",
    ),
    "unknown": ("reason = ANY (%(unknown)s)", "reasons ?| %(unknown)s"),
    "invalid": _STATUS["failed"],
}


@dataclass(frozen=True)
class Found:
    """An email as it is read: its number in the batch, line in the file, and what became of it."""

    id: int
    email: str
    row_number: int
    status: str
    reason: str | None


def find_emails(
    batch_id: int,
    *,
    status: str | None = None,
    verdict: str | None = None,
    reason: str | None = None,
    containing: str | None = None,
    after: int = 0,
    limit: int,
) -> tuple[list[Found], int | None]:
    """Emails of a batch that fit all that is given, by id, and the `after` of the next page.

    A page may be short, even empty, although there is a next one: MAX_SCANNED emails at most are
    looked at, for about MAX_SECONDS. `containing` is a part of the address, whatever its case. Of
    an address, no more than MAX_CHARACTERS are searched and told.
    """
    conditions = [_STATUS[status]] if status else []
    conditions += [_VERDICT[verdict]] if verdict else []
    conditions += [("reason = %(reason)s", "reasons ? %(reason)s")] if reason else []
    conditions += [(_CONTAINS.format(_EMAIL, "%(containing)s"), _ANY)] if containing else []
    email_condition = " AND ".join(email for email, _ in conditions) or _ANY
    parameters = {
        "batch_id": batch_id,
        "reason": reason,
        "containing": containing,
        "unknown": list(reasons.UNKNOWN),
        "not_failed": _NOT_FAILED,
        "not_risky": _NOT_RISKY,
        "after": after,
    }
    found: list[Found] = []
    scanned, deadline = 0, time.monotonic() + MAX_SECONDS
    chunk_condition = " AND ".join(chunk for _, chunk in conditions) or _ANY
    for number, first_id, last_id in _pieces(_chunks(chunk_condition, parameters), after):
        late = scanned and time.monotonic() >= deadline
        if scanned >= MAX_SCANNED or number == MAX_CHUNKS or late:
            return found, first_id - 1
        scanned += last_id - first_id + 1
        rows = pool.execute_sql(
            f"SELECT id, left(email, {MAX_CHARACTERS + 1}), row_number, status, reason FROM email"
            " WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s"
            f" AND {email_condition} ORDER BY id LIMIT %(limit)s",
            {
                **parameters,
                "first": first_id,
                "last": last_id,
                "limit": limit + 1 - len(found),
            },
        )
        found += [
            Found(number, shorten(email, MAX_CHARACTERS), *rest)
            for number, email, *rest in rows.fetchall()
        ]
        if len(found) > limit:
            return found[:limit], found[limit - 1].id
    return found, None


def _pieces(chunks: Iterator[tuple[int, int]], after: int) -> Iterator[tuple[int, int, int]]:
    """The ids behind `after` in pieces: the chunk's number, counted from 0, first and last id."""
    for number, (first_id, last_id) in enumerate(chunks):
        for first in range(max(first_id, after + 1), last_id + 1, PIECE):
            yield number, first, min(first + PIECE - 1, last_id)


def _chunks(condition: str, parameters: Mapping[str, object]) -> Iterator[tuple[int, int]]:
    """First and last id of the chunks that may hold what is looked for, MAX_CHUNKS + 1 at most."""
    rows = pool.execute_sql(
        "SELECT first_id, last_id FROM chunk"
        f" WHERE batch_id = %(batch_id)s AND last_id > %(after)s AND {condition}"
        " ORDER BY first_id LIMIT %(most)s",
        {**parameters, "most": MAX_CHUNKS + 1},
    )
    return iter(rows.fetchall())


# Different domains that one call of typo_domains() tells of.
MAX_DOMAINS = 100
# A chunk at a time: its range of the primary key needs no statistics to be found, which a new
# batch doesn't have. OFFSET 0 keeps the planner from any other way.
_TYPO_DOMAINS = f"""
SELECT lower(substring({_EMAIL} FROM '[^@]*$')) AS domain, count(*) AS number
FROM chunk CROSS JOIN LATERAL (
  SELECT email FROM email
  WHERE batch_id = %(batch_id)s AND id BETWEEN first_id AND last_id AND reason = 'likely_typo'
  OFFSET 0
) AS mistyped
WHERE chunk.batch_id = %(batch_id)s AND reasons ? 'likely_typo'
GROUP BY domain ORDER BY number DESC, domain LIMIT %(most)s
"""


def typo_domains(batch_id: int) -> list[tuple[str, int]]:
    """The domains of a batch's likely typos, in lower case, with how many have each; most first."""
    rows = pool.execute_sql(_TYPO_DOMAINS, {"batch_id": batch_id, "most": MAX_DOMAINS})
    return [(str(domain), int(number)) for domain, number in rows.fetchall()]
