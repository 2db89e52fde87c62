import pytest

import processors
from processors import PROCESSED, Outcome, ProcessorError, failed, one_by_one


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
