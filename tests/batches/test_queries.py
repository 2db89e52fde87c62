import pytest

from batches import changes, queries
from batches.as_json import batch_json
from batches.filters import Filter
from batches.intake import Upload
from batches.queries import Backlog
from harness.batches import start, store, take_turns
from harness.books import query
from harness.results import stored
from models import Action, Batch
from postgres.database import fetch_value, pool, session

ANY = Filter()


def test_the_oldest_pending_batch_waits_and_what_is_under_way_is_unfinished_too(database):
    with session():
        assert queries.backlog("check") == Backlog(0, None, None, None, [])
    ids = [store("a@x.de").batch_id for _ in range(4)]
    query(
        "UPDATE batch SET status = 'failed', completed_at = now() WHERE id = %s RETURNING 1", ids[0]
    )
    start(ids[1])
    query("UPDATE batch SET created_at = now() - interval '1 h' WHERE id = %s RETURNING 1", ids[2])
    with session():
        waiting = queries.backlog("check")
    assert (waiting.unfinished, waiting.batch_id, waiting.filename) == (3, ids[2], "list.csv")
    assert 3600 <= waiting.seconds < 3700
    assert waiting.processors == ["check"]


def find(**filters):
    with session():
        found, following = queries.find_batches(**{"limit": 10, **filters})
    return [*found], following


def named(*names):
    ids = []
    for name in names:
        ids.append(store("a@x.de").batch_id)
        query("UPDATE batch SET filename = %s WHERE id = %s RETURNING 1", name, ids[-1])
    return ids


def test_batches_are_found_by_status_and_part_of_their_name(database):
    first, second, third, fourth = named("People.csv", "100%_of.csv", "people 2.XLSX", "100 of.csv")
    start(third)
    assert find() == ([fourth, third, second, first], None)
    assert find(containing="PEOPLE") == ([third, first], None)
    assert find(containing="%_") == ([second], None)
    assert find(containing="\\") == ([], None)
    assert find(status="processing") == ([third], None)
    assert find(status="pending", containing="people") == ([first], None)
    assert find(containing="csv", limit=2) == ([fourth, second], second)
    assert find(containing="csv", limit=2, before=second) == ([first], None)
    assert find(containing="csv", limit=3) == ([fourth, second, first], None)


def test_what_is_read_is_what_peewee_reads(database):
    """Our statements are written once; the values are the same."""
    content = b"mail,x\na@x.de,1\na@x.de,2\n,3\n"
    upload = Upload(by="Zoë", paused=True, per_minute=7, options={"n": 1.5}, columns=("x",))
    batch_id = stored(content, upload=upload)
    with session():
        changes.resume(batch_id, "Zoë")
        read = queries.find_batch(batch_id, with_history=True)
        (action,) = read.history
        read = queries.find_batch(batch_id)
        assert read.__data__ == Batch.get_by_id(batch_id).__data__
        assert read.options == {"n": 1.5}
        last = queries.last_action(batch_id)
        assert action.__data__ == last.__data__ == Action.get().__data__
        assert queries.last_action(batch_id + 1) is None
        assert [each.__data__ for each in queries.listed([batch_id])] == [read.__data__]
        assert queries.listed([batch_id + 1]) == []
        assert queries.find_batch(batch_id + 1) is None


def test_of_very_many_kept_columns_a_list_has_the_first(database):
    batch_id = stored(",".join(["a@x.de", *["x"] * 16_000]).encode(), upload=Upload(columns=("*",)))
    with session():
        (batch,) = queries.listed([batch_id])
        whole = queries.find_batch(batch_id)
    assert batch.columns == whole.columns[:200] == batch_json(whole)["columns"]
    assert len(whole.columns) == 16_001
    assert (batch.filename, batch.options, batch.total_emails) == ("people.csv", {}, 1)


def test_a_page_of_batches_may_be_short_and_have_a_next_one(database, monkeypatch):
    monkeypatch.setattr(queries, "MAX_BATCHES", 3)
    ids = named("rare.csv", *["list.csv"] * 6, "rare.csv")
    assert find(containing="rare") == ([ids[7]], ids[5])
    assert find(containing="rare", before=ids[5]) == ([], ids[2])
    assert find(containing="rare", before=ids[2]) == ([ids[0]], None)
    # Whatever is asked for without a filter is what is looked at.
    assert find(limit=4) == (ids[:3:-1], ids[4])


def test_a_page_of_batches_skips_the_ids_that_deleted_ones_had(database, monkeypatch):
    monkeypatch.setattr(queries, "MAX_BATCHES", 3)
    ids = named(*["list.csv"] * 8)
    query("DELETE FROM batch WHERE id BETWEEN %s AND %s RETURNING 1", ids[2], ids[5])
    assert find(containing="list") == (ids[:5:-1], ids[2])
    assert find(containing="list", before=ids[2]) == (ids[1::-1], None)


# The rows of the table `batch` that this session has read.
READ = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'batch'"


def test_a_page_of_batches_reads_no_more_of_very_many(database):
    """It reads what it shows, and its first batch, and the first that is not examined."""
    first = store("a@x.de").batch_id
    query(
        "INSERT INTO batch (filename, total_emails, total_rows, duplicate_rows,"
        "  rows_without_address, blank_rows)"
        " SELECT 'list.csv', 1, 1, 0, 0, 0 FROM generate_series(1, 12_000) RETURNING 1"
    )
    with session(), pool.atomic():
        pool.execute_sql("ANALYZE batch")
        before = fetch_value(READ)
        found, _ = queries.find_batches(status="pending", containing="list", limit=20)
        read = fetch_value(READ) - before
    ids = [*found]
    assert [ids[0], ids[-1]] == [first + 12_000, first + 11_981]
    assert read <= 24


def test_typos_are_counted_by_domain_whatever_its_case(database):
    addresses = ["a@gmial.com", "b@GMIAL.com", "c@gmail.com", '"d@x"@yaho.com', "e", "f@yaho.com"]
    batch_id = store(*addresses, chunk_size=2).batch_id
    marked = [(n, "processed", "likely_typo") for n in (1, 2, 4)] + [(5, "failed", "no_at_sign")]
    take_turns(batch_id, marked)
    take_turns(store(*addresses).batch_id, marked)
    with session():
        assert queries.typo_domains(batch_id) == [("gmial.com", 2), ("yaho.com", 1)]
        assert queries.typo_domains(batch_id + 2) == []


def test_the_most_frequent_typos_count(database, monkeypatch):
    monkeypatch.setattr(queries, "MAX_DOMAINS", 2)
    batch_id = store("a@a.x", "a@b.x", "b@b.x", "a@c.x", "b@c.x").batch_id
    take_turns(batch_id, [(n, "processed", "likely_typo") for n in range(1, 6)])
    with session():
        assert queries.typo_domains(batch_id) == [("b.x", 2), ("c.x", 2)]


def test_a_batch_lasts_from_its_start_to_its_end_or_until_now(database):
    batch_id = store("a@x.de").batch_id

    def elapsed():
        with session():
            return queries.elapsed_seconds(queries.find_batch(batch_id))

    assert elapsed() is None
    start(batch_id)
    query("UPDATE batch SET started_at = now() - interval '90 s' RETURNING 1")
    assert 90 <= elapsed() < 110
    query("UPDATE batch SET started_at = now() + interval '9 s' RETURNING 1")
    assert elapsed() == 0
    with session():
        changes.cancel(batch_id)
    query("UPDATE batch SET completed_at = started_at + interval '7.5 s' RETURNING 1")
    assert elapsed() == 7.5


def test_a_page_of_emails_ends_at_many_bytes_of_answers(database, monkeypatch):
    monkeypatch.setattr(queries, "MAX_BYTES", 100)
    short, long = {"a": "x" * 20}, {"a": "x" * 80}
    marked = [
        (1, "processed", None, long),
        (2, "failed", "odd", short),
        (3, "processed", None, short),
    ]
    batch_id = stored(b"a@x.de\nb@x.de\nc@x.de\nd@x.de\ne@x.de\n", marked=marked)

    def pages(wanted=ANY, limit=10):
        found, after = [], 0
        while after is not None:
            with session():
                batch = queries.find_batch(batch_id)
                page, after = queries.find_emails(batch, wanted, after=after, limit=limit)
            found.append([each.id for each in page])
        return found

    assert pages() == [[1, 2], [3, 4, 5]]
    assert pages(limit=1) == [[1], [2], [3], [4], [5]]
    assert pages(Filter(verdict="ok")) == [[1, 3], [4, 5]]
    monkeypatch.setattr(queries, "MAX_BYTES", 1)
    assert pages() == [[1], [2], [3], [4, 5]]


@pytest.mark.parametrize(("quick", "sizes"), [(60, [1, 2, 3, 3, 1]), (0, [1] * 10)])
def test_quick_statements_examine_more_and_more_emails(monkeypatch, quick, sizes):
    monkeypatch.setattr(queries, "PIECE", 1)
    monkeypatch.setattr(queries, "MAX_PIECE", 3)
    monkeypatch.setattr(queries, "QUICK", quick)
    pieces = queries._pieces([(1, 10)], 0)
    assert [last - first + 1 for _, first, last in pieces] == sizes
