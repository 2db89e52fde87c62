"""People who pause, resume, finish and cancel batches while harm is done, by the API."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.parse
from collections import Counter
from typing import Any

from torture.audit import Faults
from torture.uploads import PATIENCE, Ledger

# Seconds: between two requests, and of a pause.
LEAST, MOST = 0.1, 0.6
PAUSED_SECONDS = (0.1, 2.0)
# They look at so many of the newest batches, as long as these have not ended.
NEWEST = 20
# What they ask for, and how often each of it.
WISHES = {"pause": 25, "finish": 25, "cancel": 1}


def post(
    address: tuple[str, int], path: str, **fields: str
) -> tuple[int, dict[str, Any], http.client.HTTPMessage] | None:
    """Return status, JSON and headers of an answer; None if the connection broke.

    Raises TimeoutError.
    """
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", path, urllib.parse.urlencode(fields), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class People:
    """Ask for changes of the newest batches: run() is a thread's work, and all else is, too.

    An upload knows what was asked for its batch. `answers` counts the answers by what was asked.
    """

    def __init__(
        self, address: tuple[str, int], ledger: Ledger, faults: Faults, rng: random.Random
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._faults = faults
        self._rng = rng
        # The ids of paused batches, and when each is to be resumed.
        self._paused: dict[int, float] = {}
        self._ended: set[int] = set()
        # How many batches may have been cancelled.
        self.cancels = 0
        self.answers: Counter[str] = Counter()

    def run(self, stopping: threading.Event) -> None:
        """Ask until `stopping`."""
        while not stopping.wait(self._rng.uniform(LEAST, MOST)):
            self.run_once()

    def run_once(self) -> None:
        """Resume what was paused for long enough, and ask for something else."""
        now = time.monotonic()
        for batch_id in [each for each, until in self._paused.items() if until < now]:
            if self.ask(batch_id, "resume") in (200, 409):
                del self._paused[batch_id]
        newest = [each for each in self._ledger.stored[-NEWEST:] if each[0] not in self._ended]
        if not newest:
            return
        batch_id, upload = self._rng.choice(newest)
        (wish,) = self._rng.choices(list(WISHES), list(WISHES.values()))
        upload.asked.add(wish)
        status = self.ask(batch_id, wish)
        if status == 409 or (wish == "cancel" and status == 200):
            self._ended.add(batch_id)
        if wish == "pause":
            # Also if nobody answered: it may be paused.
            self._paused[batch_id] = now + self._rng.uniform(*PAUSED_SECONDS)
        elif wish == "cancel" and status != 409:
            self.cancels += 1
            upload.asked.update(["cancelled"] if status == 200 else ())

    def ask(self, batch_id: int, wish: str) -> int | None:
        """Return the status of the answer; None if there was none. Any thread may ask."""
        try:
            answer = post(self._address, f"/api/batches/{batch_id}/{wish}")
        except TimeoutError:
            self._faults.add(f"batch {batch_id}: no answer to {wish} within {PATIENCE} s")
            return None
        if answer is None:
            return None
        status, body, headers = answer
        if status not in (200, 409) and not (status == 503 and headers["Retry-After"]):
            self._faults.add(f"batch {batch_id}: {wish} was answered {status} {body}")
        self.answers[f"{wish} {status}"] += 1
        return status
