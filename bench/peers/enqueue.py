"""Enqueue a job for each email in the table with the peer that is named: `enqueue.py rq`.

A process of its own, so that nothing that a library remembers outlasts a round.
"""

from __future__ import annotations

import importlib
import sys

from onejob import all_jobs

if __name__ == "__main__":
    importlib.import_module(f"peer_{sys.argv[1]}").enqueue(all_jobs())
