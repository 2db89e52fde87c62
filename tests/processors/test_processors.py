import json
import re
import sys
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest

import processors
from harness.config import ROOT
from harness.processors import listed
from processors import (
    PROCESSED,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    failed,
    handing,
    is_once,
    later,
    load,
    once,
    one_by_one,
    process,
    risky,
    running,
)
from processors.outcomes import MAX_STOP_BYTES
from runtime import settings


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


def test_a_function_for_one_address_becomes_a_processor():
    @one_by_one
    def no_dots(address):
        return "has_dot" if "." in address else None

    assert list(no_dots(iter(["a", "b.c"]))) == [PROCESSED, failed("has_dot")]


def test_such_a_function_may_say_the_outcome():
    @one_by_one
    def doubtful(address):
        return risky("has_dot") if "." in address else None

    assert list(doubtful(["a", "b.c"])) == [PROCESSED, Outcome("processed", "has_dot")]


def test_functions_are_loaded_by_name():
    assert processors.load("processors.check:check")(["a"])


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Load a processor from the text of a module `staff` with options."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "staff", raising=False)

    def load(text, name, options):
        (tmp_path / "staff.py").write_text(text)
        return processors.load(name, options)

    yield load
    sys.modules.pop("staff", None)


def test_the_documented_example_works_as_written(own, tmp_path):
    text = (ROOT / "docs/processors.md").read_text()
    module, config = (
        re.search(rf"```{kind}\n(.*?)```", text, re.S)[1] for kind in ("python", "ini")
    )
    shipped = settings.DEFAULT_PATH.read_text()
    worker, section = config.split("\n\n")
    path = tmp_path / "config.ini"
    path.write_text(shipped.replace("processor = check", worker.splitlines()[1]) + section)
    loaded = settings.load(path, environ={})
    processor = own(module, loaded.worker.processor, loaded.default_processor.options)
    assert list(processor(["a@example.org", "a@example.com"])) == [PROCESSED, failed("not_staff")]


FACTORY = """
from processors import configured, one_by_one

@configured
def limited(options):
    limit = int(options["limit"])
    return one_by_one(lambda address: "long" if len(address) > limit else None)
"""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({}, r"'staff:limited' needs \[staff\] limit"), ({"limit": "x"}, r"can't use \[staff\]: inv")],
)
def test_wrong_options_are_told(own, options, sentence):
    with pytest.raises(ProcessorError, match=sentence):
        own(FACTORY, "staff:limited", options)


UNREADABLE = "class Odd(Exception):\n    def __str__(self):\n        raise TypeError\nraise Odd"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (UNREADABLE, r"Odd: its message can't be read \(staff.py, line 4\)"),
        (
            "import asyncio\nraise asyncio.CancelledError('x')",
            r"CancelledError: x \(staff.py, line 2",
        ),
        ("raise ValueError('x' * 1_000_000)", r"ValueError: x{999}… \(staff.py, line 1\)"),
    ],
)
def test_whatever_a_module_raises_is_told_in_a_sentence(own, text, sentence):
    with pytest.raises(
        ProcessorError, match=f"^the processor 'staff:it' can't be loaded: {sentence}"
    ):
        own(text, "staff:it", {})


@pytest.mark.parametrize("name", ["nowhere:check", "processors.check:nothing", "processors:ERROR"])
def test_what_cannot_be_loaded_is_named(name):
    with pytest.raises(ProcessorError, match=name):
        processors.load(name)


@pytest.mark.parametrize(
    "outcome", [PROCESSED, failed("x_1"), Outcome("processed", "risky"), Outcome("processed")]
)
def test_outcomes_are_accepted(outcome):
    assert processors.checked(outcome) == outcome


def test_seconds_of_any_type_become_numbers_that_json_and_postgres_take():
    outcome = later("unknown", Decimal("0.5"), Fraction(3, 2), True)
    assert json.dumps(processors.checked(outcome)) == '["unknown", [0.5, 1.5, 1.0]]'


@pytest.mark.parametrize(
    "outcome",
    [None, True, ("processed", None), Outcome("pending"), Outcome(["failed"], "x")],
)
def test_what_is_no_outcome_is_refused(outcome):
    with pytest.raises(ProcessorError, match="a processor yields Outcome objects"):
        processors.checked(outcome)


@pytest.mark.parametrize(
    "reason", [None, True, ["x"], "", "Not staff", "not-staff", "ärger", "a\n", "x" * 41]
)
def test_a_reason_of_another_form_is_named_with_what_is_allowed(reason):
    with pytest.raises(ReasonError) as raised:
        processors.checked(failed(reason))
    assert str(raised.value) == (
        f"the reason {reason!r} is not allowed;"
        " a reason has 1 to 40 characters, each of them a-z, 0-9 or _, as in not_staff"
    )


def test_a_very_long_reason_is_cut():
    with pytest.raises(ReasonError, match=r"^the reason 'x{98}… is not allowed;"):
        processors.checked(failed("x" * 1000))


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


class TestStop:
    """Stop: a sentence for people, on one line, and seconds."""

    def test_it_has_a_reason_and_perhaps_seconds(self):
        stop = Stop("Wrong password.")
        assert (stop.reason, stop.seconds, str(stop)) == ("Wrong password.", None, stop.reason)
        assert Stop("Quota used up", 31 * 86_400).seconds == 31 * 86_400

    def test_the_reason_is_a_line_that_can_be_stored_and_shown(self):
        stop = Stop(" Said:\r\n\t<b>no</b>\x00 \u202e\ud800ü ")
        assert stop.reason == "Said: <b>no</b> ü"

    @pytest.mark.parametrize("letter", ["x", "ü", "€", "😀"])
    def test_a_long_reason_is_cut_to_its_bytes(self, letter):
        reason = Stop(letter * 1000).reason
        assert reason == letter * (len(reason) - 1) + "…"
        assert MAX_STOP_BYTES - 4 < len(reason.encode()) <= MAX_STOP_BYTES

    @pytest.mark.parametrize("reason", ["", " \n\x00", None, b"no", OSError("no")])
    def test_a_reason_without_text_is_refused(self, reason):
        with pytest.raises(ValueError, match=r"^Stop\(\) takes a sentence that says why$"):
            Stop(reason)

    @pytest.mark.parametrize(
        "seconds", [0, -1, 31 * 86_400 + 1, float("inf"), float("nan"), 10**400, "60"]
    )
    def test_seconds_that_are_not_allowed_are_refused(self, seconds):
        with pytest.raises(ValueError, match=r"above 0 and up to 2,678,400$"):
            Stop("Blocked", seconds)


@pytest.mark.parametrize("decorators", ["@once\n@configured", "@configured\n@once"])
def test_a_decorator_that_would_not_reach_the_processor_is_refused(
    tmp_path, monkeypatch, decorators
):
    (tmp_path / "wrongly.py").write_text(
        "from processors import configured, once, per_item\n"
        f"{decorators}\n"
        "def wrong(options):\n"
        "    return per_item(lambda item: None)\n"
        "@configured\n"
        "def right(options):\n"
        "    return once(wrong(options))\n"
    )
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "wrongly", raising=False)
    with pytest.raises(ProcessorError, match="put the other decorators on the processor"):
        load("wrongly:wrong", {}, tmp_path)
    assert is_once(load("wrongly:right", {}, tmp_path))


def test_a_window_has_an_email_at_least():
    with pytest.raises(ValueError, match="window must be 1 or more, not 0"):
        once(lambda emails: emails, window=0)
