"""One job, the same for every peer: check one address and update its row."""

from __future__ import annotations

import os
import threading

import psycopg2
from psycopg2.extensions import cursor

from processors.check import check_one

# A job's arguments: the batch's id, the email's id, its address.
Job = tuple[int, int, str]

_own = threading.local()


def _cursor() -> cursor:
    """Return this thread's cursor, on a connection that lasts as long as the thread."""
    if not hasattr(_own, "cursor"):
        connection = psycopg2.connect(os.environ["DATABASE_URL"])
        # Each statement is a transaction, without the round trips of BEGIN and COMMIT.
        connection.autocommit = True
        _own.cursor = connection.cursor()
    found: cursor = _own.cursor
    return found


def process(batch_id: int, email_id: int, address: str) -> None:
    """Run the job."""
    outcome = check_one(address)
    _cursor().execute(
        "UPDATE email SET status = %s, reason = %s WHERE batch_id = %s AND id = %s",
        (outcome.status, outcome.reason, batch_id, email_id),
    )


def all_jobs() -> list[Job]:
    """Return a job for each email in the table."""
    _cursor().execute("SELECT batch_id, id, email FROM email ORDER BY batch_id, id")
    return _cursor().fetchall()
