"""Run commands to their end, or watch them while they run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import ROOT, write_config
from harness.polling import eventually
from harness.site import Site


def run_to_end(
    *command: str | Path,
    typed: str | None = None,
    folder: Path = ROOT,
    environment: Mapping[str, str] = os.environ,
    seconds: float = 100,
    **changes: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder for at most `seconds`, with these changes of the environment."""
    return subprocess.run(
        command,
        input=typed,
        cwd=folder,
        env={**environment, **changes},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def run_script(
    script: str, folder: Path, *arguments: str, typed: str | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run app.py, worker.py or manage.py to its end, with a configuration in the folder."""
    config = write_config(folder)
    command = (sys.executable, ROOT / script, "--config", config)
    return run_to_end(*command, *arguments, typed=typed, **changes)


class Running:
    """A process and its output."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] = os.environ,
        log: Path | None = None,
        **options: Any,
    ) -> None:
        """Start the process. Its output is added to the file `log`; `options` are Popen's."""
        self._file = log.open("ab+") if log else tempfile.TemporaryFile()  # noqa: SIM115
        self._start = self._file.seek(0, os.SEEK_END)
        self._said = ""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            **options,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.status is None

    def megabytes(self, field: str = "VmRSS") -> float:
        """Return the memory of the process: by VmRSS at present, by VmHWM at most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"{field}:\s+([0-9]+) kB", status)
        assert match, status
        return int(match[1]) / 1000

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and of its children that have ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def _read(self) -> str:
        size = os.fstat(self._file.fileno()).st_size - self._start
        return os.pread(self._file.fileno(), size, self._start).decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """All complete lines of output."""
        said = self._said if self._file.closed else self._read().rpartition("\n")[0]
        return said.rstrip("\n").split("\n") if said else []

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """Wait for a line in which the pattern is found, and return the match."""

        def found() -> re.Match[str] | None:
            alive = self.alive  # asked before the last output is read
            matches = (re.search(pattern, line) for line in self.lines)
            match = next(filter(None, matches), None)
            assert match or alive, self.output
            return match

        return eventually(found, seconds)  # type: ignore[no-any-return]

    def send(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def wait(self, seconds: float = 30.0) -> int:
        """The exit status."""
        status = self._process.wait(seconds)
        if not self._file.closed:
            self._said = self._read()
            self._file.close()
        return status

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        if self.alive:
            self.send(signum)
            self.send(signal.SIGCONT)  # a test may have stopped it before it failed
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()  # it must not disturb the next test
            self.wait()
            raise


class Process(Running):
    """app.py, worker.py or another script of the project."""

    def __init__(self, script: str, *arguments: str, **environment: str) -> None:
        super().__init__(
            [sys.executable, str(ROOT / script), *arguments], {**os.environ, **environment}
        )

    def site(self) -> Site:
        """Wait until this app.py serves, and return its site."""
        return Site(self.await_line(r"serving url=(\S+)")[1])
