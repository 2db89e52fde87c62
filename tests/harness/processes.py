"""Commands of the project as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from harness.config import ROOT
from harness.polling import eventually
from harness.site import Site


class Process:
    """app.py or worker.py as a process of its own, with its output."""

    def __init__(self, script: str, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def resident_megabytes(self) -> float:
        """Memory that it has now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+([0-9]+) kB", status)
        assert match, status
        return int(match[1]) / 1000

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """The match of the first line in which the pattern is found."""

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in list(self.lines))
            match = next(filter(None, matches), None)
            assert match or self._process.poll() is None, self.output
            return match

        return eventually(found, seconds)  # type: ignore[no-any-return]

    def site(self) -> Site:
        """Where an app.py serves, once it does."""
        return Site(self.await_line(r"serving url=(\S+)")[1])

    def send(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def wait(self, seconds: float = 30.0) -> int:
        """The exit status."""
        status = self._process.wait(seconds)
        self._reader.join(seconds)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        if self._process.poll() is None:
            self.send(signum)
            self.send(signal.SIGCONT)  # a test may have stopped it before it failed
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()  # it must not get into the way of the next test
            self.wait()
            raise
