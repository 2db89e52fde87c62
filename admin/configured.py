"""The processors that are configured, as a worker would load them."""

from __future__ import annotations

import processors
from processors import ProcessorError
from runtime.entries import CHECK, ProcessorEntry
from runtime.settings import Settings


def repeatable(settings: Settings) -> list[ProcessorEntry]:
    """Return the processors that may repeat their work; not those that can't be loaded."""
    return [each for each in settings.processors if _may_repeat(each, settings)]


def _may_repeat(entry: ProcessorEntry, settings: Settings) -> bool:
    if entry.reference == CHECK:
        return True
    try:
        loaded = processors.load(
            entry.reference, entry.options, settings.path.parent, section=entry.name
        )
    except ProcessorError:  # such as where a team's own module isn't installed whole
        return False
    return not processors.is_once(loaded)
