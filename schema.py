"""Making the tables, and bringing those of an older version up to date."""

from __future__ import annotations

from database import pool
from files import FilePiece, SkippedRow
from models import EMAIL_FILL, Action, Batch, Chunk, Email

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

# Finds the batches whose rows are still to be removed, normally none.
_DELETED_INDEX = """
DO $$ BEGIN
  IF to_regclass('batch_deleted') IS NULL THEN
    CREATE INDEX batch_deleted ON batch (deleted_at) WHERE deleted_at IS NOT NULL;
  END IF;
END $$
"""

# Columns that PostgreSQL is not to compress: one is compressed already, the other is short-lived.
_EXTERNAL = (("file_piece", "content"), ("chunk", "addresses"))

# Columns that tables of older versions don't have. ALTER TABLE … ADD COLUMN IF NOT EXISTS would
# stop everybody, too, to find nothing to do.
_ADDED = {
    "chunk": {
        "attempts": "integer NOT NULL DEFAULT 0",
        "redone": "integer NOT NULL DEFAULT 0",
        "begun_at": "timestamptz",
        "addresses": "text",
    },
    "batch": {
        "reasons": "jsonb NOT NULL DEFAULT '{}'",
        "format": "jsonb",
        "deleted_at": "timestamptz",
        "uploaded_by": "text",
    },
}
# A batch of an older version counted by reason only in its chunks.
_SUM_REASONS = """
UPDATE batch SET reasons = sums.reasons FROM (
  SELECT batch_id, jsonb_object_agg(key, number) AS reasons FROM (
    SELECT batch_id, key, sum(value::int) AS number FROM chunk, jsonb_each_text(reasons)
    GROUP BY batch_id, key) AS each GROUP BY batch_id) AS sums
 WHERE batch.id = sums.batch_id
"""

# Any number, the same for every process of ours that creates tables.
_SCHEMA_LOCK = 5_281_736_401


def create_tables() -> None:
    """Create the tables, columns and indexes that are missing."""
    with pool.atomic():
        # App and worker may start at the same moment: the second waits here for the first.
        pool.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        pool.create_tables([Action, Batch, Chunk, Email, FilePiece, SkippedRow], safe=True)
        for table, columns in _ADDED.items():
            missing = columns.keys() - _columns(table)
            for name in sorted(missing):
                pool.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")
            if table == "batch" and "reasons" in missing:
                pool.execute_sql(_SUM_REASONS)
        _set_storage()
        pool.execute_sql(_UNFINISHED_INDEX)
        pool.execute_sql(_DELETED_INDEX)


def _set_storage() -> None:
    """Set, unless it is so, how rows of some tables are stored; that changes none that is there."""
    for table, column in _EXTERNAL:
        storage = pool.execute_sql(
            "SELECT attstorage FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            (table, column),
        ).fetchone()
        if storage != ("e",):
            pool.execute_sql(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    options = pool.execute_sql(
        "SELECT reloptions FROM pg_class WHERE oid = to_regclass('email')"
    ).fetchone()
    if f"fillfactor={EMAIL_FILL}" not in (options[0] or ()):
        pool.execute_sql(f"ALTER TABLE email SET (fillfactor = {EMAIL_FILL})")


def _columns(table: str) -> set[str]:
    rows = pool.execute_sql(
        "SELECT attname FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (table,),
    )
    return {name for (name,) in rows.fetchall()}
