"""Dramatiq."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from onejob import Job, process

SETTING = "2 processes with 8 threads each, prefetch 100, no results"
COMMANDS = [["-m", "dramatiq", "peer_dramatiq", "--processes", "2", "--threads", "8"]]
# Jobs that a process prefetches. The workers inherit the variable from the process that starts
# them; without it they prefetch two a thread, and wait for Redis more often.
os.environ.update(dramatiq_queue_prefetch="100")

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
check = dramatiq.actor(process)


def enqueue(jobs: list[Job]) -> None:
    """Enqueue the jobs one by one; Dramatiq has no call for many."""
    for job in jobs:
        check.send(*job)
