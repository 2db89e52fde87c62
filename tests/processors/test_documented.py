"""The examples of docs/processors.md are run as they are written."""

import re
import sys

import pytest

from harness.config import ROOT
from processors import PROCESSED, answered, failed, is_once
from processors.loading import made
from processors.options import section_values
from processors.testing import run
from runtime import settings

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/processors.md").read_text(), re.S)


def example(word):
    """The names of the example that has this word."""
    (block,) = (each for each in BLOCKS if word in each)
    names = {"__name__": "example"}
    exec(block, names)  # noqa: S102 - it is our own page
    return names


@pytest.fixture(autouse=True)
def crm(tmp_path, monkeypatch):
    """The module crm, from which one example imports."""
    (block,) = (each for each in BLOCKS if "# crm.py" in each)
    (tmp_path / "crm.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "crm", raising=False)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_python_that_runs(block):
    exec(block, {"__name__": "example"})  # noqa: S102 - it is our own page


def test_options():
    add = example("# crm.py")["add"]
    section, rows = {"url": "https://crm.example.org/"}, ["ann@example.org"]
    options = section_values(add.declared_options, section)
    assert options == {**section, "days": 30, "list": "news"}
    assert run(add, rows, section=section) == [PROCESSED]
    assert run(add, rows, section=section, options={"list": "events"}) == [failed("list_is_full")]


def test_columns_and_answers():
    add = example("answered(customer")["add"]
    assert add.columns == ("Name",)
    rows = [{"email": "ann@example.org", "Name": "Ann"}, "bob@example.org"]
    assert run(add, rows) == [answered(customer="K-3", name="Ann"), failed("no_name")]


def test_several_processors(tmp_path):
    text = (ROOT / "docs/processors.md").read_text()
    (block,) = re.findall(r"```ini\n(\[processors\].*?)```", text, re.S)
    path = tmp_path / "config.ini"
    path.write_text(block)
    loaded = settings.load(path, environ={}).processors
    assert [(each.name, each.title) for each in loaded] == [
        ("crm", "Add to our CRM"),
        ("check", "Check addresses"),
    ]
    assert loaded[0].options == {"url": "https://crm.example.org/"}


def test_windows():
    ask_all = example("@in_windows")["ask_all"]
    assert run(ask_all, ["a@example.org", "b"]) == [PROCESSED, failed("no_at_sign")]


def test_all_decorators():
    invite, section = example("def invite(")["invite"], {"url": "https://crm.example.org/"}
    rows = [{"email": "ann@example.org", "Name": "Ann"}, "bob@example.org"]
    assert run(invite, rows, section=section) == [PROCESSED, failed("no_name")]
    assert is_once(made(invite, "crm:invite", section, "crm"))


def test_how_to_test_it():
    example("def test_check")["test_check"]()
