"""Removing the rows of deleted batches, in pieces that never lock anybody out for long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from peewee import SQL

from models import Batch
from postgres.database import Session, fetch_one, pool, session

# What a deleted batch is removed in: the table, the key that numbers its rows in the batch, and
# how many go at once. The batch itself goes last, so that what is interrupted can be gone on with.
_REMOVED = (
    ("email", "id", 10_000),
    ("skipped_row", "row_number", 10_000),
    ("file_piece", "number", 10),
    ("chunk", "first_id", 1000),
)


# Where a removal has got to: how many of the tables are empty, and the key removed last.
Place = tuple[int, int]


def remove_some(batch_id: int, place: Place = (0, -1)) -> Place | None:
    """Remove some rows of a deleted batch, in a short transaction, from `place` on.

    Returns the place to go on from, None when nothing is left. To begin anew does no harm, but
    takes time: what was removed last must be stepped over.
    """
    emptied, after = place
    if emptied == len(_REMOVED):
        pool.execute_sql("DELETE FROM batch WHERE id = %s AND deleted_at IS NOT NULL", (batch_id,))
        return None
    table, key, size = _REMOVED[emptied]
    row = fetch_one(
        f"SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE batch_id = %s AND {key} > %s"
        f" ORDER BY {key} LIMIT %s) AS next",
        (batch_id, after, size),
    )
    if row is None or row[0] is None:
        return emptied + 1, -1
    # By a range of the key, which finds them by the index whatever the statistics say.
    pool.execute_sql(
        f"DELETE FROM {table} WHERE batch_id = %s AND {key} > %s AND {key} <= %s",
        (batch_id, after, row[0]),
    )
    return emptied, row[0]


def remove_all(
    batch_id: int,
    connect: Callable[[], AbstractContextManager[Session]] = session,
    *,
    deadline: float = math.inf,
    on_piece: Callable[[int], object] = lambda key: None,
) -> None:
    """Remove the rows of a deleted batch, each piece in a session of its own from `connect`.

    Stops at the `deadline` (monotonic). A removal that stops, or is interrupted, does no harm: a
    worker removes the rest. `on_piece` is told before each piece which key was removed last.
    """
    place: Place | None = (0, -1)
    while place is not None and time.monotonic() < deadline:
        on_piece(max(0, place[1]))
        with connect():
            place = remove_some(batch_id, place)


def expired_batches(days: float, limit: int) -> list[int]:
    """Ids of so many batches at most that ended so many days ago, the oldest first."""
    query = (
        Batch.select(Batch.id)
        .where(
            Batch.deleted_at.is_null(),
            Batch.completed_at < SQL("now() - make_interval(secs => %s)", (days * 86_400,)),
        )
        .order_by(Batch.id)
        .limit(limit)
    )
    return [batch_id for (batch_id,) in query.tuples().execute()]


def deleted_batches(seconds: float) -> list[int]:
    """Ids of batches that were deleted so many seconds ago, and whose rows are still there."""
    query = Batch.select(Batch.id).where(
        Batch.deleted_at < SQL("now() - make_interval(secs => %s)", (seconds,))
    )
    return [batch_id for (batch_id,) in query.tuples().execute()]
