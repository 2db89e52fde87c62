import re
import sys

import pytest
from support import ROOT

import processors
import settings
from processors import PROCESSED, Outcome, ProcessorError, failed, one_by_one, process, risky


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


def test_the_readmes_example_works_as_written(own, tmp_path):
    readme = (ROOT / "README.md").read_text().partition("## Your own processor")[2]
    module, config = (
        re.search(rf"```{kind}\n(.*?)```", readme, re.S)[1] for kind in ("python", "ini")
    )
    shipped = settings.DEFAULT_PATH.read_text()
    worker, section = config.split("\n\n")
    path = tmp_path / "config.ini"
    path.write_text(shipped.replace("processor = check", worker.splitlines()[1]) + section)
    loaded = settings.load(path, environ={})
    processor = own(module, loaded.worker.processor, loaded.processor_options)
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


@pytest.mark.parametrize("name", ["nowhere:check", "processors.check:nothing", "processors:ERROR"])
def test_what_cannot_be_loaded_is_named(name):
    with pytest.raises(ProcessorError, match=name):
        processors.load(name)


@pytest.mark.parametrize(
    "outcome", [PROCESSED, failed("x_1"), Outcome("processed", "risky"), Outcome("processed")]
)
def test_outcomes_are_accepted(outcome):
    assert processors.checked(outcome) == outcome


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        True,
        ("processed", None),
        Outcome("failed"),
        Outcome("pending"),
        failed("Not a code"),
        failed(""),
        failed("x" * 41),
    ],
)
def test_what_is_no_outcome_is_refused(outcome):
    with pytest.raises(ProcessorError, match="a processor yields Outcome objects"):
        processors.checked(outcome)


class TestProcess:
    """process(): from a processor and addresses to outcomes."""

    ADDRESSES = ["a", "b", "c", "d"]

    def run(self, processor, deadline=float("inf")):
        errors = []
        return process(processor, self.ADDRESSES, deadline, errors.append), errors

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

    @pytest.mark.parametrize("many", [None, "raises", "few", "odd"])
    def test_many_at_once_come_out_as_one_by_one(self, monkeypatch, many):
        monkeypatch.setattr(processors, "AT_ONCE", 3)
        asked = []

        @one_by_one
        def no_c(address):
            return "has_c" if address == "c" else None

        def at_once(addresses):
            asked.append(list(addresses))
            if many == "raises":
                raise LookupError("c")
            if many == "odd":
                return [None] * len(addresses)
            return list(no_c(addresses))[: 1 if many == "few" else None]

        no_c.many = at_once
        expected = [PROCESSED, PROCESSED, failed("has_c"), PROCESSED]
        assert self.run(no_c) == (expected, [])
        assert asked == [["a", "b", "c"], ["d"]][: 1 if many else None]

    def test_many_at_once_are_few_if_the_deadline_has_passed(self, monkeypatch):
        monkeypatch.setattr(processors, "AT_ONCE", 3)

        def processor(addresses):
            raise AssertionError

        processor.many = lambda addresses: [PROCESSED] * len(addresses)
        assert self.run(processor, deadline=0.0) == ([PROCESSED] * 3, [])
