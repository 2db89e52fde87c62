"""The project's files, copies of them, and configurations with changes."""

from __future__ import annotations

import configparser
import shutil
from pathlib import Path

from runtime.settings import DEFAULT_PATH

ROOT = Path(__file__).resolve().parents[2]


FOLDERS = (
    *("admin", "batches", "postgres", "processors", "relay", "runtime", "servers", "tabular"),
    *("web", "work"),
)


def modules() -> list[Path]:
    """Return the paths of all modules of the product."""
    return [
        *ROOT.glob("*.py"),
        *(path for name in FOLDERS for path in ROOT.glob(f"{name}/**/*.py")),
    ]


def changed(text: str, changes: dict[str, str]) -> str:
    """Return the text with each key of `changes`, which it must have, replaced by its value."""
    for found, change in changes.items():
        assert found in text, found
        text = text.replace(found, change)
    return text


def copy_project(target: Path) -> None:
    """Copy the product, without tests, benchmarks, docs and data."""
    unneeded = shutil.ignore_patterns(".*", "tests", "bench", "docs", "var", "users", "*.pyc")
    shutil.copytree(ROOT, target, ignore=unneeded)


def write_config(folder: Path, **changes: object) -> Path:
    """Write a config.ini like ours into `folder`, with changes such as worker__threads=2.

    Nothing is looked up in the DNS unless a change says so, because tests must not depend on it.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(DEFAULT_PATH, encoding="utf-8")
    for place, value in {"check__dns": "off", **changes}.items():
        section, key = place.split("__")
        if not parser.has_section(section):
            parser.add_section(section)
        parser[section][key] = str(value)
    path, new = folder / "config.ini", folder / "config.ini.new"
    with new.open("w", encoding="utf-8") as file:
        parser.write(file)
    # At once: a process that was started before may only now read it, and must not find it empty.
    new.replace(path)
    return path
