"""Huey."""

from __future__ import annotations

import os

from huey import RedisHuey
from onejob import Job, process

# Faster than one consumer with threads, or with processes as workers.
SETTING = "2 huey_consumers with 4 threads each, results=False"
COMMANDS = [
    [
        *("-m", "huey.bin.huey_consumer", "peer_huey.queue", "--quiet", "--no-periodic"),
        *("--workers", "4", "--worker-type", "thread"),
    ]
] * 2

queue = RedisHuey("peers", url=os.environ["REDIS_URL"], results=False)
check = queue.task()(process)


def enqueue(jobs: list[Job]) -> None:
    """Enqueue the jobs one by one; Huey has no call for many."""
    for job in jobs:
        check(*job)
