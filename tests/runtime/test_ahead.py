import threading
from contextlib import closing

import pytest

from runtime.ahead import ahead


def test_all_values_come_in_order_and_most_from_another_thread():
    threads = []

    def values():
        for number in range(50):
            threads.append(threading.current_thread())
            yield number

    assert [*ahead(values(), 3)] == [*range(50)]
    here = threading.current_thread()
    assert [thread is here for thread in threads] == [True] * 2 + [False] * 48
    assert not threads[-1].is_alive()


@pytest.mark.parametrize("number", [0, 1])
def test_no_thread_is_started_for_so_few(number):
    before = threading.active_count()
    values = ahead(iter(range(number)), 3)
    assert [(value, threading.active_count()) for value in values] == [(0, before)] * number


@pytest.mark.parametrize("good", [0, 1, 2, 7])
def test_an_error_comes_after_the_values_before_it_and_ends_the_thread(good):
    def values():
        yield from range(good)
        raise OSError("no more")

    before, got = threading.active_count(), []
    with pytest.raises(OSError, match="no more"):  # noqa: PT012 (the values before it count, too)
        for value in ahead(values(), 2):
            got.append(value)
    assert got == [*range(good)]
    assert threading.active_count() == before


def test_after_it_is_closed_nothing_more_is_got():
    got = []

    def values():
        for number in range(1000):
            got.append(number)
            yield number

    before = threading.active_count()
    with closing(ahead(values(), 4)) as numbers:
        assert [next(numbers) for _ in range(5)] == [*range(5)]
    assert len(got) <= 10
    assert threading.active_count() == before


def test_no_more_are_got_ahead_than_wanted():
    got = threading.Semaphore(0)

    def values():
        while True:
            got.release()
            yield None

    with closing(ahead(values(), 3)) as each:
        for _ in range(3):
            next(each)
        taken = 0
        while got.acquire(timeout=0.2):
            taken += 1
    assert taken == 2 + 1 + 3
