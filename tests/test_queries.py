from support import query, start, store

import queries
from database import session
from queries import Backlog


def test_the_oldest_pending_batch_waits_and_what_is_under_way_is_unfinished_too(database):
    with session():
        assert queries.backlog() == Backlog(0, None, None, None)
    ids = [store("a@x.de").batch_id for _ in range(4)]
    query(
        "UPDATE batch SET status = 'failed', completed_at = now() WHERE id = %s RETURNING 1", ids[0]
    )
    start(ids[1])
    query("UPDATE batch SET created_at = now() - interval '1 h' WHERE id = %s RETURNING 1", ids[2])
    with session():
        waiting = queries.backlog()
    assert (waiting.unfinished, waiting.batch_id, waiting.filename) == (3, ids[2], "list.csv")
    assert 3600 <= waiting.seconds < 3700


def test_recent_batches_come_newest_first_and_page_by_page(database):
    ids = [store("a@x.de").batch_id for _ in range(5)]
    with session():
        assert [batch.id for batch in queries.recent_batches(3)] == ids[:1:-1]
        assert [batch.id for batch in queries.recent_batches(3, before=ids[2])] == [ids[1], ids[0]]
