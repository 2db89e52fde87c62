"""A short round of torture, and the command."""

from __future__ import annotations

import contextlib
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.polling import eventually
from harness.processes import Process
from harness.servers import processes

GOALS = {"worker": 8, "redis": 2, "postgres": 2, "app": 2}
# A kill of PostgreSQL costs seconds, so the shorter round has one.
ONCE_GOALS = {"worker": 6, "redis": 1, "postgres": 1, "app": 1}


@pytest.fixture
def torture() -> Iterator[Callable[..., Process]]:
    """Start the command; one that still runs at the end is stopped as by Ctrl-C."""
    started: list[Process] = []

    def start(*options: str) -> Process:
        process = Process("tests/torture/run.py", *options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


def table(output: str, row: str) -> str:
    """The value in a row of the table, which is known by its first words."""
    found = re.search(rf"^{row} +(\S.*)$", output, re.M)
    assert found, output
    return found[1]


def number(output: str, row: str) -> int:
    return int(table(output, row).replace(",", ""))


class TestCommand:
    @pytest.mark.timeout(420)
    def test_a_short_round_loses_and_doubles_nothing(self, torture):
        output = self.short_round(torture, GOALS, "--seconds=15", "--emails=15000")
        for family in GOALS:
            assert re.fullmatch(
                r"median \d+\.\d\d, max \d+\.\d\d, count \d+",
                table(output, f"recovery in s +{family}"),
            )
        assert number(output, "emails") >= 15_000

    @pytest.mark.timeout(420)
    def test_a_short_round_does_nothing_twice_that_must_be_done_once(self, torture):
        options = "--work=once", "--seconds=7", "--emails=1500", "--worker-stops=2"
        output = self.short_round(torture, ONCE_GOALS, *options)
        assert number(output, "calls") >= 1000
        assert number(output, "stops") >= 2
        assert number(output, "interrupted") <= number(output, " +at most")
        for row in ("repeated keys", "miscalled"):
            assert number(output, row) == 0

    @staticmethod
    def short_round(torture, goals, *options):
        """The output of a run that does so much harm, after which all counts add up."""
        seed = random.SystemRandom().getrandbits(32)
        print(f"seed {seed}")  # noqa: T201  # pytest shows it if this fails
        kills = [f"--{family}-kills={least}" for family, least in goals.items()]
        process = torture(*options, f"--seed={seed}", *kills)
        assert process.wait(400) == 0, process.output
        output = process.output
        assert process.lines[0] == f"seed {seed}"
        for family, least in goals.items():
            assert number(output, f"kills +{family}") >= least
        ended = number(output, "processed") + number(output, "cancelled")
        assert ended == number(output, "emails")
        assert number(output, "failed") > 0
        for row in ("lost", "doubled", "faults"):
            assert number(output, row) == 0
        assert "logs are in" not in output
        return output

    def test_an_interrupted_run_leaves_nothing_behind(self, torture):
        process = torture("--seconds=600", "--keep-logs")
        folder = eventually(lambda: self.command_folder(process.pid), 60)
        eventually((folder / "torture_processor.py").exists, 60)
        assert process.stop(signal.SIGINT) == 130
        logs = Path(re.search(r"The logs are in (\S+)", process.output)[1])
        assert list(logs.glob("*.log"))
        for file in logs.iterdir():
            file.unlink()
        logs.rmdir()
        assert not folder.exists()
        eventually(lambda: not processes("", folder))

    @staticmethod
    def command_folder(pid: int) -> Path | None:
        """The temporary folder of a run, from the command line of one of its processes."""
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                match = re.search(r"(/\S*email-batch-[^/\s]+)/", " ".join(child.cmdline()))
                if match:
                    return Path(match[1])
        return None

    @pytest.mark.parametrize("options", [["--workers=0"], ["--seconds=soon"], ["--kill-all"]])
    def test_wrong_options_are_told(self, torture, options):
        process = torture(*options)
        assert process.wait() == 2
        assert "error: " in process.output
