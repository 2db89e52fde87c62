"""Which of the idle threads serves the next request."""

import threading

import pytest

from harness.polling import eventually
from web.server.threads import Dispatcher


class Task:
    """Notes which thread serves it, and lets that thread go on when it is let go."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread = None

    def service(self):
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(20)

    def cancel(self):
        raise AssertionError("the task was cancelled")


@pytest.fixture
def dispatcher():
    dispatcher = Dispatcher(3)
    eventually(lambda: dispatcher.active_count == 0)
    yield dispatcher
    dispatcher.shutdown(timeout=20)
    assert not dispatcher.threads


def test_all_threads_serve_when_there_are_as_many_requests(dispatcher):
    tasks = [Task() for _ in range(4)]
    for task in tasks:
        dispatcher.add_task(task)
    for task in tasks[:3]:
        assert task.begun.wait(20)
    assert len({task.thread for task in tasks[:3]}) == 3
    assert not tasks[3].begun.is_set()
    tasks[1].may_end.set()
    assert tasks[3].begun.wait(20)
    assert tasks[3].thread is tasks[1].thread
    for task in tasks:
        task.may_end.set()


def test_one_after_another_is_served_by_the_thread_that_was_busy_last(dispatcher):
    threads = []
    for _ in range(5):
        task = Task()
        dispatcher.add_task(task)
        assert task.begun.wait(20)
        task.may_end.set()
        eventually(lambda: dispatcher.active_count == 0)
        threads.append(task.thread)
    assert len({*threads}) == 1
