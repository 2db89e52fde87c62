"""Bundled servers that a test kills or stops, and what app and worker log and answer meanwhile."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from harness.files import csv_of
from harness.processes import Process
from harness.servers import processes, server_process
from harness.site import Response, Site
from servers.keeper import BundledServer

# A CSV file of 2000 valid addresses.
TWO_THOUSAND = csv_of(*(f"user{number}@example.com" for number in range(2000)))


class OwnServer:
    """A bundled server of a test's own, with what can be done to it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self._server = BundledServer(kind, folder)
        self.url = self._server.url
        self.release = self._server.release

    def kill(self) -> None:
        """Kill the server, which its keeper starts again."""
        server_process(self._kind, self._folder).kill()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Kill the server, and let its keeper start it again only afterwards.

        A server that is back within milliseconds may be missed: redis-py connects again by itself.
        """
        (keeper,) = processes("servers.keeper", self._folder)
        keeper.suspend()
        try:
            self.kill()
            yield
        finally:
            keeper.resume()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server never answer. The kernel still takes connections for it."""
        process = server_process(self._kind, self._folder)
        process.suspend()  # first, so that it starts no more children
        children = process.children()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
        try:
            yield
        finally:
            for each in (*children, process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()


def outages(process: Process, server: str) -> tuple[int, int]:
    """Return how often the process logged that the server was lost, and that it was back."""
    lost = [line for line in process.lines if f"event=unreachable server={server}" in line]
    back = [line for line in process.lines if f'"reachable again" server={server} ' in line]
    assert all(re.search(r"seconds=\d+\.\d( request=\w+)?$", line) for line in back)
    return len(lost), len(back)


def completed(site: Site, batch_id: int) -> Any:
    """Return the batch as JSON; something false while it isn't completed or can't be read."""
    batch = site.get(f"/api/batches/{batch_id}")
    return batch.status == 200 and batch.json["status"] == "completed" and batch.json


def timed(call: Callable[[], Response]) -> tuple[Response, float]:
    """Return the answer to a request, and the seconds that it took."""
    began = time.monotonic()
    return call(), time.monotonic() - began
