"""Read the database's rows, and check that the counts agree with them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2

from batches import snapshots
from batches.invariants import INVARIANTS
from models import Snapshot
from postgres.database import pool, session


def query(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with session(60):
        return list(pool.execute_sql(sql, parameters).fetchall())


def emails(batch_id: int) -> list[tuple[str, str, str | None]]:
    """Return (address, status, reason) of the batch's emails, in order."""
    return query(
        "SELECT email, status, reason FROM email WHERE batch_id = %s ORDER BY id", batch_id
    )


def snapshot(batch_id: int) -> Snapshot:
    with session(60):
        return snapshots.present([batch_id])[0]


# What may be wrong with a batch, as a sentence, and a query for the ids of such batches.
BOOKS = INVARIANTS | {
    "all its emails have ended and it is not completed, or the other way about": """
        SELECT id FROM batch
        WHERE (status = 'completed') <> (processed_count = total_emails)""",
    "its reasons are not those of its emails": """
        SELECT coalesce(b.batch_id, e.batch_id) FROM (
            SELECT id AS batch_id, reason, number::int
            FROM batch, jsonb_each_text(reasons) AS each (reason, number)) b
        FULL JOIN (
            SELECT batch_id, reason, count(*) AS number FROM email
            WHERE reason IS NOT NULL GROUP BY 1, 2) e USING (batch_id, reason)
        WHERE b.number IS DISTINCT FROM e.number""",
}


def wrong(rows: Callable[[str], list[tuple[Any, ...]]]) -> list[str]:
    """Return a sentence for each error in the books; `rows` returns the rows of a query."""
    return [f"batch {row[0]}: {each}" for each, sql in BOOKS.items() for row in rows(sql)]


def assert_books_balance() -> None:
    """Assert what is true of all batches whenever no turn is under way."""
    assert wrong(query) == []


def remains() -> tuple[Any, ...]:
    """Return the numbers of batches, chunks and emails."""
    return query(
        "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM chunk),"
        " (SELECT count(*) FROM email)"
    )[0]


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of the PostgreSQL at `url`."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def execute_at(url: str, sql: str, *parameters: object) -> None:
    """Execute statements on the PostgreSQL at `url`."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)


def wrong_at(url: str) -> list[str]:
    """Return a sentence for each error in the books of the PostgreSQL at `url`."""
    return wrong(lambda sql: rows(url, sql))


def waiting(number: int) -> bool:
    """Return whether this number of sessions waits for locks."""
    return len(query("SELECT FROM pg_locks WHERE NOT granted")) == number
