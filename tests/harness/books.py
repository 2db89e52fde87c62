"""The database's rows, and the sums that must be true of them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2

from batches import invariants, snapshots
from models import Snapshot
from postgres.database import pool, session


def query(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with session(60):
        return list(pool.execute_sql(sql, parameters).fetchall())


def emails(batch_id: int) -> list[tuple[str, str, str | None]]:
    """The batch's emails in order: address, status, reason."""
    return query(
        "SELECT email, status, reason FROM email WHERE batch_id = %s ORDER BY id", batch_id
    )


def snapshot(batch_id: int) -> Snapshot:
    with session(60):
        return snapshots.present([batch_id])[0]


def assert_books_balance() -> None:
    """The invariants that hold at every quiet moment, over all batches."""
    wrong = query(
        "SELECT b.id FROM batch b CROSS JOIN LATERAL ("
        "  SELECT count(*) AS all_emails, count(*) FILTER (WHERE status <> 'pending') AS done,"
        "   count(*) FILTER (WHERE status = 'failed') AS failed FROM email WHERE batch_id = b.id"
        " ) e WHERE b.total_emails <> e.all_emails OR b.processed_count <> e.done"
        "  OR b.failed_count <> e.failed OR (b.status = 'completed') <> (e.done = e.all_emails)"
        "  OR (b.status = 'completed' AND b.completed_at IS NULL)"
    )
    assert wrong == []
    by_reason = query(
        "SELECT batch_id, reason, count(*) FROM email WHERE reason IS NOT NULL GROUP BY 1, 2"
    )
    for table in ("batch", "chunk"):
        key = "id" if table == "batch" else "batch_id"
        summed = query(
            f"SELECT {key}, reason, sum(number::int) FROM {table},"
            " jsonb_each_text(reasons) AS each (reason, number) GROUP BY 1, 2"
        )
        assert sorted(summed) == sorted(by_reason)


def remains() -> tuple[Any, ...]:
    """How many batches, chunks and emails there are."""
    return query(
        "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM chunk),"
        " (SELECT count(*) FROM email)"
    )[0]


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query of the PostgreSQL at `url`."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def execute_at(url: str, sql: str) -> None:
    """Execute statements on the PostgreSQL at `url`."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def wrong_at(url: str) -> list[str]:
    """The invariants that don't hold in the PostgreSQL at `url`."""
    return [sentence for sentence, sql in invariants.INVARIANTS.items() if rows(url, sql)]


def waiting(number: int) -> bool:
    """Whether so many sessions wait for somebody's lock."""
    return len(query("SELECT FROM pg_locks WHERE NOT granted")) == number
