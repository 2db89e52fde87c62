"""Making the tables, and bringing those of an older version up to date."""

from __future__ import annotations

from database import pool
from files import EXTERNAL_STORAGE, FilePiece, SkippedRow
from models import Batch, Chunk, Email

# Finds the few unfinished batches among many. Counting a batch's emails leaves its status alone,
# so that the index costs a write as a batch starts and ends, no more. A bare CREATE INDEX IF NOT
# EXISTS would stop all writers at every start of a process, before it finds nothing to do.
_UNFINISHED_INDEX = """
DO $$ BEGIN
  IF to_regclass('batch_unfinished') IS NULL THEN
    CREATE INDEX batch_unfinished ON batch (id, status)
      WHERE status IN ('pending', 'processing');
  END IF;
END $$
"""

_TURN_COLUMNS = """
SELECT count(*) FROM pg_attribute
 WHERE attrelid = to_regclass('chunk') AND NOT attisdropped
   AND attname IN ('attempts', 'redone', 'begun_at')
"""

_FORMAT_COLUMN = """
SELECT count(*) FROM pg_attribute
 WHERE attrelid = to_regclass('batch') AND NOT attisdropped AND attname = 'format'
"""

# Any number, the same for every process of ours that creates tables.
_SCHEMA_LOCK = 5_281_736_401


def create_tables() -> None:
    """Create the tables, columns and indexes that are missing."""
    with pool.atomic():
        # App and worker may start at the same moment: the second waits here for the first.
        pool.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        had_files = pool.execute_sql("SELECT to_regclass('file_piece')").fetchone() != (None,)
        pool.create_tables([Batch, Chunk, Email, FilePiece, SkippedRow], safe=True)
        if not had_files:
            pool.execute_sql(EXTERNAL_STORAGE)
        if pool.execute_sql(_FORMAT_COLUMN).fetchone() == (0,):
            # A database from before files were kept.
            pool.execute_sql("ALTER TABLE batch ADD COLUMN format jsonb")
        if pool.execute_sql(_TURN_COLUMNS).fetchone() == (0,):
            # A database from before turns were counted.
            pool.execute_sql(
                "ALTER TABLE chunk ADD COLUMN attempts integer NOT NULL DEFAULT 0,"
                " ADD COLUMN redone integer NOT NULL DEFAULT 0, ADD COLUMN begun_at timestamptz"
            )
        pool.execute_sql(_UNFINISHED_INDEX)
