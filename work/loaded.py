"""Loading the processors of a worker, of which one that can't be loaded stops only itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import processors
from processors import Processor, ProcessorError
from processors.loading import UnforeseenError
from relay.presence import Ability
from runtime import logs
from runtime.named import Named
from runtime.settings import Settings

logger = logs.Logger("worker")


@dataclass(frozen=True)
class Loaded:
    """A processor that this worker can do: as config.ini names it, and the function itself."""

    named: Named
    processor: Processor

    def ability(self) -> Ability:
        """Return what the worker announces of it at this moment."""
        return Ability(
            self.named.name,
            self.named.per_minute,
            getattr(self.processor, "lookups_off", ""),
            getattr(self.processor, "hindrance", ""),
        )


@dataclass(frozen=True)
class Broken:
    """A processor that this worker can't load, and why."""

    named: Named
    error: str

    def ability(self) -> Ability:
        """Return what the worker announces of it."""
        return Ability(self.named.name, self.named.per_minute, error=self.error)


def load(settings: Settings, wanted: Sequence[Named]) -> list[Loaded | Broken]:
    """Load the processors, and log a line for each that can't be loaded, if there are several."""
    return [_load(settings, named, logged=len(wanted) > 1) for named in wanted]


def _load(settings: Settings, named: Named, *, logged: bool) -> Loaded | Broken:
    try:
        processor = processors.load(
            named.reference, named.options, settings.path.parent, section=named.name
        )
        return Loaded(named, processor)
    except ProcessorError as error:
        why = str(error)
        unforeseen = error.__cause__ if isinstance(error, UnforeseenError) else None
    if logged or unforeseen is not None:
        logger.error(
            "a processor can't be loaded; this worker leaves its batches to others",
            processor=named.name,
            error=why,
            exc_info=unforeseen or False,
        )
    # Half a surrogate pair could not be announced.
    return Broken(named, why.encode(errors="replace").decode())
