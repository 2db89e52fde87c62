"""The tables, brought to the version of this code by the numbered migrations in migrations/.

Each `0003_reasons.sql` there takes a database from version 2 to 3, in one transaction. Once it has
run anywhere it is never changed; what is new gets the next number. Code of the version before may
still be running when a migration does, so that it only adds: columns that may be null or have a
default, tables, indexes. What is to go, goes in a version after the last that uses it.
"""

from __future__ import annotations

from pathlib import Path

from peewee import ProgrammingError
from psycopg2 import errorcodes

from postgres.database import code_of, pool
from runtime import logs

_FOLDER = Path(__file__).resolve().parent / "migrations"
# Any number, the same for every process of ours that makes tables.
LOCK = 5_281_736_401
# What a migration may wait for others' locks before it is given up, and tried again later: while it
# waits, all others wait behind it.
_LOCK_TIMEOUT = "5s"

# What the tables of each version have that those of the version before had not: a table, an index,
# or a column of a table. It tells the version of a database from before they were numbered.
_MARKS = {
    8: ("action", None),
    7: ("chunk", "addresses"),
    6: ("batch", "deleted_at"),
    5: ("file_piece", None),
    4: ("chunk", "begun_at"),
    3: ("batch_unfinished", None),
    2: ("chunk", "attempts"),
    1: ("batch", None),
}

logger = logs.Logger("schema")


class SchemaError(Exception):
    """The tables can't be brought to this version; the message says why, and what to do."""


def migrations() -> dict[int, Path]:
    """The file that leads to each version."""
    return {int(path.name[:4]): path for path in _FOLDER.glob("[0-9]*.sql")}


NEWEST = max(migrations())


def version() -> int | None:
    """The version of the tables; None if they are not there, or not numbered yet."""
    if not _exists("schema_version"):
        return None
    found: int | None = pool.execute_sql("SELECT max(version) FROM schema_version").fetchone()[0]
    return found


def migrate() -> None:
    """Bring the tables to NEWEST. Many processes may do so at the same moment.

    Raises UNREACHABLE, also when somebody else's lock is in the way: then it is to be tried again;
    and SchemaError if that is no use.
    """
    try:
        while _migrate_once():
            pass
    except ProgrammingError as error:
        advice = "See docs/operate.md for the way back to the version before"
        # The second, where there is no schema that it may use.
        if code_of(error) in (errorcodes.INSUFFICIENT_PRIVILEGE, errorcodes.INVALID_SCHEMA_NAME):
            advice = "Its user must own the database, or be allowed to create tables in it"
        raise SchemaError(
            f"The database's tables can't be made or changed: {logs.said(error)}. {advice}"
        ) from error


def _migrate_once() -> bool:
    """Do the next migration, whole or not at all; False if there is none."""
    with pool.atomic():
        # App and worker may start at the same moment: the second waits here for the first.
        pool.execute_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        pool.execute_sql("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        present = version()
        if present is None:
            present = _begin_to_number()
        if present > NEWEST:
            raise SchemaError(
                f"The database's tables are of version {present}, and this code knows them up to"
                f" {NEWEST}: it is older than what ran last. Install the newer version, or restore"
                " a backup from before it"
            )
        if present == NEWEST:
            return False
        path = migrations()[present + 1]
        # The driver takes a single % for the place of a parameter.
        pool.execute_sql(path.read_text(encoding="utf-8").replace("%", "%%"))
        pool.execute_sql("INSERT INTO schema_version (version) VALUES (%s)", (present + 1,))
    logger.info("tables migrated", version=present + 1, by=path.stem)
    return True


def _begin_to_number() -> int:
    """Make the table of versions, with that of the tables as they are; 0 if there are none."""
    pool.execute_sql(
        "CREATE TABLE schema_version (version integer PRIMARY KEY,"
        " migrated_at timestamptz NOT NULL DEFAULT now())"
    )
    present = next((number for number, mark in _MARKS.items() if _exists(*mark)), 0)
    pool.execute_sql("INSERT INTO schema_version SELECT generate_series(1, %s)", (present,))
    return present


def _exists(relation: str, column: str | None = None) -> bool:
    (exists,) = pool.execute_sql(
        "SELECT CASE WHEN %(column)s IS NULL THEN to_regclass(%(relation)s) IS NOT NULL"
        " ELSE EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(relation)s)"
        "   AND attname = %(column)s AND NOT attisdropped) END",
        {"relation": relation, "column": column},
    ).fetchone()
    return bool(exists)
