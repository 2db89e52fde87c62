"""The processor that is configured, as a worker would load it."""

from __future__ import annotations

import sys

import processors
from runtime.settings import Settings


def may_repeat(settings: Settings) -> bool:
    """Return whether the configured processor may repeat its work; False if it can't be loaded."""
    name = settings.worker.processor
    if name == "check":
        return True
    sys.path.append(str(settings.path.parent))
    try:
        return not processors.is_once(processors.load(name, settings.processor_options))
    except Exception:  # whatever a team's own module raises where it isn't installed whole
        return False


def worker_connections(settings: Settings) -> int:
    """Return the most connections of a worker: with `once`, those for the journals are as many."""
    return settings.worker.connections * (1 if may_repeat(settings) else 2)
