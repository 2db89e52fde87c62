"""Answers, and processors that take windows of items."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processors
from harness.processors import listed
from processors import (
    ERROR,
    INTERRUPTED,
    PROCESSED,
    Item,
    Outcome,
    ProcessorError,
    Stop,
    answered,
    failed,
    handing,
    in_windows,
    later,
    once,
)
from processors.outcomes import AnswerError, LeftOut, checked, from_values


def items(number):
    return [Item(f"user{n}@x.de", f"b1-e{n}-r1", 1) for n in range(1, number + 1)]


def refuse(error):
    raise error


def run(processor, number, deadline=math.inf, on_error=refuse):
    return processors.process(processor, items(number), deadline, on_error)


def hand_out(processor, number, notes=None, deadline=math.inf, on_error=refuse):
    def note(count, _findings):
        if notes is not None:
            notes.append(count)
        return True

    return handing.process(processor, items(number), deadline, note, on_error)


class TestAnswers:
    def test_become_texts(self):
        values = {"a": "x", "b": 1, "c": 0.5, "d": Decimal("1.50"), "e": True, "ä ö": ""}
        told = {"a": "x", "b": "1", "c": "0.5", "d": "1.50", "e": "true", "ä ö": ""}
        assert checked(Outcome("processed", None, values)) == answered(**told)
        assert checked(Outcome("failed", "bad_one", values)) == Outcome("failed", "bad_one", told)
        assert checked(answered(a="x\0\ud800\n")) == answered(a="x\ufffd?\n")

    def test_none_are_no_answers(self):
        assert checked(answered()) == PROCESSED
        assert checked(Outcome("failed", "bad_one", {})) == failed("bad_one")

    @pytest.mark.parametrize(
        "answers",
        [
            "text",
            {"": "x"},
            {"x" * 61: "x"},
            {"a\nb": "x"},
            {1: "x"},
            {"a": "x" * 501},
            {"a": None},
            {"a": ["x"]},
            {"a": 10**600},
            {f"a{n}": "x" for n in range(21)},
        ],
    )
    def test_of_another_form_are_refused(self, answers):
        with pytest.raises(AnswerError) as caught:
            checked(Outcome("processed", None, answers))
        assert len(str(caught.value)) < 300

    def test_survive_json(self):
        outcome = checked(Outcome("failed", "bad_one", {"a": '"\n', "ä": "€😀"}))
        assert from_values(json.loads(json.dumps(outcome))) == outcome

    def test_of_an_email_that_is_fine_are_kept(self):
        @processors.one_by_one
        def tell(address):
            return answered(at=address.partition("@")[2]) if "@" in address else None

        findings = processors.process(tell, ["a@x.de", "b", "c@y.de"], math.inf, refuse)
        assert listed(findings) == [answered(at="x.de"), PROCESSED, answered(at="y.de")]

    def test_that_are_wrong_fail_their_email_alone(self):
        told = []

        @processors.one_by_one
        def tell(address):
            return answered(a=[]) if address == "b" else answered(a=address)

        findings = processors.process(tell, ["a", "b", "c"], math.inf, told.append)
        assert listed(findings) == [answered(a="a"), ERROR, answered(a="c")]
        assert [type(error) for error in told] == [AnswerError]


RESULTS = st.one_of(
    st.none(),
    st.just("bad_one"),
    st.just(later("unknown", 5)),
    st.integers(0, 9).map(lambda n: answered(n=n)),
)


@given(
    results=st.lists(st.one_of(st.just("left out"), RESULTS), max_size=30),
    size=st.integers(1, 7),
    drawn=st.randoms(use_true_random=False),
)
def test_each_item_of_a_window_gets_its_own_answer_in_whatever_order(results, size, drawn):
    by_key = {item.key: result for item, result in zip(items(len(results)), results, strict=True)}

    @in_windows(size)
    def tell(window):
        assert 1 <= len(window) <= size
        keys = [item.key for item in window if by_key[item.key] != "left out"]
        drawn.shuffle(keys)
        return {key: by_key[key] for key in keys}

    def meant(result, left_out):
        if result == "left out":
            return left_out
        if isinstance(result, str):
            return failed(result)
        return PROCESSED if result is None else checked(result)

    told = []
    found = listed(run(tell, len(results), on_error=told.append))
    assert found == [meant(result, ERROR) for result in results]
    assert len(told) == results.count("left out")
    if results:
        found = listed(hand_out(once(tell), len(results), on_error=told.append))
        assert found == [meant(result, INTERRUPTED) for result in results]


def test_a_turn_ends_at_the_border_of_a_window():
    calls = []

    @in_windows(4)
    def tell(window):
        calls.append(len(window))
        return {item.key: None for item in window}

    assert run(tell, 10, deadline=0).count == 4
    assert calls == [4]


def test_an_error_in_a_window_fails_only_who_is_to_blame():
    told = []

    @in_windows(5)
    def tell(window):
        if any(item.address == "user3@x.de" for item in window):
            raise RuntimeError("no")
        return {item.key: "bad_one" for item in window}

    bad = failed("bad_one")
    assert listed(run(tell, 7, on_error=told.append)) == [bad, bad, ERROR, bad, bad, bad, bad]
    assert [str(error) for error in told] == ["no"]


def test_a_stop_in_a_window_leaves_the_whole_window():
    @in_windows(2)
    def tell(window):
        if window[0].address == "user3@x.de":
            raise Stop("The quota is used up")
        return {item.key: None for item in window}

    findings = run(tell, 6)
    assert (findings.count, findings.stop.reason) == (2, "The quota is used up")


def test_a_window_of_work_that_must_not_be_repeated_is_noted_at_once_and_never_called_again():
    calls, told, notes = [], [], []

    @in_windows(3)
    def send(window):
        calls.append([item.address for item in window])
        if len(calls) == 2:
            raise RuntimeError("no")
        return {item.key: None for item in window}

    found = listed(hand_out(once(send), 8, notes, on_error=told.append))
    assert found[:3] == [PROCESSED] * 3
    assert found[3:6] == [ERROR, INTERRUPTED, INTERRUPTED]
    assert found[6:] == [PROCESSED] * 2
    assert [each for call in calls for each in call] == [item.address for item in items(8)]
    assert [count for count in notes if count < 8] == [3, 6]


def test_a_key_that_no_item_has_is_told_with_an_item_that_is_left_out():
    told = []

    @in_windows(2)
    def tell(window):
        return {item.address: None for item in window}

    assert listed(run(tell, 2, on_error=told.append)) == [ERROR, ERROR]
    assert "which no item has" in str(told[0])
    assert "user" in str(told[0])


def test_what_is_no_mapping_fails_each_item():
    told = []
    found = listed(run(in_windows(2)(lambda window: None), 2, on_error=told.append))
    assert found == [ERROR, ERROR]
    assert {type(error) for error in told} == {ProcessorError}


def test_a_turn_ends_before_its_answers_are_long():
    @once
    @processors.per_item
    def send(item):
        return answered(**{f"a{n}": "x" * 500 for n in range(20)})

    assert hand_out(send, 50).count == math.ceil(handing.MAX_ANSWERED / 10_000)


@pytest.mark.parametrize("size", [0, -1])
def test_a_window_has_a_size(size):
    with pytest.raises(ValueError, match="1 or more"):
        in_windows(size)


def test_who_was_left_out_is_no_outcome_of_a_processor():
    with pytest.raises(AnswerError):
        checked(LeftOut(None))
