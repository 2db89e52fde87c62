"""The processors that are configured, as a worker would load them."""

from __future__ import annotations

import processors
from runtime.named import CHECK, Named
from runtime.settings import Settings


def may_repeat(settings: Settings) -> bool:
    """Return whether all processors may repeat their work; False if one can't be loaded."""
    return all(_may_repeat(each, settings) for each in settings.processors)


def _may_repeat(named: Named, settings: Settings) -> bool:
    if named.reference == CHECK:
        return True
    try:
        loaded = processors.load(named.reference, named.options, settings.path.parent)
    except Exception:  # whatever a team's own module raises where it isn't installed whole
        return False
    return not processors.is_once(loaded)
