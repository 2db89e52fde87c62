"""Enqueue a job for each email in the table with the named peer: `enqueue.py rq`.

It is a process of its own, so that no state of a library outlasts a round.
"""

from __future__ import annotations

import importlib
import sys

from onejob import all_jobs

if __name__ == "__main__":
    importlib.import_module(f"peer_{sys.argv[1]}").enqueue(all_jobs())
