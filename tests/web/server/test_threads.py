"""Which thread serves a request, and when."""

import threading

import pytest

from harness.polling import eventually
from web.server.threads import Dispatcher


class Task:
    """Notes which thread serves it, and ends when the test says so."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread = None
        self.cancelled = False

    def service(self):
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(20)

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def dispatcher():
    dispatcher = Dispatcher(3)
    eventually(lambda: len(dispatcher._idle) == 3)
    yield dispatcher
    dispatcher.shutdown(timeout=20)
    assert not any(thread.is_alive() for thread in dispatcher._threads)


def serve(dispatcher, number):
    tasks = [Task() for _ in range(number)]
    for task in tasks:
        dispatcher.add_task(task)
    return tasks


def test_all_threads_serve_when_there_are_as_many_requests_that_last(dispatcher):
    tasks = serve(dispatcher, 4)
    for task in tasks[:3]:
        assert task.begun.wait(20)
    assert len({task.thread for task in tasks[:3]}) == 3
    assert not tasks[3].begun.is_set()
    tasks[1].may_end.set()
    assert tasks[3].begun.wait(20)
    assert tasks[3].thread is tasks[1].thread
    for task in tasks:
        task.may_end.set()


def test_the_third_request_waits_for_the_end_of_one_of_the_first_two(patient, dispatcher):
    first, second, third, fourth = serve(dispatcher, 4)
    for before, after in ((second, third), (first, fourth)):
        assert before.begun.wait(20)
        assert not after.begun.is_set()
        before.may_end.set()
        assert after.begun.wait(20)
        assert after.thread is before.thread
    third.may_end.set()
    fourth.may_end.set()


def test_one_after_another_is_served_by_the_thread_that_was_busy_last(dispatcher):
    threads = []
    for _ in range(5):
        (task,) = serve(dispatcher, 1)
        assert task.begun.wait(20)
        task.may_end.set()
        eventually(lambda: len(dispatcher._idle) == 3)
        threads.append(task.thread)
    assert len({*threads}) == 1


def test_a_thread_goes_on_after_a_request_that_failed(patient, dispatcher, caplog):
    for _ in range(10):
        task = Task()
        task.service = lambda: 1 / 0
        dispatcher.add_task(task)
    (last,) = serve(dispatcher, 1)
    assert last.begun.wait(20)
    last.may_end.set()
    eventually(lambda: len(caplog.records) == 10)


def test_requests_that_wait_are_cancelled_at_the_end(patient):
    dispatcher = Dispatcher(3)
    first, second, third = serve(dispatcher, 3)
    assert first.begun.wait(20)
    assert second.begun.wait(20)
    first.may_end.set()
    assert third.begun.wait(20)
    (waiting,) = serve(dispatcher, 1)
    dispatcher.shutdown(timeout=0.0)
    assert (waiting.begun.is_set(), waiting.cancelled) == (False, True)
    for task in (second, third):
        task.may_end.set()
        task.thread.join(20)
        assert (task.thread.is_alive(), task.cancelled) == (False, False)


def test_a_request_that_comes_after_the_end_is_cancelled():
    """A client that sent several requests at once causes this."""
    dispatcher = Dispatcher(1)
    dispatcher.shutdown(timeout=20)
    (late,) = serve(dispatcher, 1)
    assert late.cancelled


def test_one_connection_may_have_its_next_request_served_before_the_first_is_done(dispatcher):
    """Its thread adds the next one before it tells that it is idle."""
    task, tasks = Task(), []

    def service():
        tasks.append(threading.current_thread())
        if len(tasks) < 100:
            dispatcher.add_task(task)

    task.service = service
    dispatcher.add_task(task)
    eventually(lambda: len(tasks) == 100 and len(dispatcher._idle) == 3)
