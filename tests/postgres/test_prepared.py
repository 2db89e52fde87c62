"""Prepared statements, on connections about which this process may be wrong."""

import pytest
from peewee import DatabaseError

from batches import claims
from harness.batches import store
from postgres.database import fetch_value, own_transactions, pool, session
from postgres.prepared import Prepared


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

    def send(first):
        begun.append(first.partition(" ")[0])
        both = ";".join(statements.execute.values())
        return fetch_value(f"{first}BEGIN;{both}", {"number": number})

    with own_transactions():
        count = statements.run(connection, send)
        pool.commit()
    return count, begun


def prepared():
    """Return the names of the session's prepared statements, without what the units share."""
    rows = pool.execute_sql("SELECT name FROM pg_prepared_statements").fetchall()
    return {name.rpartition("_")[2] for (name,) in rows}


def test_they_are_prepared_once_a_connection(statements, connection):
    connection.prepared.clear()
    pool.execute_sql("DEALLOCATE ALL")
    assert add(statements, connection, 5) == (1, ["PREPARE"])
    assert add(statements, connection, 6) == (2, [""])
    assert prepared() == {"add", "count"}


def test_where_another_process_has_prepared_them_they_are_executed(statements, connection):
    add(statements, connection, 5)
    connection.prepared.clear()
    assert add(statements, connection, 6) == (2, ["PREPARE", ""])


@pytest.mark.parametrize("name", ["add", "count"])
def test_where_they_are_missing_they_are_prepared_again(statements, connection, name):
    add(statements, connection, 5)
    # As if the others had not been prepared because of an error.
    pool.execute_sql("DEALLOCATE ALL" if name == "count" else f"DEALLOCATE {statements.name}_add")
    assert add(statements, connection, 6) == (2, ["", "DEALLOCATE"])
    assert add(statements, connection, 7) == (3, [""])


def test_where_another_process_has_prepared_only_some_they_are_prepared_again(
    statements, connection
):
    add(statements, connection, 5)
    pool.execute_sql(f"DEALLOCATE {statements.name}_add")
    connection.prepared.clear()
    assert add(statements, connection, 6) == (2, ["PREPARE", "", "DEALLOCATE"])


def test_a_migration_may_change_what_they_return(statements, connection):
    add(statements, connection, 5)
    execute("ALTER TABLE added ALTER number TYPE bigint")
    assert add(statements, connection, 6) == (2, ["", "DEALLOCATE"])


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


def test_a_plan_that_is_kept_reads_no_table_from_its_beginning(database):
    # PostgreSQL has looked how small the tables are.
    batch_id = store("a@x.de").batch_id
    execute("ANALYZE batch, chunk")
    given = {"batch_id": batch_id, "start": 0, "share": 0.0, "claiming": 0.2}
    given |= {"of": "check", "of_unnamed": True, "suspicious": [], "numbered": False}
    with session(), own_transactions():
        for name, executing in claims._PREPARED.execute.items():
            message = f"""BEGIN; SELECT {claims._OFF}, set_config('email_batch.turn', '[1]', true);
              SET LOCAL plan_cache_mode = force_generic_plan; EXPLAIN (COSTS off) {executing}"""
            rows = claims._PREPARED.run(
                pool.connection(), lambda first, it=message: pool.execute_sql(first + it, given)
            )
            plan = "\n".join(line for (line,) in rows.fetchall())
            pool.rollback()
            assert "Index Scan using chunk_pkey" in plan, name
            assert "Seq Scan" not in plan, (name, plan)
