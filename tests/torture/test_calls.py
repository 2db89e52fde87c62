"""How often an email may have been called, by what became of it."""

from __future__ import annotations

import pytest

from processors import INTERRUPTED
from torture.calls import FINISHED, PENDING, Calls, Pending, allowed
from torture.expected import Row
from torture.processor import UNUSUAL


@pytest.mark.parametrize(
    ("keys", "pending", "right"),
    [
        ([], Pending(0, handed=False), True),
        ([], Pending(0, handed=True), True),
        (["b1-e1-r1"], Pending(0, handed=True), True),
        (["b1-e1-r1"], Pending(0, handed=False), False),
        (["b1-e1-r1"], Pending(1, handed=False), True),
        ([], Pending(1, handed=True), False),
        (["b1-e1-r2"], Pending(1, handed=True), False),
    ],
)
def test_what_was_cancelled_was_called_only_if_it_was_noted(keys, pending, right):
    assert (Calls(keys).wrong((1, 1), range(9), pending) is None) == right


def test_what_people_finished_lacks_rounds():
    late, never = (
        Row("email", 1, "", "", *UNUSUAL[word].outcome, UNUSUAL[word].rounds)
        for word in ("late", "never")
    )
    place, calls = (1, 1), Calls([])
    assert allowed(late, place, {"finish"}, calls, cancelled=False) == {
        tuple(INTERRUPTED): range(4),
        FINISHED: range(1, 3),
        ("failed", "refused"): range(3, 4),
    }
    assert allowed(never, place, {"finish"}, None, cancelled=True) == {
        PENDING: range(4),
        FINISHED: range(1, 4),
    }
