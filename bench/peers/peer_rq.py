"""RQ."""

from __future__ import annotations

import os

from onejob import Job, process
from redis import Redis
from rq import Queue

SETTING = "2 rq workers that don't fork for each job (SimpleWorker), result_ttl=0"
_URL = os.environ["REDIS_URL"]
_WORKER = ["-m", "rq.cli", "worker", "--worker-class", "rq.SimpleWorker", "--quiet"]
COMMANDS = [[*_WORKER, "--url", _URL, "peers"]] * 2
# Jobs sent to Redis at once.
_BLOCK = 1000


def enqueue(jobs: list[Job]) -> None:
    """Enqueue the jobs, many at once."""
    queue = Queue("peers", connection=Redis.from_url(_URL))
    # A given description saves making one of the arguments.
    data = [Queue.prepare_data(process, job, result_ttl=0, description="check") for job in jobs]
    for start in range(0, len(data), _BLOCK):
        queue.enqueue_many(data[start : start + _BLOCK])
