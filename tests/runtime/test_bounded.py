import random
import sys
import threading

import pytest

from runtime.bounded import BoundedDict


def test_it_holds_the_entries_that_were_set_last():
    entries = BoundedDict[str, int](3)
    for number, key in enumerate("abcad"):
        entries[key] = number
    assert [*entries.items()] == [("c", 2), ("a", 3), ("d", 4)]


@pytest.fixture
def hasty():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
def test_threads_need_no_lock():
    entries, errors = BoundedDict[int, int](20), []

    def use(seed):
        numbers = random.Random(seed)
        try:
            for _ in range(5000):
                key = numbers.randrange(40)
                entries[key] = key
                assert entries.get(key) in (key, None)
                entries.pop(numbers.randrange(40), None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(entries) <= 20
