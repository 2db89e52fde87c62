import json
import re
import sys
from decimal import Decimal
from fractions import Fraction

import pytest

import processors
from harness.config import ROOT
from processors import (
    PROCESSED,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    failed,
    is_once,
    later,
    load,
    once,
    one_by_one,
    risky,
)
from processors.outcomes import MAX_STOP_BYTES
from runtime import settings


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
