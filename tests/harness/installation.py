"""App and workers on a test's own servers."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

from harness.config import write_config
from harness.processes import Process
from harness.processors import write_slow_check
from harness.site import Site
from torture.audit import Verdict, audit
from torture.expected import ACKNOWLEDGED
from torture.uploads import Upload

# Settings for many turns that take some time.
SLOW: dict[str, object] = {
    "worker__threads": 2,
    "worker__chunk_size": 500,
    "worker__turn_seconds": 0.2,
}
SECONDS_PER_EMAIL = 0.0005


class Installation:
    """The app and workers of a test. They start on the calling thread's host (see network.py)."""

    site: Site

    def __init__(self, folder: Path, environment: dict[str, str], **changes: object) -> None:
        """`environment` says where the servers are; `changes` are those of write_config()."""
        self.environment = environment
        processor = write_slow_check(folder, SECONDS_PER_EMAIL)
        settings = {"server__port": 0, **SLOW, "worker__processor": processor, **changes}
        self._config = write_config(folder, **settings)
        self._processes: list[Process] = []
        self._numbers = itertools.count(1)

    def process(self, script: str, *arguments: str) -> Process:
        process = Process(script, "--config", str(self._config), *arguments, **self.environment)
        self._processes.append(process)
        return process

    def start_app(self, *arguments: str) -> Process:
        """Start the app, and wait until it serves."""
        app = self.process("app.py", *arguments)
        self.site = app.site()
        return app

    def start_workers(self, number: int) -> list[Process]:
        """Start this number of workers, and wait until they are at work."""
        workers = [self.process("worker.py") for _ in range(number)]
        for worker in workers:
            worker.await_line("worker started")
        return workers

    def upload(self, size: int) -> tuple[Upload, int]:
        """Upload a file of `size` rows; return the upload and its batch's id."""
        number = next(self._numbers)
        upload = Upload(f"list-{number}.csv", seed=number, size=size, standing=ACKNOWLEDGED)
        answer = self.site.upload(upload.content()[0], upload.filename)
        assert answer.status == 201, answer.body
        return upload, answer.json["batchId"]

    def await_end(self, batch_id: int) -> list[dict[str, Any]]:
        """Wait until the batch is completed, and return the events of its stream."""
        with self.site.stream(batch_id) as stream:
            events = list(stream.events())
        assert events[-1]["status"] == "completed"
        return events

    def close(self) -> None:
        """Stop all processes."""
        for process in self._processes:
            process.send(signal.SIGTERM)
        for process in self._processes:
            process.stop()


def audited(database_url: str, *uploads: Upload) -> Verdict:
    """Compare the uploads with the database at `database_url`, and assert that nothing is wrong."""
    verdict = audit(database_url, uploads)
    assert verdict.clean, verdict.faults.sentences
    return verdict
