"""How processors are run: from emails to findings, until a deadline."""

from types import SimpleNamespace

import pytest

import processors
from harness.processors import listed
from processors import (
    PROCESSED,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    failed,
    handing,
    one_by_one,
    process,
    risky,
    running,
)


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


class TestProcess:
    """process(): from a processor and addresses to outcomes."""

    ADDRESSES = ["a", "b", "c", "d"]

    def run(self, processor, deadline=float("inf"), **limit):
        errors = []
        findings = process(processor, self.ADDRESSES, deadline, errors.append, **limit)
        return listed(findings), errors

    def test_asks_the_processor_for_each_email_in_order(self):
        assert self.run(no_b) == ([PROCESSED, failed("has_b"), PROCESSED, PROCESSED], [])

    def test_stops_at_the_deadline_but_not_before_the_first(self):
        taken = []

        def lazy(emails):
            for address in emails:
                taken.append(address)
                yield PROCESSED

        assert self.run(lazy, deadline=0.0) == ([PROCESSED], [])
        assert taken == ["a"]

    @pytest.mark.parametrize(("border", "count"), [(1, 3), (2, 4)])
    def test_ends_at_a_border_with_the_most_others(self, border, count):
        def all_but_b(emails):
            return (PROCESSED if address == "b" else failed("is_bad") for address in emails)

        all_but_b.border = border
        outcomes, _ = self.run(all_but_b, most_others=2)
        bad = failed("is_bad")
        assert outcomes == [bad, PROCESSED, bad, bad][:count]

    def test_ends_with_the_most_others_that_are_errors(self):
        def raises(emails):
            raise LookupError

        outcomes, errors = self.run(raises, most_others=2)
        assert outcomes == [failed("error")] * 2
        assert len(errors) == 2

    def test_an_exception_fails_one_email(self):
        @one_by_one
        def raises_for_b(address):
            if address == "b":
                raise LookupError(address)

        outcomes, errors = self.run(raises_for_b)
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, PROCESSED]
        assert [type(error) for error in errors] == [LookupError]

    def test_what_is_no_outcome_fails_one_email(self):
        def odd(emails):
            return (None if address == "b" else PROCESSED for address in emails)

        outcomes, errors = self.run(odd)
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, PROCESSED]
        assert [type(error) for error in errors] == [ProcessorError]

    def test_a_wrong_reason_fails_one_email_and_the_processor_goes_on(self):
        calls = []

        @one_by_one
        def wordy(address):
            calls.append(address)
            return {"b": "Has a b", "c": risky("no_at_sign"), "d": "has_d"}.get(address)

        outcomes, errors = self.run(wordy)
        assert outcomes == [PROCESSED, failed("error"), failed("error"), failed("has_d")]
        assert [type(error) for error in errors] == [ReasonError] * 2
        assert calls == self.ADDRESSES

    def test_a_processor_that_ends_early_fails_what_it_left_and_one_that_goes_on_is_cut(self):
        outcomes, errors = self.run(lambda emails: iter([PROCESSED]))
        assert outcomes == [PROCESSED, failed("error"), PROCESSED, failed("error")]
        assert len(errors) == 2
        outcomes, errors = self.run(lambda emails: iter([PROCESSED] * 9))
        assert (outcomes, errors) == ([PROCESSED] * 4, [])

    def test_a_processor_that_always_raises_ends_too(self):
        def broken(emails):
            raise OSError("down")

        assert self.run(broken)[0] == [failed("error")] * 4

    @pytest.mark.parametrize("returned", [None, "not_staff", failed("odd"), {"a": None}, 7])
    @pytest.mark.parametrize("with_notes", [False, True])
    def test_a_function_without_a_decorator_is_named(self, returned, with_notes):
        def staff(address):
            return returned

        errors = []
        if with_notes:
            handing.process(staff, self.ADDRESSES, float("inf"), lambda *_: True, errors.append)
        else:
            process(staff, self.ADDRESSES, float("inf"), errors.append)
        assert {str(error) for error in errors} == {
            f"{__name__}:staff returned {returned!r} instead of outcomes;"
            " is a decorator such as @one_by_one missing above it?"
        }

    def test_a_stop_ends_it_and_leaves_the_email_and_those_after_it(self):
        @one_by_one
        def stops(address):
            if address == "b":
                raise Stop("Blocked", 60)
            return "has_a"

        errors = []
        findings = process(stops, self.ADDRESSES, float("inf"), errors.append)
        assert (listed(findings), errors) == ([failed("has_a")], [])
        assert (findings.stop.reason, findings.stop.seconds) == ("Blocked", 60)
        assert findings.settled(1, over=True).stop is findings.stop

    def test_a_stop_is_raised_not_returned(self):
        outcomes, errors = self.run(one_by_one(lambda address: Stop("Blocked")))
        assert outcomes == [failed("error")] * 4
        assert [type(error) for error in errors] == [ReasonError] * 4


class TestProcessLines:
    """process_lines(): from a function of a text and addresses one a line to outcomes."""

    @pytest.fixture(autouse=True)
    def few_at_once(self, monkeypatch):
        monkeypatch.setattr(running, "AT_ONCE", 4)

    def run(self, said, text="a\nbb\nccc\nd\n\nf", deadline=float("inf")):
        asked = []

        def of_lines(lines):
            asked.append(lines)
            return said(lines.split("\n"))

        self.errors = []
        processor = SimpleNamespace(of_lines=of_lines)
        findings = processors.process_lines(processor, text, deadline, self.errors.append)
        return listed(findings), asked

    def test_takes_whole_lines_and_puts_each_outcome_in_its_place(self):
        outcomes, asked = self.run(
            lambda lines: {
                place: failed(f"has_{line}") for place, line in enumerate(lines) if len(line) != 1
            }
        )
        assert asked == ["a\nbb", "ccc\nd", "\nf"]
        assert outcomes == [
            *(PROCESSED, failed("has_bb"), failed("has_ccc"), PROCESSED),
            *(failed("has_"), PROCESSED),
        ]

    def test_how_many_are_best_taken_at_once_may_change_in_a_turn(self):
        asked = []
        processor = SimpleNamespace(at_once=1)

        def of_lines(lines):
            asked.append(lines)
            processor.at_once = 4
            return {}

        processor.of_lines = of_lines
        processors.process_lines(processor, "a\nbb\nccc\nd", float("inf"), print)
        assert asked == ["a", "bb\nccc", "d"]

    def test_outcomes_may_come_in_any_order_and_say_that_all_is_well(self):
        said = {1: risky("odd"), 0: Outcome("processed")}
        outcomes, _ = self.run(lambda lines: said, "a\nb")
        assert outcomes == [PROCESSED, risky("odd")]

    @pytest.mark.parametrize("line", [-1, 2])
    def test_a_line_that_was_not_asked_about_is_refused(self, line):
        with pytest.raises(ProcessorError, match=f"line {line} of 2"):
            self.run(lambda lines: {line: failed("odd")}, "a\nb")

    @pytest.mark.parametrize("outcome", [None, "odd", Outcome("pending")])
    def test_what_is_no_outcome_is_refused(self, outcome):
        with pytest.raises(ProcessorError, match="yields Outcome objects"):
            self.run(lambda lines: {0: outcome})

    def test_a_wrong_reason_fails_one_email(self):
        outcomes, _ = self.run(lambda lines: {0: failed("So odd"), 1: failed("odd")}, "a\nb")
        assert outcomes == [failed("error"), failed("odd")]
        assert [type(error) for error in self.errors] == [ReasonError]

    def test_stops_at_the_deadline_but_not_before_the_first_lines(self):
        assert self.run(lambda lines: {}, deadline=0.0) == ([PROCESSED] * 2, ["a\nbb"])

    def test_a_stop_leaves_the_lines_that_it_was_asked_about(self):
        def said(lines):
            if "d" in lines:
                raise Stop("Blocked")
            return {0: failed("odd")}

        assert self.run(said) == ([failed("odd"), PROCESSED], ["a\nbb", "ccc\nd"])
        assert self.errors == []
