"""The limits of what harm may interrupt, and when it ends."""

from __future__ import annotations

import math
import random

import pytest

from torture.havoc import HARM, Pace


def test_each_harm_that_may_lose_turns_says_how_many():
    lost = {harm.name: harm.lost(1, 6) for harm in HARM if harm.lost(1, 6)}
    assert lost == {
        **dict.fromkeys(("worker killed", "all workers killed", "worker stopped for long"), 2),
        **dict.fromkeys(("some backends terminated", "all backends terminated"), 2),
        **dict.fromkeys(("PostgreSQL killed", "PostgreSQL killed as it stores"), 6),
        "PostgreSQL read-only": 6,
    }


@pytest.mark.parametrize("elapsed", [2.0, 30.0])
def test_harm_goes_on_until_its_goal_is_reached(elapsed):
    pace = Pace(goal=3, seconds=10.0, rng=random.Random(1))
    pace.advance(elapsed, 2)
    assert elapsed < pace.next < math.inf


def test_harm_ends_with_the_run_once_its_goal_is_reached():
    pace = Pace(goal=3, seconds=10.0, rng=random.Random(1))
    pace.advance(2.0, 3)
    assert 2.0 < pace.next < 10.0
    pace.advance(10.0, 4)
    assert pace.next == math.inf
