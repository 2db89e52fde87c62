import logging

import pytest
import redis

from relay.batch_queue import BatchQueue


def test_ids_come_out_in_the_order_they_went_in(queue):
    for batch_id in (3, 1, 2):
        queue.enqueue(batch_id)
    assert queue.depth() == 3
    assert [queue.dequeue(0.1) for _ in range(4)] == [3, 1, 2, None]


def test_an_id_stands_in_the_list_once_and_keeps_its_place(queue):
    for batch_id in (1, 2, 1):
        queue.enqueue(batch_id)
    assert [queue.dequeue(0.1), queue.dequeue(0.1), queue.dequeue(0.1)] == [1, 2, None]


def test_the_list_is_a_plain_redis_list_that_others_may_push_to(client, queue):
    queue.enqueue(5)
    assert client.lrange("email-queue", 0, -1) == ["5"]
    client.lpush("email-queue", 6)
    assert [queue.dequeue(0.1), queue.dequeue(0.1)] == [5, 6]


def test_what_is_no_id_is_logged_and_dropped(client, queue, caplog):
    caplog.set_level(logging.WARNING)
    client.lpush("email-queue", "hello\nworld")
    assert queue.dequeue(0.1) is None
    assert caplog.messages == ['not a batch id queue=email-queue value="hello\\nworld"']
    assert queue.depth() == 0


@pytest.mark.parametrize("value", ["-1", "0", "1.0", "1_000", " 7", "٧", str(2**63), "9" * 400])
def test_what_is_no_id_in_postgres_is_none_here(client, queue, value):
    client.lpush("email-queue", value)
    assert queue.dequeue(0.1) is None


def test_much_nonsense_makes_one_line(client, queue, caplog):
    client.lpush("email-queue", *["hello", "world"] * 50, 7)
    assert [queue.dequeue(0.1) for _ in range(101)] == [None] * 100 + [7]
    assert len(caplog.messages) == 1


def test_several_ids_are_enqueued_at_once_but_those_that_wait(queue):
    queue.enqueue(2)
    queue.enqueue(1, 2, 3)
    queue.enqueue()
    assert [queue.dequeue(0.1) for _ in range(4)] == [2, 1, 3, None]


def test_a_cleared_list_is_empty(queue):
    queue.enqueue(1, 2)
    queue.clear()
    assert queue.depth() == 0


def test_without_redis_every_call_says_so(no_redis):
    queue = BatchQueue(no_redis.client, "email-queue", "check")
    calls = (
        lambda: queue.enqueue("crm", 1),
        lambda: queue.dequeue(0.1, ["check", "crm"]),
        lambda: queue.depth("crm"),
        lambda: queue.clear("crm"),
    )
    for call in calls:
        with pytest.raises(redis.RedisError):
            call()


def test_each_processor_has_a_list_and_the_first_that_has_ids_is_served(client):
    queue = BatchQueue(client, "email-queue", "check")
    queue.enqueue("crm", 1, 2)
    queue.enqueue("check", 3)
    queue.enqueue(None, 4)
    assert client.lrange("email-queue", 0, -1) == ["4", "3"]
    assert client.lrange("email-queue:crm", 0, -1) == ["2", "1"]
    assert queue.depth("check", "crm", "other") == 4
    assert queue.dequeue(0.1, ["other", "crm", "check"]) == ("crm", 1)
    assert queue.dequeue(0.1, ["check", "crm"]) == ("check", 3)
    assert queue.dequeue(0.1, ["other"]) is None
    queue.clear("check")
    assert (queue.depth("check"), queue.depth("crm")) == (0, 1)
