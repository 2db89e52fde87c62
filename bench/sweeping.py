"""A process that does what a worker does now and then: `python sweeping.py CONFIG`.

For each line of its standard input it sweeps once, and asks once for expired batches. It writes the
seconds of both as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(1, str(ROOT))

from batches import removal
from postgres.database import session
from runtime import settings
from servers import connect
from work import loaded
from work.loaded import Loaded
from work.supervisor import MAX_EXPIRED, Supervisor
from work.turns import Services

# So many that no batch is deleted.
DAYS = 36_500


def main() -> None:
    """Sweep once for each line of standard input."""
    chosen = settings.load(sys.argv[1])
    able = [each for each in loaded.load(chosen, chosen.processors) if isinstance(each, Loaded)]
    stopping = threading.Event()
    with connect.servers(chosen, stopping, name="worker", connections=2) as doorbell:
        supervisor = Supervisor(Services(chosen, doorbell, able), stopping)
        for _ in sys.stdin:
            print(json.dumps([_timed(supervisor.sweep), _timed(_expired)]), flush=True)


def _expired() -> None:
    with session():
        removal.expired_batches(DAYS, MAX_EXPIRED)


def _timed(function: Callable[[], object]) -> float:
    began = time.monotonic()
    function()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
