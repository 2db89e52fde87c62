"""What a processor gets of each email beside the address: the cells of its row, and options."""

import csv
import time
from io import BytesIO, StringIO

import pytest

from batches import changes, claims, commits, intake
from batches.intake import Upload
from batches.items import Items, KeptCells
from harness.batches import claim_next
from harness.books import assert_books_balance, query
from postgres.database import pool, session
from processors import Item, Option, failed, later, per_item, process

HEADER = ("mail", 'say "hi"', "two\nlines", "=cmd", "Name", "Name", "\u202eשם")
NAMES = [*HEADER[:5], "Name (2)", HEADER[6]]
ROWS = [(f"a{n}@x.de", *(f'{n}"\t\\{k}\n=é' for k in range(1, 7))) for n in range(1, 21)]
SPEED = Option("speed", int, per_batch=True)
OF_EMAIL = {row[0]: dict(zip(NAMES, row, strict=True)) for row in ROWS}


def stored(columns=("*",), chunk_size=7, **options):
    file = StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([HEADER, *ROWS])
    return intake.store(
        BytesIO(file.getvalue().encode()),
        "list.csv",
        chunk_size=chunk_size,
        max_rows=1000,
        upload=Upload(columns=columns, options=options),
    ).id


def take_turn(batch_id, processor, most=None):
    """Process the first emails of the next chunk, as a worker does; return how many."""
    with session(), pool.atomic():
        claim = claim_next(batch_id, items=True)
        if claim is None:
            return 0
        found = process(processor, claim.given(processor)[:most], time.monotonic() + 60, print)
        commits.commit_outcomes(claim, found)
        return found.count


def answering(rounds, seen):
    """A processor that fails an email by its cells, after so many rounds; notes what it got."""

    @per_item
    def answer(item):
        seen.append(item)
        if item.round < rounds:
            return later("dns_timeout", 0.001)
        return failed("right" if item.cells == OF_EMAIL[item.address] else "wrong")

    answer.declared_options, answer.options = (SPEED,), {"speed": 1}
    return answer


def make_due():
    query("UPDATE chunk SET due_at = '2020-01-01 00:00Z' WHERE due_at IS NOT NULL RETURNING 1")


def reasons():
    return query("SELECT reason, count(*) FROM email GROUP BY 1")


@pytest.mark.parametrize("most", [None, 1, 3])
def test_each_email_gets_the_cells_of_its_own_row(database, most):
    batch_id, seen = stored(speed=3), []
    while take_turn(batch_id, answering(1, seen), most):
        pass
    assert reasons() == [("right", 20)]
    assert {item.address: item.cells for item in seen} == OF_EMAIL
    assert {item.options["speed"] for item in seen} == {3}
    assert [type(item.cells) for item in seen] == [dict] * 20
    assert_books_balance()


def test_further_rounds_of_chunks_that_were_cut_give_the_same_cells(database):
    batch_id, seen = stored(chunk_size=20), []
    processor = answering(3, seen)
    while take_turn(batch_id, processor, 3):
        make_due()
    assert query("SELECT count(*) > 3, count(cells) FROM chunk") == [(True, 1)]
    assert reasons() == [("right", 20)]
    assert sorted({item.round for item in seen}) == [1, 2, 3]
    assert_books_balance()


def test_a_retry_gives_the_same_cells(database):
    batch_id, seen = stored(), []

    @per_item
    def unlucky(item):
        return failed("unlucky") if item.cells["Name"].startswith("1") else None

    while take_turn(batch_id, unlucky, 2):
        pass
    with session():
        changes.retry(batch_id, "unlucky", ["unlucky"], lambda: None)
    while take_turn(batch_id, answering(1, seen), 1):
        pass
    again = [1, *range(10, 20)]
    assert sorted(item.key for item in seen) == sorted(f"b{batch_id}-e{n}-r2" for n in again)
    assert dict(reasons()) == {None: 9, "right": 11}
    assert_books_balance()


def test_a_batch_without_columns_gives_no_cells_and_looks_for_none(database):
    batch_id = stored(columns=())
    with session(), pool.atomic():
        claim = claim_next(batch_id, items=True)
    assert (claim.columns, claim.cells, claim.cells_from) == ([], None, None)
    assert [item.cells for item in claim.given(per_item(print))] == [{}] * 7


def test_only_claims_for_items_read_options_and_cells(database):
    batch_id = stored(speed=3)
    with session(), pool.atomic():
        claim = claim_next(batch_id)
    assert (claim.options, claim.columns, claim.cells) == ({}, (), None)


def test_options_of_the_batch_take_the_place_of_those_of_the_section(database):
    batch_id = stored(speed=3)
    processor = per_item(print)
    processor.options = {"speed": 1, "list": "a"}
    processor.declared_options = (SPEED, Option("list"))
    with session(), pool.atomic():
        given = claim_next(batch_id, items=True).given(processor)
    assert given[0].options == {"speed": 3, "list": "a"}


def test_a_float_is_one_again_although_the_database_keeps_a_whole_number(database):
    batch_id = stored(share=1e16)
    processor = per_item(print)
    processor.declared_options = (Option("share", float, 1, per_batch=True),)
    with session(), pool.atomic():
        given = claim_next(batch_id, items=True).given(processor)
    share = given[0].options["share"]
    assert (share, type(share)) == (1e16, float)


def test_items_are_a_sequence_of_which_each_is_made_when_it_is_taken():
    kept = KeptCells(["a", "b"], 5, ["none", "1\t2", "3", "\\x"])
    made = []

    def make(email_id, address):
        made.append(email_id)
        return Item(address, f"e{email_id}", 2, kept.of(email_id))

    items = Items([6, 7], ["a@x.de", "b@x.de"], make)
    due = [
        Item("a@x.de", "e6", 2, {"a": "1", "b": "2"}),
        Item("b@x.de", "e7", 2, {"a": "3", "b": ""}),
    ]
    assert (next(iter(items)), made) == (due[0], [6])
    assert [*items] == due
    assert (items[0], items[-1], len(items)) == (due[0], due[1], 2)
    assert ([*items[1:]], [*items[:1]], [*items[:None]]) == (due[1:], due[:1], due)
    with pytest.raises(IndexError):
        items[2]


def test_the_cells_of_a_chunk_are_found_by_the_primary_key(database):
    batch_id = stored(chunk_size=1)
    with session(), pool.atomic():
        pool.execute_sql("SELECT set_config('email_batch.turn', '[5]', false)")
        # Of a few chunks, all would be read, if PostgreSQL has looked how few they are.
        for way in ("seqscan", "bitmapscan", "sort"):
            pool.execute_sql(f"SET LOCAL enable_{way} = off")
        rows = pool.execute_sql(
            f"EXPLAIN (ANALYZE, COSTS off) {claims._PREPARED.statements['claim_items']}",
            {"batch_id": batch_id, "suspicious": [], "numbered": False},
        ).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "Index Scan Backward using chunk_pkey" in plan
    assert "Seq Scan on chunk" not in plan
