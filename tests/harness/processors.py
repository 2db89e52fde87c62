"""Write processors beside a configuration; list outcomes one by one."""

from __future__ import annotations

from pathlib import Path

from processors import Findings, Later, Outcome


def write_slow_processor(folder: Path, milliseconds: int) -> str:
    """Write a processor that sleeps for each address, beside the configuration; return its name.

    An address without an @ fails.
    """
    (folder / "slow.py").write_text(
        "import time\n"
        "from processors import one_by_one\n"
        "@one_by_one\n"
        f"def slow(address):\n    time.sleep({milliseconds / 1000})\n"
        '    return None if "@" in address else "no_at_sign"\n'
    )
    return "slow:slow"


def write_check_of_staff(folder: Path) -> str:
    """Write a processor beside the configuration; return its name.

    It is like `check`, but addresses at gone.example.com fail with `no_such_domain`.
    """
    (folder / "staff.py").write_text(
        "from processors import failed\n"
        "from processors.check import check_one\n"
        "def check(addresses):\n"
        "    for address in addresses:\n"
        '        gone = address.endswith("@gone.example.com")\n'
        '        yield failed("no_such_domain") if gone else check_one(address)\n'
    )
    return "staff:check"


# Like `check`, with a sleep after every few addresses, so that turns take some time.
_PROCESSOR = """
import time
from processors.check import check

def slow_check(addresses):
    for number, outcome in enumerate(check(addresses), start=1):
        if number % {every} == 0:
            time.sleep({seconds})
        yield outcome
"""
_SLEEP = 0.002


def write_slow_check(folder: Path, seconds_per_email: float) -> str:
    """Write a processor like `check`, but slower, beside the configuration; return its name."""
    (folder / "slow_check.py").write_text(
        _PROCESSOR.format(
            every=max(1, round(_SLEEP / seconds_per_email)),
            seconds=max(_SLEEP, seconds_per_email),
        )
    )
    return "slow_check:slow_check"


def listed(findings: Findings) -> list[Outcome | Later]:
    """Return the outcome of each address, in order."""
    others = dict(findings.others)
    assert [*others] == sorted(others)
    assert len(others) == len(findings.others)
    return findings.listed


_WITH_OPTIONS = """
from processors import Option, one_by_one

@one_by_one
def add(address):
    return None

add.declared_options = (
    Option("mode", choices=("add", "update"), default="add", per_batch=True,
           about="What to do with <b>new</b> ones."),
    Option("most_tries", int, 3, about="How often to try.", per_batch=True),
    Option("dry_run", bool, False, about="Whether to change nothing.", per_batch=True),
    Option("secret", default="hidden"),
)
add.columns = ("Name", "Missing")

@one_by_one
def other(address):
    return None
"""


def write_processors_with_options(folder: Path) -> dict[str, str]:
    """Write processors beside a configuration; return the changes that offer three."""
    (folder / "crm_of_tests.py").write_text(_WITH_OPTIONS)
    return {
        "processors__check": "check Check addresses",
        "processors__crm": "crm_of_tests:add Add to our CRM <i>",
        "processors__other": "crm_of_tests:other Other work",
    }
