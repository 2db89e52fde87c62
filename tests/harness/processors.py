"""Processors beside a configuration, and outcomes one by one."""

from __future__ import annotations

from pathlib import Path

from processors import PROCESSED, Findings, Outcome


def write_slow_processor(folder: Path, milliseconds: int) -> str:
    """The name of a processor, in a module beside the configuration, that takes its time.

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


# What `check` does, with a sleep after every so many addresses, so that turns take their time.
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
    """The name of a processor, in a module beside the configuration: `check`, but slower."""
    (folder / "slow_check.py").write_text(
        _PROCESSOR.format(
            every=max(1, round(_SLEEP / seconds_per_email)),
            seconds=max(_SLEEP, seconds_per_email),
        )
    )
    return "slow_check:slow_check"


def listed(findings: Findings) -> list[Outcome]:
    """The outcome of each address in order."""
    others = dict(findings.others)
    assert [*others] == sorted(others)
    assert len(others) == len(findings.others)
    return [others.get(position, PROCESSED) for position in range(findings.count)]
