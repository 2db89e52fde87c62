"""Loading the processors of a worker, of which one that can't be loaded stops only itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import processors
from processors import Processor, ProcessorError
from processors.loading import UnforeseenError
from relay.presence import Ability
from runtime import logs
from runtime.entries import ProcessorEntry
from runtime.settings import Settings

logger = logs.Logger("worker")


@dataclass(frozen=True)
class Loaded:
    """A processor that this worker can do: its entry in config.ini, and the function itself."""

    entry: ProcessorEntry
    processor: Processor

    def ability(self) -> Ability:
        """Return what the worker announces of it at this moment."""
        return Ability(
            self.entry.name,
            self.entry.per_minute,
            getattr(self.processor, "lookups_off", ""),
            getattr(self.processor, "hindrance", ""),
        )


@dataclass(frozen=True)
class Broken:
    """A processor that this worker can't load, and why."""

    entry: ProcessorEntry
    error: str

    def ability(self) -> Ability:
        """Return what the worker announces of it."""
        return Ability(self.entry.name, self.entry.per_minute, error=self.error)


def load(settings: Settings, wanted: Sequence[ProcessorEntry]) -> list[Loaded | Broken]:
    """Load the processors, and log a line for each that can't be loaded, if there are several."""
    return [_load(settings, entry, logged=len(wanted) > 1) for entry in wanted]


def _load(settings: Settings, entry: ProcessorEntry, *, logged: bool) -> Loaded | Broken:
    try:
        processor = processors.load(
            entry.reference, entry.options, settings.path.parent, section=entry.name
        )
        return Loaded(entry, processor)
    except ProcessorError as error:
        why = str(error)
        unforeseen = error.__cause__ if isinstance(error, UnforeseenError) else None
    if logged or unforeseen is not None:
        logger.error(
            "a processor can't be loaded; this worker leaves its batches to others",
            processor=entry.name,
            error=why,
            exc_info=unforeseen or False,
        )
    # Half a surrogate pair could not be announced.
    return Broken(entry, why.encode(errors="replace").decode())
