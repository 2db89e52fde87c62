"""How far the batches of a torture run are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2

from torture.stage import Database

# Seconds between two readings, and without progress at the end.
READ_SECONDS, STUCK_SECONDS = 0.5, 120.0


@dataclass
class Progress:
    """What the database said last. One thread at a time writes it.

    `processed` includes emails that nobody is to process any more, because they were cancelled.
    """

    batches: int = 0
    emails: int = 0
    processed: int = 0
    unfinished: int = 0
    # What had been sent when it said so.
    rows_sent: int = 0

    def read(self, database: Database) -> bool:
        """Read it anew; False while there is no database."""
        try:
            ((self.batches, self.emails, self.processed, self.unfinished),) = database.rows(
                "SELECT count(*), coalesce(sum(total_emails), 0), coalesce(sum("
                "  CASE status WHEN 'cancelled' THEN total_emails ELSE processed_count END), 0),"
                " count(*) FILTER (WHERE unsettled OR status IN ('pending', 'processing'))"
                " FROM batch"
            )
        except psycopg2.Error:
            return False
        return True

    def await_end(self, database: Database, told: Callable[[], str]) -> None:
        """Wait until no batch is unfinished. Raises AssertionError, with what is `told`."""
        progressed, processed = time.monotonic(), -1
        while not (self.read(database) and self.unfinished == 0):
            if self.processed != processed:
                progressed, processed = time.monotonic(), self.processed
            stuck = time.monotonic() - progressed
            assert stuck < STUCK_SECONDS, f"no progress for {STUCK_SECONDS} s: {told()}"
            threading.Event().wait(READ_SECONDS)
