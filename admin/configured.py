"""The processors that are configured, as a worker would load them."""

from __future__ import annotations

import processors
from processors import ProcessorError
from runtime.named import CHECK, Named
from runtime.settings import Settings


def repeatable(settings: Settings) -> list[Named]:
    """Return the processors that may repeat their work; not those that can't be loaded."""
    return [each for each in settings.processors if _may_repeat(each, settings)]


def _may_repeat(named: Named, settings: Settings) -> bool:
    if named.reference == CHECK:
        return True
    try:
        loaded = processors.load(
            named.reference, named.options, settings.path.parent, section=named.name
        )
    except ProcessorError:  # such as where a team's own module isn't installed whole
        return False
    return not processors.is_once(loaded)
