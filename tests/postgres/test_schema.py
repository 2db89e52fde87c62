"""Migrations: from nothing, from every earlier schema with data, by many at once, and refused."""

import threading

import pytest
from peewee import DataError

import models
from admin import backup
from batches import removal
from harness.books import assert_books_balance, query, snapshot
from harness.config import ROOT, copy_project
from harness.files import csv_of
from harness.polling import eventually, in_threads
from postgres import schema
from postgres.database import UNREACHABLE, pool, session
from postgres.schema import NEWEST, SchemaError
from processors.check import check
from servers.connect import MIGRATION_SECONDS
from work.supervisor import Supervisor
from work.turns import Turns

TABLES = (
    models.Action,
    models.Batch,
    models.Chunk,
    models.Email,
    models.FilePiece,
    models.Journal,
    models.Pace,
    models.SkippedRow,
)


def run(sql):
    with session(60):
        pool.execute_sql(sql)


def migrate():
    with session(MIGRATION_SECONDS):
        schema.migrate()


@pytest.fixture
def no_tables(database, monkeypatch):
    """A database without tables; it has them again afterwards."""
    run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    yield
    monkeypatch.undo()  # the test may have added migrations
    run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate()


def versions():
    return [number for (number,) in query("SELECT version FROM schema_version ORDER BY version")]


def test_migrations_are_numbered_without_a_gap():
    assert sorted(schema.migrations()) == [*range(1, NEWEST + 1)]
    assert len(list(schema._FOLDER.iterdir())) == NEWEST


def test_tables_are_made_once_by_many_at_the_same_moment(no_tables):
    assert in_threads(*[lambda: schema.migrate() or "made"] * 5) == ["made"] * 5
    assert query("SELECT count(*) FROM email") == [(0,)]
    assert versions() == [*range(1, NEWEST + 1)]


_BATCHES = "SELECT id, filename, status, total_emails, failed_count FROM batch ORDER BY id"
# What the tables look like, but for the order of their columns.
_STRUCTURE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
  pg_get_expr(d.adbin, d.adrelid), a.attstorage, c.reloptions
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
UNION ALL SELECT conrelid::regclass::text, pg_get_constraintdef(oid), contype::text, null, null,
  null, null, null FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL SELECT tablename, indexdef, null, null, null, null, null, null FROM pg_indexes
WHERE schemaname = 'public'
ORDER BY 1, 2
"""


# The columns of an email that every version has.
_EMAILS = "batch_id, id, email, row_number, status, reason, created_at"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/postgres/schemas").iterdir()), ids=lambda p: p.stem
)
def test_a_database_of_every_earlier_schema_is_brought_to_the_newest_with_its_data(
    no_tables, serve, make_services, path
):
    migrate()
    fresh = query(_STRUCTURE)
    run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    run(path.read_text().replace("%", "%%"))
    before = query(_BATCHES)
    emails = query(f"SELECT {_EMAILS} FROM email ORDER BY batch_id, id")
    assert in_threads(*[lambda: schema.migrate() or "done"] * 3) == ["done"] * 3
    assert versions() == [*range(1, NEWEST + 1)]
    assert query(_STRUCTURE) == fresh
    assert query(f"SELECT {_EMAILS} FROM email ORDER BY batch_id, id") == emails
    assert query(_BATCHES) == before
    summed = query("SELECT reason, count(*) FROM email WHERE batch_id = 1 GROUP BY 1")
    assert query("SELECT reasons FROM batch WHERE id = 1") == [
        ({reason: number for reason, number in summed if reason},)
    ]
    # App and worker go on with it, and what was deleted is removed at last.
    site, services = serve(), make_services(check)
    supervisor = Supervisor(services, threading.Event())
    supervisor.sweep()
    turns = Turns(services, 1)
    while turns.run_once():
        pass
    ended = ("completed", "cancelled")
    eventually(lambda: all(row[2] in ended for row in query(_BATCHES)))

    def all_deleted_ones_are_gone():
        supervisor.sweep()  # each removes for a fifth of a second
        return query("SELECT 1 FROM batch WHERE deleted_at IS NOT NULL") == []

    eventually(all_deleted_ones_are_gone)
    assert_books_balance()
    kept = [row for row in before if row[1] != "deleted.csv"]
    for (batch_id, filename, *_), now in zip(kept, query(_BATCHES), strict=True):
        assert now[2] == ("cancelled" if filename == "cancelled.csv" else "completed")
        assert site.get(f"/batches/{batch_id}").status == 200
        rows = site.get(f"/api/batches/{batch_id}").json["rows"]
        assert rows.pop("total") == sum(rows.values()) == 15
    # What is uploaded next gets an id of its own.
    assert site.upload(csv_of("a@x.de")).json["batchId"] == before[-1][0] + 1


def test_models_describe_the_tables(database):
    for model in TABLES:
        table = model._meta.table_name
        columns = query(
            "SELECT column_name, udt_name, is_nullable = 'YES' FROM information_schema.columns"
            " WHERE table_name = %s",
            table,
        )
        kinds = {"BIGINT": "int8", "INTEGER": "int4", "INT": "int4", "BLOB": "bytea"}
        described = [
            (
                field.column_name,
                "int8"
                if (model, field.name) == (models.Batch, "id")
                else kinds.get(field.field_type, field.field_type.lower()),
                field.null,
            )
            for field in model._meta.sorted_fields
        ]
        assert sorted(described) == sorted(columns), table


def test_every_table_has_a_model_is_in_backups_and_is_emptied_with_its_batch(database):
    tables = {
        name for (name,) in query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }
    assert {model._meta.table_name for model in TABLES} == tables - {"schema_version"}
    assert {*backup.TABLES} == tables
    of_batches = {model._meta.table_name for model in TABLES if "batch_id" in model._meta.columns}
    # The action `deleted` stays.
    assert {table for table, *_ in removal._REMOVED} == of_batches - {"action"}


@pytest.fixture
def next_migration(no_tables, monkeypatch, tmp_path):
    """The file of a migration after NEWEST, for the test to write; the tables are of NEWEST."""
    migrate()
    for path in schema.migrations().values():
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(schema, "_FOLDER", tmp_path)
    monkeypatch.setattr(schema, "NEWEST", NEWEST + 1)
    return tmp_path / f"{NEWEST + 1:04}_more.sql"


def test_a_migration_that_fails_leaves_nothing_and_is_done_later(next_migration):
    next_migration.write_text("CREATE TABLE more (id integer); SELECT 1 / 0;")
    with pytest.raises(DataError):
        migrate()
    assert versions() == [*range(1, NEWEST + 1)]
    assert query("SELECT to_regclass('more')") == [(None,)]
    next_migration.write_text("CREATE TABLE more (id integer);")
    migrate()
    assert versions() == [*range(1, NEWEST + 2)]
    assert query("SELECT count(*) FROM more") == [(0,)]


def test_a_migration_does_not_wait_long_for_somebody_elses_lock(
    next_migration, monkeypatch, elsewhere
):
    next_migration.write_text("ALTER TABLE batch ADD COLUMN more integer")
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT", "50ms")
    elsewhere.execute("BEGIN; SELECT FROM batch")
    with pytest.raises(UNREACHABLE, match="lock timeout"):
        migrate()
    assert versions() == [*range(1, NEWEST + 1)]
    elsewhere.execute("COMMIT")
    migrate()
    assert versions() == [*range(1, NEWEST + 2)]


def test_one_who_may_not_make_tables_is_told_what_is_needed(no_tables):
    with session(60):
        pool.execute_sql("CREATE ROLE poor; SET ROLE poor")
        try:
            with pytest.raises(SchemaError, match="must own the database"):
                schema.migrate()
        finally:
            pool.execute_sql("RESET ROLE; DROP ROLE poor")


@pytest.mark.parametrize("script", ["app.py", "worker.py"])
def test_a_database_newer_than_the_code_is_refused(processes, script):
    run(f"INSERT INTO schema_version VALUES ({NEWEST + 1})")
    try:
        process = processes(script)
        assert process.wait() == 2
    finally:
        run(f"DELETE FROM schema_version WHERE version > {NEWEST}")
    assert process.lines[-1] == (
        f"The database's tables are of version {NEWEST + 1}, and this code knows versions up to"
        f" {NEWEST}: it is older than the program that ran last. Install the newer version, or"
        " restore a backup from before it."
    )


@pytest.fixture
def newer_code(tmp_path):
    """A copy of this code with one migration more, as a next version would have it."""
    copy = tmp_path / "newer"
    copy_project(copy)
    (copy / "postgres/migrations" / f"{NEWEST + 1:04}_priorities.sql").write_text(
        "ALTER TABLE batch ADD COLUMN priority integer NOT NULL DEFAULT 0;"
        " ALTER TABLE chunk ADD COLUMN tried_by text;"
        " ALTER TABLE email ADD COLUMN note text; CREATE TABLE tag (name text PRIMARY KEY)"
    )
    return copy


def test_a_batch_is_not_disturbed_by_a_migration_and_code_of_both_versions_side_by_side(
    no_tables, processes, newer_code, slow
):
    migrate()
    site = processes("app.py").site()
    old = processes("worker.py", "--threads", "2", **slow)
    old.await_line("worker started")
    addresses = [f"u{number}@x.de" for number in range(20_000)]
    assert site.upload(csv_of(*addresses)).status == 201
    eventually(lambda: snapshot(1).processed)
    newer = processes(str(newer_code / "app.py"))
    newer_site = newer.site()
    newer.await_line(f'event="tables migrated" version={NEWEST + 1} by=.*_priorities')
    before = snapshot(1)
    assert before.status == "processing"
    eventually(lambda: snapshot(1).processed > before.processed)
    processes(str(newer_code / "worker.py"), "--threads", "2", **slow).await_line("worker started")
    for each in (site, newer_site):
        assert each.get("/api/health").json["schemaVersion"] == NEWEST + 1
        assert each.upload(csv_of(*addresses[:3000])).status == 201
    # The old ones go one by one, and what is left is done by the newer.
    eventually(lambda: snapshot(2).processed)
    assert old.stop() == 0
    processes(str(newer_code / "worker.py"))  # one that isn't slow
    with newer_site.stream(1) as stream:
        assert [*stream.events()][-1]["status"] == "completed"
    for batch_id in (2, 3):
        eventually(lambda: snapshot(batch_id).status == "completed", 60)  # noqa: B023
    assert_books_balance()
    assert processes("worker.py").wait() == 2  # one that is started now would be of the past
