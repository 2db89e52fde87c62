"""What is read for people: nothing here changes anything."""

from __future__ import annotations

from dataclasses import dataclass

from database import pool
from models import Batch


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
    found: Batch | None = Batch.get_or_none(Batch.id == batch_id)
    return found


def recent_batches(limit: int, before: int | None = None) -> list[Batch]:
    """Up to `limit` batches, newest first; with `before`, only those with a smaller id."""
    query = Batch.select().order_by(Batch.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Batch.id < before)
    return list(query)
