"""The limits of what harm may interrupt."""

from __future__ import annotations

from torture.havoc import HARM


def test_each_harm_that_may_lose_turns_says_how_many():
    lost = {harm.name: harm.lost(1, 6) for harm in HARM if harm.lost(1, 6)}
    assert lost == {
        **dict.fromkeys(("worker killed", "all workers killed", "worker stopped for long"), 2),
        **dict.fromkeys(("some backends terminated", "all backends terminated"), 2),
        **dict.fromkeys(("PostgreSQL killed", "PostgreSQL killed as it stores"), 6),
        "PostgreSQL read-only": 6,
    }
