"""Loading the processors of a worker, of which one that can't be loaded stops only itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import processors
from batches import snapshots
from batches.snapshots import Given
from processors import OptionError, Processor, ProcessorError
from processors.loading import UnforeseenError
from processors.options import options_of
from relay.presence import Ability
from runtime import logs
from runtime.entries import ProcessorEntry
from runtime.phrases import shorten
from runtime.settings import Settings

logger = logs.Logger("worker")


@dataclass(frozen=True)
class Loaded:
    """A processor that this worker can do: its entry in config.ini, and the function itself.

    unfit: why it can't do batches, by their ids: they were stored for another version of it, with
        other options or columns.
    """

    entry: ProcessorEntry
    processor: Processor
    unfit: dict[int, str] = field(default_factory=dict, compare=False)
    _misfits: logs.RateLimited = field(
        default_factory=lambda: logs.RateLimited(logger), compare=False
    )

    def ability(self) -> Ability:
        """Return what the worker announces of it at this moment."""
        unfit = next(iter([*self.unfit.values()]), "")
        return Ability(
            self.entry.name,
            self.entry.per_minute,
            getattr(self.processor, "lookups_off", ""),
            getattr(self.processor, "hindrance", "") or unfit,
        )

    def fits(self, batch_id: int) -> bool:
        """Return whether the processor can do a batch as it was stored; if not, log that.

        There may be very many such batches, of which one a minute is logged. Must be called in a
        session.
        """
        if batch_id in self.unfit:
            return False
        given = snapshots.given(batch_id, self.entry)
        if given is None:
            return True  # there is no such batch, and so nothing to claim
        said = self._misfit(given)
        if not said:
            return True
        name = self.entry.name
        why = (
            f"Batch {batch_id} waits, because {name} has changed: {said.rstrip('.')}. Restart app"
            " and workers; if it waits all the same, cancel it and process it again."
        )
        if self.unfit.setdefault(batch_id, why) is why:  # no other thread was faster
            self._misfits.warning(
                "app and worker have different versions of a processor, so a batch waits;"
                " restart both",
                batch=batch_id,
                processor=name,
                error=said,
            )
        return False

    def _misfit(self, given: Given) -> str:
        """Return what of `given` doesn't fit the processor; empty if all does."""
        try:
            options_of(self.processor, given.options)
        except OptionError as error:
            return str(error)
        taken = getattr(self.processor, "columns", ())
        if "*" in taken and not given.gets_all:
            return "it takes all columns, which the batch didn't keep for it"
        missed = [name for name in given.others if name in taken]
        if not missed:
            return ""
        return f"it takes the column {shorten(missed[0], 60)}, which the batch didn't keep for it"

    def forget_ended(self) -> None:
        """Forget the batches that don't fit and no longer wait. Must be called in a session."""
        known = [*self.unfit]
        found = snapshots.present(known) if known else []
        waiting = {each.batch_id for each in found if not (each.terminal or each.paused)}
        for batch_id in known:
            if batch_id not in waiting:
                del self.unfit[batch_id]


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
