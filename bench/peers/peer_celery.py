"""Celery."""

from __future__ import annotations

import os

from celery import Celery
from onejob import Job, process

# Faster than the prefork pool, whose parent process hands each job to its children.
SETTING = "2 workers with a pool of 4 threads each, prefetch multiplier 100, ignore_result"
COMMANDS = [
    [
        *("-m", "celery", "--app", "peer_celery", "worker", "--hostname", f"worker-{number}"),
        *("--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    for number in (1, 2)
]

app = Celery("peers", broker=f"redis+socket://{os.environ['REDIS_URL'].removeprefix('unix://')}")
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=100, task_default_queue="peers")
check = app.task(process)


def enqueue(jobs: list[Job]) -> None:
    """Enqueue the jobs over one connection."""
    with app.producer_or_acquire() as producer:
        for job in jobs:
            check.apply_async(job, producer=producer)
