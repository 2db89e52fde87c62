import logging

import pytest
import redis

import batchqueue
from batchqueue import BatchQueue


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


def test_without_redis_every_call_says_so(tmp_path):
    client = batchqueue.connect(f"unix://{tmp_path}/nobody.sock")
    queue = BatchQueue(client, "email-queue")
    for call in (lambda: queue.enqueue(1), lambda: queue.dequeue(0.1), queue.depth):
        with pytest.raises(redis.RedisError):
            call()
    client.close()
