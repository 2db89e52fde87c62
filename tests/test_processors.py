import pytest

import processors
from processors import PROCESSED, Outcome, ProcessorError, failed, one_by_one, process


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


def test_a_function_for_one_address_becomes_a_processor():
    @one_by_one
    def no_dots(address):
        return "has_dot" if "." in address else None

    assert list(no_dots(iter(["a", "b.c"]))) == [PROCESSED, failed("has_dot")]


def test_check_and_functions_by_name_can_be_loaded():
    assert processors.load("check") is processors.load("processors.check:check")


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
