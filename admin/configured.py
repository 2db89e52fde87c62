"""The processor that is configured, as a worker would load it."""

from __future__ import annotations

import processors
from runtime.settings import Settings


def may_repeat(settings: Settings) -> bool:
    """Return whether the configured processor may repeat its work; False if it can't be loaded."""
    name = settings.worker.processor
    if name == "check":
        return True
    try:
        loaded = processors.load(name, settings.processor_options, settings.path.parent)
    except Exception:  # whatever a team's own module raises where it isn't installed whole
        return False
    return not processors.is_once(loaded)
