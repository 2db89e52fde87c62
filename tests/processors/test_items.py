"""Windows: each item gets exactly its own answer, whatever a function does with the others."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.processors import listed
from processors import (
    ERROR,
    INTERRUPTED,
    PROCESSED,
    Item,
    Stop,
    answered,
    failed,
    handing,
    in_windows,
    later,
    once,
    process,
)


def items(count):
    return [Item(f"{number}@x.de", f"b1-e{number}-r1", 1) for number in range(count)]


def told(item):
    return answered(address=item.address)


def due(each):
    return answered(address=each.address)


@given(count=st.integers(1, 30), size=st.integers(1, 9), data=st.data())
def test_each_item_gets_its_own_answer(count, size, data):
    left_out = data.draw(st.sets(st.integers(0, count - 1)))
    all_items = items(count)
    missing = {all_items[number].key for number in left_out}
    sizes = []

    @in_windows(size)
    def function(window):
        sizes.append(len(window))
        mixed = data.draw(st.permutations(list(window)))
        return {each.key: told(each) for each in mixed if each.key not in missing}

    def expected(outcome):
        return [outcome if each.key in missing else due(each) for each in all_items]

    errors = []
    assert listed(process(function, all_items, math.inf, errors.append)) == expected(ERROR)
    assert sizes == [min(size, count - begin) for begin in range(0, count, size)]
    windows = {number // size for number in left_out}
    assert len(errors) == len(windows)

    notes = []

    def note(noted, findings):
        notes.append(noted)
        return True

    findings = handing.process(once(function), all_items, math.inf, note, errors.append)
    assert listed(findings) == expected(INTERRUPTED)
    assert notes == [*(min(begin + size, count) for begin in range(0, count, size)), count]


def test_only_the_guilty_item_fails():
    calls, errors = [], []

    @in_windows(3)
    def function(window):
        calls.append(len(window))
        if window[0].key == window[-1].key == "b1-e1-r1" or len(window) == 3:
            raise RuntimeError("e1")
        return {each.key: None for each in window}

    findings = process(function, items(5), math.inf, errors.append)
    assert findings.others == [(1, ERROR)]
    assert calls == [3, 1, 1, 1, 2]
    assert [str(error) for error in errors] == ["e1"]


def test_an_error_of_a_window_is_told_although_no_item_is_to_blame():
    @in_windows(3)
    def function(window):
        if len(window) > 1:
            raise RuntimeError("only one at a time")
        return {window[0].key: None}

    errors = []
    assert listed(process(function, items(4), math.inf, errors.append)) == [PROCESSED] * 4
    (error,) = errors
    assert str(error) == "only one at a time"
    assert error.__notes__ == ["raised for 3 items at once, but for none of them alone"]


def test_a_window_whose_work_must_not_be_repeated_is_interrupted_by_an_error():
    @once
    @in_windows(2)
    def function(window):
        raise RuntimeError("broken")

    errors = []
    findings = handing.process(function, items(3), math.inf, lambda *_: True, errors.append)
    assert listed(findings) == [INTERRUPTED, INTERRUPTED, ERROR]
    assert len(errors) == 2


def test_a_stop_goes_through():
    @in_windows(2)
    def function(window):
        if window[0].key == "b1-e2-r1":
            raise Stop("the quota is used up")
        return {each.key: "no" for each in window}

    findings = process(function, items(5), math.inf, pytest.fail)
    assert listed(findings) == [failed("no"), failed("no")]
    assert str(findings.stop) == "the quota is used up"


def test_a_key_that_was_not_asked_is_told_and_ignored():
    @in_windows(2)
    def function(window):
        return {"b9-e9-r9": "no", **{each.key: later("unknown", 5) for each in window}}

    errors = []
    findings = process(function, items(2), math.inf, errors.append)
    assert listed(findings) == [later("unknown", 5.0)] * 2
    assert [str(each) for each in errors] == [
        "an answer for a key that wasn't asked about: 'b9-e9-r9'"
    ]


def test_a_turn_ends_between_two_windows():
    @in_windows(2)
    def function(window):
        return {each.key: None for each in window}

    assert process(function, items(5), 0, pytest.fail).count == 2
    findings = handing.process(once(function), items(5), 0, lambda *_: True, pytest.fail)
    assert findings.count == 2


def test_once_takes_the_own_window_unless_one_is_given():
    assert once(in_windows(7)(dict)).window == 7
    assert once(in_windows(7)(dict), window=14).window == 14
    with pytest.raises(ValueError, match="must be 1 or more"):
        in_windows(0)
