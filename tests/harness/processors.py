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


def listed(findings: Findings) -> list[Outcome]:
    """The outcome of each address in order."""
    others = dict(findings.others)
    assert [*others] == sorted(others)
    assert len(others) == len(findings.others)
    return [others.get(position, PROCESSED) for position in range(findings.count)]
