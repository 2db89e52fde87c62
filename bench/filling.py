"""Fills a database with processed batches, as they are after years of use.

The first batch, a tenth of all emails but a million at most, is uploaded and processed by the
product, and so is the second, of 10,000. All others are copies of the second, made by SQL. Their
emails are inserted as they are uploaded and then updated as they are processed, so that pages, line
pointers and indexes are those of real batches; their chunks, skipped rows and kept files are copied
as they were at the end. VACUUM and ANALYZE follow, as autovacuum would do them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import calls
import samples
from ground import Ground
from report import say

# The emails of a copied batch, and of the first one at most.
SMALL, LARGE = 10_000, 1_000_000
# How often the progress is told, in batches.
_TOLD = 1000
_COLUMNS = """SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> %s"""
_UPLOADED = """INSERT INTO email (batch_id, id, email, row_number)
SELECT %(new)s, id, email, row_number FROM email WHERE batch_id = %(like)s ORDER BY id"""
_PROCESSED = """UPDATE email SET status = made.status, reason = made.reason
FROM (SELECT * FROM email WHERE batch_id = %(like)s OFFSET 0) AS made
WHERE email.batch_id = %(new)s AND email.id = made.id"""
# The other tables of a batch, and which column has its id.
_OTHERS = {"skipped_row": "batch_id", "batch": "id", "chunk": "batch_id", "file_piece": "batch_id"}


def fill(ground: Ground, emails: int) -> None:
    """Store this number of emails."""
    large = min(emails // 10, LARGE)
    with ground.app() as app, ground.workers(1, 4):
        for rows in (large, SMALL):
            sample = samples.make(rows)
            uploaded = calls.upload(app.address, sample).batch_id
            ground.await_completed(uploaded, rows)
            ground.assert_counts(uploaded, rows, sample.malformed)
    copy(ground, uploaded, (emails - large) // SMALL - 1)


def copy(ground: Ground, like: int, number: int) -> None:
    """Copy the batch with the id `like` `number` times, and then VACUUM and ANALYZE."""
    newest = int(ground.rows("SELECT max(id) FROM batch")[0][0])
    with contextlib.closing(ground.connect()) as connection, connection.cursor() as cursor:
        # These files were written long ago, so nothing waits for the disk here.
        cursor.execute("SET synchronous_commit = off")
        # The planner doesn't expect a new batch, and would compare each email with each.
        cursor.execute("SET enable_nestloop = off")
        others = [*_copies(cursor)]
        for new in range(newest + 1, newest + number + 1):
            if (new - newest) % _TOLD == 0:
                say(f"{new - newest:,} of {number:,} batches stored")
            for statements in ([_UPLOADED, *others], [_PROCESSED]):
                for statement in statements:
                    cursor.execute(statement, {"like": like, "new": new})
                connection.commit()
    serial = "pg_get_serial_sequence('batch', 'id')"
    ground.rows(f"SELECT setval({serial}, %s)", newest + number)
    ground.rows("VACUUM (ANALYZE) batch, chunk, email, file_piece, skipped_row")
    ground.rows("CHECKPOINT")


def _copies(cursor: Any) -> Iterator[str]:
    """Yield statements that copy the rows of the other tables."""
    for table, key in _OTHERS.items():
        cursor.execute(_COLUMNS, (table, key))
        (columns,) = cursor.fetchone()
        yield (
            f"INSERT INTO {table} ({key}, {columns}) SELECT %(new)s, {columns}"
            f" FROM {table} WHERE {key} = %(like)s"
        )
