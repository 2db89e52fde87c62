"""Migrations: bring the tables to the version of this code.

A file such as migrations/0003_unfinished_batches.sql takes a database from version 2 to 3, in one
transaction. A migration that has run anywhere is never changed; a change gets the next number. Code
of the version before may be running meanwhile, so a migration only adds: tables, indexes, and
columns that may be null or have a default. A column is dropped in a version after the last that
uses it.
"""

from __future__ import annotations

from pathlib import Path

from peewee import ProgrammingError
from psycopg2 import errorcodes

from postgres.connections import ReadOnlyError
from postgres.database import code_of, fetch_one, fetch_value, pool
from runtime import logs

_FOLDER = Path(__file__).resolve().parent / "migrations"
# The key of the advisory lock that every migrating process takes.
LOCK = 5_281_736_401
# The longest wait of a migration for a lock. All other users of the table queue behind it, so it
# gives up then and is tried again later.
_LOCK_TIMEOUT = "5s"

# A column of a table or an index that is new in each version. They show the version of tables made
# before versions were stored.
_MARKS = {
    8: ("action", "id"),
    7: ("chunk", "addresses"),
    6: ("batch", "deleted_at"),
    5: ("file_piece", "number"),
    4: ("chunk", "begun_at"),
    3: ("batch_unfinished", "id"),
    2: ("chunk", "attempts"),
    1: ("batch", "id"),
}

logger = logs.Logger("schema")


class SchemaError(Exception):
    """The tables can't be migrated; the message says why, and what to do."""


def migrations() -> dict[int, Path]:
    """Return the file that leads to each version."""
    return {int(path.name[:4]): path for path in _FOLDER.glob("[0-9]*.sql")}


NEWEST = max(migrations())


def version() -> int | None:
    """Return the version of the tables; None if none is stored."""
    if not _exists("schema_version", "version"):
        return None
    found: int | None = fetch_value("SELECT max(version) FROM schema_version")
    return found


def version_if_writable() -> int | None:
    """Return the version of the tables; None if none is stored.

    Raises ReadOnlyError if the server accepts no writes, and UNREACHABLE if there are no tables.
    """
    found: int | None
    read_only, found = fetch_one(
        "SELECT current_setting('transaction_read_only')::boolean, max(version) FROM schema_version"
    ) or (False, None)
    if read_only:
        raise ReadOnlyError
    return found


def migrate() -> None:
    """Bring the tables to the version NEWEST. Many processes may call this at the same moment.

    Raises UNREACHABLE, also if another's lock is in the way; then it can be tried again. Raises
    SchemaError if trying again is no use.
    """
    try:
        while _migrate_once():
            pass
    except ProgrammingError as error:
        advice = "See docs/operate.md for the way back to the version before"
        # INVALID_SCHEMA_NAME comes if there is no schema that the user may use.
        if code_of(error) in (errorcodes.INSUFFICIENT_PRIVILEGE, errorcodes.INVALID_SCHEMA_NAME):
            advice = "Its user must own the database, or be allowed to create tables in it"
        raise SchemaError(
            f"The database's tables can't be made or changed: {logs.said(error)}. {advice}"
        ) from error


def _migrate_once() -> bool:
    """Run the next migration, whole or not at all; return False if there is none."""
    with pool.atomic():
        # App and worker may start at the same moment: the second waits here for the first.
        pool.execute_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        pool.execute_sql("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        present = version()
        if present is None:
            present = _begin_to_number()
        if present > NEWEST:
            raise SchemaError(
                f"The database's tables are of version {present}, and this code knows versions up"
                f" to {NEWEST}: it is older than the program that ran last. Install the newer"
                " version, or restore a backup from before it"
            )
        if present == NEWEST:
            return False
        path = migrations()[present + 1]
        # The driver takes a single % for the start of a parameter.
        pool.execute_sql(path.read_text(encoding="utf-8").replace("%", "%%"))
        pool.execute_sql("INSERT INTO schema_version (version) VALUES (%s)", (present + 1,))
    logger.info("tables migrated", version=present + 1, by=path.stem)
    return True


def _begin_to_number() -> int:
    """Make the table of versions, and return the version of the present tables; 0 for none."""
    pool.execute_sql(
        "CREATE TABLE schema_version (version integer PRIMARY KEY,"
        " migrated_at timestamptz NOT NULL DEFAULT now())"
    )
    present = next((number for number, mark in _MARKS.items() if _exists(*mark)), 0)
    pool.execute_sql("INSERT INTO schema_version SELECT generate_series(1, %s)", (present,))
    return present


def _exists(relation: str, column: str) -> bool:
    exists: bool = fetch_value(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s)"
        " AND attname = %s AND NOT attisdropped)",
        (relation, column),
    )
    return exists
