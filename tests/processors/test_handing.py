"""What a processor whose work must not be repeated is handed out, and what is noted before."""

import math
import threading

import pytest

from harness.processors import listed
from processors import (
    ERROR,
    INTERRUPTED,
    PROCESSED,
    ProcessorError,
    Stop,
    answered,
    failed,
    handing,
    later,
    once,
)

FINE, BAD = PROCESSED, failed("bad")


class Notes:
    """Notes everything, up to `most` emails."""

    def __init__(self, most=math.inf):
        self.most = most
        self.entries = []
        self.errors = []

    def note(self, count, findings):
        if count > self.most:
            return False
        self.entries.append((count, listed(findings)))
        return True

    def process(self, processor, given, deadline=math.inf):
        findings = handing.process(processor, given, deadline, self.note, self.errors.append)
        return listed(findings)


@pytest.fixture
def notes():
    return Notes()


def bad_b(emails):
    for each in emails:
        yield BAD if each == "b" else FINE


def test_each_email_is_noted_before_it_is_handed_out_with_the_outcomes_so_far(notes):
    def processor(emails):
        for each in emails:
            assert len(notes.entries) == "abc".index(each) + 1
            yield BAD if each == "b" else FINE

    assert notes.process(processor, "abc") == [FINE, BAD, FINE]
    assert notes.entries == [(1, []), (2, [FINE]), (3, [FINE, BAD]), (3, [FINE, BAD, FINE])]
    assert notes.errors == []


def test_a_window_is_noted_at_once(notes):
    windowed = once(lambda emails: bad_b(emails), window=2)
    assert notes.process(windowed, "abcde") == [FINE, BAD, FINE, FINE, FINE]
    assert [count for count, _ in notes.entries] == [2, 4, 5, 5]


def test_nothing_is_handed_out_that_could_not_be_noted():
    taken = []

    def processor(emails):
        for each in emails:
            taken.append(each)
            yield FINE

    assert Notes(2).process(processor, "abc") == [FINE, FINE]
    assert Notes(0).process(processor, "abc") == []
    assert taken == ["a", "b"]


def test_a_turn_ends_in_time_but_not_before_its_first_email(notes):
    assert notes.process(bad_b, "abc", deadline=0) == [FINE]


def test_a_turn_ends_in_time_also_within_a_window_and_takes_the_rest_of_it_back(notes):
    windowed = once(lambda emails: bad_b(emails), window=2)
    assert notes.process(windowed, "abc", deadline=0) == [FINE]
    assert notes.entries == [(2, []), (1, [FINE])]


def test_a_turn_ends_after_many_outcomes_with_reasons(notes, monkeypatch):
    monkeypatch.setattr(handing, "MAX_OTHERS", 2)
    assert notes.process(bad_b, "babba") == [BAD, FINE, BAD]


class OutOfReachError(Exception):
    """What a note raises without a database."""


def swallowing(emails):
    try:
        yield from bad_b(emails)
    except OutOfReachError:
        return


@pytest.mark.parametrize("processor", [bad_b, swallowing])
def test_a_note_that_fails_is_no_error_of_the_processor(notes, processor):
    def note(count, findings):
        if count == 2:
            raise OutOfReachError
        return True

    with pytest.raises(OutOfReachError):
        handing.process(processor, "abc", math.inf, note, notes.errors.append)
    assert notes.errors == []


def test_a_processor_that_fails_at_its_last_email_is_not_called_again(notes):
    calls = []

    def processor(emails):
        calls.append([*emails])
        raise ValueError

    assert notes.process(processor, "ab") == [ERROR, INTERRUPTED]
    assert calls == [["a", "b"]]
    assert len(notes.errors) == 1


def test_after_an_error_the_others_are_handed_out(notes):
    calls = []

    def processor(emails):
        calls.append(1)
        for each in emails:
            if each == "b":
                raise ValueError(each)
            yield FINE

    assert notes.process(processor, "abc") == [FINE, ERROR, FINE]
    assert len(calls) == 2
    assert [str(error) for error in notes.errors] == ["b"]


def test_of_several_emails_under_way_only_one_has_the_error(notes):
    def processor(emails):
        taken = [next(emails), next(emails), next(emails)]
        if "b" in taken:
            yield FINE
            raise ValueError
        yield from map(later, ["unknown"] * 3, [5] * 3)

    again = later("unknown", 5)
    assert notes.process(processor, "abcdef") == [FINE, ERROR, INTERRUPTED, again, again, again]
    assert [count for count, _ in notes.entries] == [1, 2, 3, 4, 5, 6, 6]


def test_what_an_earlier_call_got_hands_nothing_out_any_more(notes):
    calls = []

    def processor(emails):
        calls.append(emails)
        # As a thread does that takes emails ahead, and outlives the call.
        assert not any(list(earlier) for earlier in calls[:-1])
        for each in emails:
            if each == "b":
                raise ValueError(each)
            yield BAD if each == "d" else FINE

    assert notes.process(processor, "abcde") == [FINE, ERROR, FINE, BAD, FINE]
    assert [str(error) for error in notes.errors] == ["b"]


def test_an_email_that_a_thread_takes_as_the_turn_ends_is_interrupted(notes):
    noting, ended = threading.Event(), threading.Event()
    taken, threads = [], []

    def note(count, findings):
        if count == 2:
            noting.set()
            ended.wait(0.2)  # so long that the turn would end, if it didn't wait for the thread
        return notes.note(count, findings)

    def processor(emails):
        taken.append(next(emails))
        threads.append(threading.Thread(target=lambda: taken.append(next(emails))))
        threads[0].start()
        noting.wait(60)
        raise Stop("quota used up")

    findings = handing.process(processor, "abc", math.inf, note, notes.errors.append)
    ended.set()
    threads[0].join()
    assert taken == ["a", "b"]
    assert listed(findings) == [INTERRUPTED, INTERRUPTED]


def test_a_processor_that_stops_interrupts_what_it_has_taken_and_leaves_the_rest(notes):
    def processor(emails):
        for each in emails:
            if each == "b":
                raise Stop("quota used up", 5)
            yield FINE

    windowed = once(processor, window=3)
    findings = handing.process(windowed, "abcd", math.inf, notes.note, notes.errors.append)
    assert listed(findings) == [FINE, INTERRUPTED]
    assert findings.stop.reason == "quota used up"
    assert notes.entries == [(3, []), (2, [FINE, INTERRUPTED])]
    assert notes.errors == []


def too_few(emails):
    for _ in zip(range(2), emails, strict=False):
        pass
    return iter(())


def too_many(emails):
    for _ in emails:
        yield FINE
        yield FINE


def before(emails):
    yield FINE


@pytest.mark.parametrize("processor", [too_few, too_many, before])
def test_a_wrong_number_of_outcomes_is_an_error_and_the_turn_ends(notes, processor):
    outcomes = notes.process(processor, "abcd")
    assert len(outcomes) == 4
    assert ERROR in outcomes
    assert {type(error) for error in notes.errors} == {ProcessorError}


def test_no_processor_says_that_an_email_was_interrupted(notes):
    assert notes.process(lambda emails: (INTERRUPTED for _ in emails), "a") == [ERROR]
    assert notes.process(lambda emails: (later("interrupted", 5) for _ in emails), "a") == [ERROR]


def test_a_turn_ends_after_many_characters_of_answers_because_each_note_has_all_of_them(notes):
    def processor(emails):
        return (answered(**{f"n{n}": "x" * 500 for n in range(20)}) for _ in emails)

    found = notes.process(processor, "a" * 50)
    assert len(found) == 10
    assert notes.entries[-1] == (10, found)
