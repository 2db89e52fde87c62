"""Prepared statements, on connections about which this process may be wrong."""

import pytest
from peewee import DatabaseError

from batches import claims, journal, queries, snapshots
from harness.batches import CHECK, store
from harness.books import query
from postgres.database import fetch_value, own_transactions, pool, session
from postgres.prepared import BY_INDEX, Prepared


def execute(sql):
    with session():
        pool.execute_sql(sql)


@pytest.fixture
def statements(database):
    """Two statements on a table of their own: the first adds a row, and the second counts them."""
    execute("CREATE TABLE added (number int)")
    yield Prepared(
        {"number": "int"},
        add="INSERT INTO added SELECT %(number)s RETURNING number",
        count="SELECT count(*) FROM added WHERE %(number)s > 0",
    )
    execute("DROP TABLE added")


@pytest.fixture
def connection(statements):
    with session():
        yield pool.connection()


def add(statements, connection, number):
    """Add a row in a transaction; return how many there are, and what each message began with."""
    begun = []

    def send(head):
        begun.append(head.removesuffix(BY_INDEX).partition(" ")[0])
        both = ";".join(statements.execute.values())
        return fetch_value(f"{head}BEGIN;{both}", {"number": number})

    with own_transactions():
        count = statements.run(connection, send)
        pool.commit()
    return count, begun


def test_they_are_prepared_once_a_connection(statements, connection):
    assert add(statements, connection, 5) == (1, ["DO"])
    assert add(statements, connection, 6) == (2, [""])


def test_where_another_process_has_prepared_them_they_are_prepared_anew(statements, connection):
    add(statements, connection, 5)
    connection.prepared.clear()
    assert add(statements, connection, 6) == (2, ["DO"])


@pytest.mark.parametrize("gone", ["add", "count", "both"])
def test_where_they_are_missing_they_are_prepared_again(statements, connection, gone):
    add(statements, connection, 5)
    for name in statements.execute if gone == "both" else [gone]:
        pool.execute_sql(f"DEALLOCATE {statements.name}_{name}")
    assert add(statements, connection, 6) == (2, ["", "DO"])
    assert add(statements, connection, 7) == (3, [""])


def test_those_of_others_are_left_alone(statements, connection):
    other = Prepared({"number": "int"}, other="SELECT %(number)s")
    assert other.fetch_one("other", {"number": 5}) == (5,)
    add(statements, connection, 5)
    pool.execute_sql(f"DEALLOCATE {statements.name}_add")
    assert add(statements, connection, 6) == (2, ["", "DO"])
    assert fetch_value(other.execute["other"], {"number": 6}) == 6
    assert other.name in connection.prepared


def test_a_migration_may_change_what_they_return(statements, connection):
    add(statements, connection, 5)
    execute("ALTER TABLE added ALTER number TYPE bigint")
    assert add(statements, connection, 6) == (2, ["", "DO"])


@pytest.mark.parametrize(
    ("table", "column", "usual", "default", "other"),
    [("chunk", "rounds_before", "int", "0", "bigint"), ("batch", "options", "jsonb", "{}", "text")],
)
def test_a_claim_is_made_once_though_a_migration_changes_a_type(
    database, table, column, usual, default, other
):
    batch_id = store("a@x.de", "b@x.de", "c@x.de", chunk_size=1).batch_id

    def claim():
        with own_transactions():
            found = claims.claim_chunk(batch_id, CHECK, [], 60, items=True)
            pool.rollback()
        return found.first_id

    def change(to):
        alter = f"ALTER TABLE {table} ALTER {column}"
        execute(f"{alter} DROP DEFAULT; {alter} TYPE {to} USING {column}::{to};"
                f" {alter} SET DEFAULT '{default}'")  # fmt: skip

    with session():
        assert claim() == 1
        try:
            change(other)
            assert claim() == 2
        finally:
            change(usual)
    assert query("SELECT attempts FROM chunk ORDER BY first_id") == [(1,), (1,), (0,)]


def test_any_other_error_is_raised(statements, connection):
    execute("ALTER TABLE added ADD CHECK (number < 6)")
    with pytest.raises(DatabaseError, match="added_number_check"):
        add(statements, connection, 6)
    assert add(statements, connection, 5)[0] == 1


def test_other_statements_or_other_types_have_other_names():
    names = {
        Prepared({"a": type_}, one=sql).name
        for type_ in ("int", "bigint")
        for sql in ("SELECT %(a)s", "SELECT 1 + %(a)s")
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("prepared", "name"),
    [(each, name)
     for each in (claims._PREPARED, queries._ONE, queries._ALL, snapshots._GIVEN, journal._NOTE)
     for name in each.statements],
)  # fmt: skip
def test_a_plan_that_is_kept_reads_no_table_from_its_beginning(database, prepared, name):
    batch_id = store("a@x.de").batch_id
    execute("ANALYZE batch, chunk, email, journal")  # PostgreSQL looks how small the tables are
    given = {"batch_id": batch_id, "start": 0, "share": 0.0, "claiming": 0.2}
    given |= {"of": "check", "of_unnamed": True, "suspicious": [], "numbered": False}
    given |= {"first": 1, "last": 10_000, "limit": 51, "room": 1000}
    if prepared is journal._NOTE:
        given = {field: [] for field in journal._Note._fields}
    message = f"""SET LOCAL plan_cache_mode = force_generic_plan;
      SELECT set_config('email_batch.turn', '[1]', true);
      EXPLAIN (COSTS off) {prepared.execute[name]}"""
    with session():
        rows = prepared.run(
            pool.connection(), lambda head: pool.execute_sql(f"{head}{message}", given).fetchall()
        )
    plan = "\n".join(line for (line,) in rows)
    assert "Index Scan using" in plan
    assert "Seq Scan" not in plan
    if prepared is queries._ALL:  # it ends with the first emails, and neither reads nor sorts all
        assert "Bitmap" not in plan
        assert "Sort" not in plan


def test_a_statement_in_a_transaction_needs_no_preparation(database):
    batch_id = store("a@x.de").batch_id
    with session(), pool.atomic():
        pool.execute_sql("DEALLOCATE ALL")
        assert queries.find_batch(batch_id).id == batch_id
