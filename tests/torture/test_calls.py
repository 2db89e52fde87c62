"""How often an email may have been called, by what became of it."""

from __future__ import annotations

import pytest

from torture.calls import FINISHED, INTERRUPTED, PENDING, Calls, allowed
from torture.expected import Row
from torture.processor import UNUSUAL

PLACE = 1, 1
LATE, NEVER = (
    Row("email", 1, "", "", outcome.status, outcome.reason, rounds)
    for rounds, outcome in (UNUSUAL["late"], UNUSUAL["never"])
)
OUTCOME = {("failed", "refused"): range(3, 4)}


@pytest.mark.parametrize(
    ("keys", "right"),
    [
        ([], False),
        (["b1-e1-r1"], True),
        (["b1-e1-r1", "b1-e1-r2"], True),
        (["b1-e1-r1", "b1-e1-r2", "b1-e1-r3"], False),
        (["b1-e1-r2"], False),
        (["b1-e1-r1", "b1-e1-r3"], False),
        (["b1-e2-r1"], False),
    ],
)
def test_rounds_are_called_in_order_and_as_often_as_they_are_to_be(keys, right):
    assert (Calls(keys).wrong(PLACE, range(1, 3)) is None) == right


def test_what_was_cancelled_was_called_in_the_rounds_that_are_over():
    assert allowed(LATE, PLACE, {"cancel"}, None, 1) == {PENDING: range(1, 2), **OUTCOME}
    assert allowed(LATE, PLACE, {"cancel"}, Calls([]), 1) == {
        PENDING: range(1, 2),
        INTERRUPTED: range(4),
        FINISHED: range(1, 3),
        **OUTCOME,
    }


def test_what_people_finished_lacks_rounds():
    assert allowed(LATE, PLACE, {"finish"}, None, None) == {FINISHED: range(1, 3), **OUTCOME}
    assert allowed(NEVER, PLACE, {"finish"}, None, None) == {FINISHED: range(1, 4)}
    assert allowed(NEVER, PLACE, set(), None, None) == {FINISHED: range(3, 4)}


def test_what_was_handed_out_again_has_its_own_outcome():
    assert [*allowed(LATE, PLACE, {"finish"}, Calls([], {PLACE: {1}}), None)] == [*OUTCOME]
