from support import in_threads, query, start, store

import schema
from bootstrap import TABLES_SECONDS
from database import pool, session


def test_tables_are_made_once_by_many_at_the_same_moment(database):
    with session(TABLES_SECONDS):
        pool.execute_sql("DROP TABLE chunk, email, batch, file_piece, skipped_row")
    assert (
        in_threads(*[lambda: schema.create_tables() or "made"] * 5, seconds=TABLES_SECONDS)
        == ["made"] * 5
    )
    assert query("SELECT count(*) FROM email") == [(0,)]


def test_a_database_from_before_turns_were_counted_gets_the_columns(database):
    batch_id = store("a@x.de").batch_id
    with session(TABLES_SECONDS):
        pool.execute_sql(
            "ALTER TABLE chunk DROP COLUMN attempts, DROP COLUMN redone, DROP COLUMN begun_at"
        )
        schema.create_tables()
    assert start(batch_id).status == "processing"


def test_a_database_from_before_batches_counted_by_reason_gets_their_sums(database):
    batch_id = store("a@x.de", "b@x.de", "c@x.de", chunk_size=2).batch_id
    query("UPDATE chunk SET reasons = '{\"too_long\": 1}' RETURNING 1")
    with session(TABLES_SECONDS):
        pool.execute_sql("ALTER TABLE batch DROP COLUMN reasons, DROP COLUMN deleted_at")
        for _ in range(2):
            schema.create_tables()
    assert query("SELECT id, reasons FROM batch") == [(batch_id, {"too_long": 2})]


def test_tables_of_an_older_version_get_the_index_of_unfinished_batches(database):
    found = "SELECT count(*) FROM pg_indexes WHERE indexname = 'batch_unfinished'"
    with session(TABLES_SECONDS):
        pool.execute_sql("DROP INDEX batch_unfinished")
        for _ in range(2):
            schema.create_tables()
    assert query(found) == [(1,)]


def test_a_database_from_before_files_were_kept_gets_the_column_and_the_tables(database):
    batch_id = store("a@x.de").batch_id
    with session(TABLES_SECONDS):
        pool.execute_sql("ALTER TABLE batch DROP COLUMN format; DROP TABLE file_piece, skipped_row")
        for _ in range(2):
            schema.create_tables()
    assert query("SELECT id, format FROM batch") == [(batch_id, None)]
    store("b@x.de")
    assert query("SELECT format->>'kind' FROM batch ORDER BY id") == [(None,), ("csv",)]
    assert query(
        "SELECT attstorage FROM pg_attribute WHERE attname = 'content'"
        " AND attrelid = 'file_piece'::regclass"
    ) == [("e",)]
