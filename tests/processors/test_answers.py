"""What a processor may answer besides a reason, and what becomes of it."""

import json
import math
from collections import UserDict
from decimal import Decimal
from http import HTTPStatus

import pytest

from processors import (
    ERROR,
    PROCESSED,
    AnswerError,
    Findings,
    Outcome,
    ProcessorError,
    ReasonError,
    answered,
    checked,
    failed,
    later,
    one_by_one,
    process,
    process_lines,
)
from processors.outcomes import MAX_ANSWERS, from_values, to_values

TOLD = Outcome("processed", None, {"number": "7"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\r\n\tb", "a\r\n\tb"),
        ("\0 \ud800", "\ufffd \ufffd"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (HTTPStatus.OK, "200"),
        (0.5, "0.5"),
        (Decimal("1.50"), "1.50"),
        ("x" * 500, "x" * 500),
    ],
)
def test_values_become_texts_that_can_be_stored(value, text):
    outcome = checked(answered(**{"Größe 1": value}))
    assert outcome == Outcome("processed", None, {"Größe 1": text})
    assert type(outcome.answers) is dict
    assert type(outcome.answers["Größe 1"]) is str
    assert from_values(json.loads(json.dumps(to_values(outcome)))) == outcome


@pytest.mark.parametrize("value", [None, b"x", [1], {}, 1j, object(), "x" * 501, 10**500])
def test_other_values_are_refused(value):
    with pytest.raises(AnswerError, match=r"^the answer 'number' "):
        checked(answered(number=value))


@pytest.mark.parametrize("name", ["", "x" * 61, "a\nb", "a\0", "\ud800", 7, None])
def test_other_names_are_refused(name):
    with pytest.raises(AnswerError, match="printable characters"):
        checked(Outcome("processed", None, {name: 1}))


def test_there_are_twenty_at_most():
    twenty = {f"a{number}": number for number in range(20)}
    assert len(checked(answered(**twenty)).answers) == 20
    with pytest.raises(AnswerError, match="20 answers at most, not 21"):
        checked(answered(**twenty, more=1))


@pytest.mark.parametrize("answers", ["text", [("a", 1)], 7])
def test_what_is_no_mapping_is_refused(answers):
    with pytest.raises(AnswerError, match="a mapping of names to values"):
        checked(Outcome("processed", None, answers))


def test_no_answers_are_none():
    assert checked(answered()) == PROCESSED


def test_a_reason_may_have_answers_and_is_looked_at_too():
    own = UserDict(number=7)
    assert checked(Outcome("failed", "x", own)) == Outcome("failed", "x", {"number": "7"})
    assert checked(Outcome("failed", "x")) == Outcome("failed", "x")
    with pytest.raises(ReasonError, match="'Not so' is not allowed"):
        checked(Outcome("failed", "Not so", {"number": 7}))
    with pytest.raises(ProcessorError, match="yields Outcome objects"):
        checked(Outcome("pending", None, {"number": 7}))


def test_a_wrong_answer_fails_its_email_and_is_told():
    @one_by_one
    def numbered(address):
        return answered(number=None if address == "b" else 7)

    errors = []
    findings = process(numbered, ["a", "b", "c"], math.inf, errors.append)
    assert findings.others == [(0, TOLD), (1, ERROR), (2, TOLD)]
    assert [type(error) for error in errors] == [AnswerError]


def test_findings_count_objects():
    odd, wait = failed("odd"), later("dns_timeout", 1)
    findings = Findings()
    for outcome in (odd, wait, odd, PROCESSED, failed("odd"), wait, odd):
        findings.add(outcome)
    assert findings.outcomes == [(odd, 3), (odd, 1)]
    assert (findings.later, findings.waiting) == ([(wait, 2)], 2)


def test_findings_have_outcomes_with_answers_only():
    findings = Findings()
    findings.add(PROCESSED)
    findings.add(TOLD)
    assert (findings.count, findings.outcomes, findings.later) == (2, [(TOLD, 1)], [])


def test_lines_may_have_answers():
    def told(lines):
        raise AssertionError

    told.of_lines = lambda lines: {1: answered(number=7)}
    assert process_lines(told, "a\nb", math.inf, pytest.fail).others == [(1, TOLD)]


def test_without_answers_the_journal_is_as_before():
    assert to_values(Outcome("failed", "x")) == ["failed", "x"]


class Price(float):
    def __str__(self):
        return "\0 EUR \ud800"


def test_a_number_of_a_class_of_its_own_says_nothing_that_cannot_be_stored():
    (answer,) = checked(answered(price=Price(1))).answers.values()
    assert answer == "\ufffd EUR \ufffd"


class Short(UserDict):
    def __len__(self):
        return 1


def test_a_mapping_that_counts_wrong_has_no_more_answers_than_others():
    answers = Short({f"n{number}": "x" for number in range(MAX_ANSWERS + 1)})
    with pytest.raises(AnswerError, match=r"20 answers at most, not 21"):
        checked(Outcome("processed", None, answers))
