"""How fast a nameserver answers, measured without asking anybody else."""

import time

import pytest

from harness.nameserver import WORLD
from processors.domains import trial
from processors.domains.lookups import Lookups


@pytest.fixture
def exchange(nameserver, monkeypatch):
    # However busy the machine is.
    monkeypatch.setattr(trial, "AT_ONCE", 300)
    monkeypatch.setattr(trial, "ENOUGH", 200)
    monkeypatch.setattr(trial, "SECONDS", 30.0)
    lookups = Lookups([nameserver.address], 20.0, 100)
    yield lookups.exchange
    lookups.close()


def test_an_answer_takes_as_long_as_it_takes(nameserver, exchange):
    nameserver.seconds = 0.05
    speed = trial.measure(exchange, WORLD)
    assert speed.seconds >= 0.05
    assert speed.a_second > 1
    assert 0 <= speed.late <= 1


def test_a_nameserver_that_becomes_silent_is_given_up_in_time(nameserver, exchange, monkeypatch):
    assert trial.measure(exchange, WORLD).seconds > 0
    nameserver.silent = True
    monkeypatch.setattr(trial, "SECONDS", 0.5)
    begun = time.monotonic()
    assert trial.measure(exchange, WORLD) is None
    assert time.monotonic() - begun < 30
