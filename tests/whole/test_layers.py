"""What linters can't hold of our modules: imports of those in the root, and patterns."""

import ast
import re

import pytest

from harness.config import ROOT, modules

COMMANDS = {"app", "worker", "manage"}
BENEATH = {"postgres", "processors", "tabular", "runtime"}


def imported(path):
    """The first names of what a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_models_know_only_what_is_beneath_them():
    ours = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in modules()}
    assert {*imported(ROOT / "models.py")} & ours == {"postgres"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nobody_imports_a_command_and_what_is_beneath_models_does_not_import_them(path):
    names = {*imported(path)}
    assert not names & COMMANDS
    if path.relative_to(ROOT).parts[0] in BENEATH:
        assert "models" not in names


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_pattern_has_a_possessive_group(path):
    """Python 3.11.2, which is Debian's, errs with `(…)*+`; `(?>(…)*)` means the same."""
    texts = (
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    )
    possessive = re.compile(r"(?<!\\)\)([*+?]|\{[0-9,]*\})\+")
    assert [text for text in texts if isinstance(text, str) and possessive.search(text)] == []
