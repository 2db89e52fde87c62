"""How fast a nameserver answers, measured without asking anybody else."""

import time

from harness.nameserver import WORLD
from processors.domains import trial
from processors.domains.lookups import Lookups


def test_a_nameserver_that_becomes_silent_is_given_up_in_time(nameserver):
    lookups = Lookups([nameserver.address], 20.0, 100)
    try:
        assert trial.measure(lookups.exchange, WORLD).seconds > 0
        nameserver.silent = True
        begun = time.monotonic()
        assert trial.measure(lookups.exchange, WORLD) is None
        assert time.monotonic() - begun < 10
    finally:
        lookups.close()


def test_an_answer_takes_as_long_as_it_takes(nameserver):
    nameserver.seconds = 0.05
    lookups = Lookups([nameserver.address], 20.0, 100)
    try:
        speed = trial.measure(lookups.exchange, WORLD)
    finally:
        lookups.close()
    assert speed.seconds >= 0.05
    assert speed.a_second > 10
    assert 0 <= speed.late <= 1
