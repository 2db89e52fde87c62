"""The examples of docs/processors.md are run as they are written."""

import re

import pytest

from harness.config import ROOT
from processors import PROCESSED, answered, failed
from processors.testing import run

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/processors.md").read_text(), re.S)


def example(word):
    """The names of the example that has this word."""
    (block,) = (each for each in BLOCKS if word in each)
    names = {"__name__": "example"}
    exec(block, names)  # noqa: S102 - it is our own page
    return names


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_python_that_runs(block):
    exec(block, {"__name__": "example"})  # noqa: S102 - it is our own page


def test_options_columns_and_answers():
    add = example("@takes_columns")["add"]
    rows = [{"email": "ann@example.org", "Name": "Ann"}]
    said = run(add({"group": "news"}), rows, options={"group": "events"})
    assert said == [answered(name="Ann", group="events")]


def test_windows():
    ask_all = example("@in_windows")["ask_all"]
    assert run(ask_all, ["a@example.org", "b"]) == [PROCESSED, failed("no_at_sign")]


def test_how_to_test_it():
    example("def test_check")["test_check"]()
