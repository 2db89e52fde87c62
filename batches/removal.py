"""Remove the rows of deleted batches, in pieces that hold no lock for long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from postgres.database import Session, fetch_value, pool, session

# The tables in their order: name, the key that numbers the rows in a batch, rows removed at once.
# The batch itself goes last, so that an interrupted removal can be continued.
_REMOVED = (
    ("email", "id", 10_000),
    ("skipped_row", "row_number", 10_000),
    ("file_piece", "number", 10),
    ("chunk", "first_id", 1000),
    ("journal", "chunk", 1000),
    ("pace", "batch_id", 1000),
)


def remove_pieces(batch_id: int) -> Iterator[int]:
    """Remove the rows of a deleted batch: some with each step, in a short transaction.

    Yields the key removed last. Starting over does no harm, but takes time to step over the rows
    removed just before.
    """
    for table, key, size in _REMOVED:
        after = -1
        following = (
            f"SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE batch_id = %s AND {key} > %s"
            f" ORDER BY {key} LIMIT %s) AS next"
        )
        while (last := fetch_value(following, (batch_id, after, size))) is not None:
            # A range of the key uses the index whatever the statistics say.
            pool.execute_sql(
                f"DELETE FROM {table} WHERE batch_id = %s AND {key} > %s AND {key} <= %s",
                (batch_id, after, last),
            )
            after = last
            yield last
    pool.execute_sql("DELETE FROM batch WHERE id = %s AND deleted_at IS NOT NULL", (batch_id,))


def remove_all(
    batch_id: int,
    connect: Callable[[], AbstractContextManager[Session]] = session,
    *,
    deadline: float = math.inf,
    on_piece: Callable[[int], object] = lambda key: None,
) -> None:
    """Remove the rows of a deleted batch, each piece in a session of its own from `connect`.

    Stops at the `deadline` (monotonic). A worker removes the rest, also after an interruption.
    Calls `on_piece` before each piece with the key removed last.
    """
    pieces = remove_pieces(batch_id)
    last: int | None = 0
    while last is not None and time.monotonic() < deadline:
        on_piece(last)
        with connect():
            last = next(pieces, None)


def expired_batches(days: float, limit: int) -> list[int]:
    """Return the ids of batches that ended more than `days` ago: the oldest `limit` of them."""
    rows = pool.execute_sql(
        "SELECT id FROM batch WHERE deleted_at IS NULL"
        " AND completed_at < now() - make_interval(secs => %s) ORDER BY id LIMIT %s",
        (days * 86_400, limit),
    )
    return [batch_id for (batch_id,) in rows.fetchall()]


def deleted_batches(seconds: float) -> list[int]:
    """Return the ids of batches deleted more than `seconds` ago whose rows are not all removed."""
    rows = pool.execute_sql(
        "SELECT id FROM batch WHERE deleted_at < now() - make_interval(secs => %s)", (seconds,)
    )
    return [batch_id for (batch_id,) in rows.fetchall()]
