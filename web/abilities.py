"""Which processors the living workers have, and what to do about one that none has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from relay.presence import Ability, Worker, Workers
from runtime.entries import CHECK, ProcessorEntry
from runtime.phrases import several, shorten
from runtime.settings import Settings

# The most characters of a reason why a processor can't be loaded, looks no domain up, or waits.
MAX_WHY = 200


def processors_json(
    settings: Settings, workers: Workers | None, waiting: Sequence[str], worker_command: str
) -> list[dict[str, Any]]:
    """Return the JSON of each processor of config.ini, and of others for which batches wait.

    waiting: the names of the processors that have unfinished batches.
    """
    found = [_json(settings, entry, workers, worker_command) for entry in settings.processors]
    for name in waiting:
        if settings.processor(name) is None:
            unknown = _json(settings, ProcessorEntry(name, "", name), workers, worker_command)
            if unknown["problem"]:
                text = f"config.ini doesn't name {name}: give it a line in [processors] again."
                unknown |= {"problem": text, "command": None}
            found.append(unknown)
    return found


def why(entry: ProcessorEntry, error: str) -> str:
    """Return why a processor can't be loaded, for a sentence that says that it can't be."""
    return error.removeprefix(f"the processor {entry.reference!r} can't be loaded: ")


def stuck(processors: Sequence[dict[str, Any]], waiting: Sequence[str]) -> dict[str, Any] | None:
    """Return the first processor that has a problem, and batches that wait for it."""
    return next((each for each in processors if each["problem"] and each["name"] in waiting), None)


def text(processors: Sequence[dict[str, Any]]) -> str:
    """Return a line on each processor for the state of the servers; empty if there is only one."""
    return "\n".join(map(_line, processors)) if len(processors) > 1 else ""


def _line(processor: dict[str, Any]) -> str:
    workers, title = processor["workers"], processor["title"]
    if processor["problem"] and not processor["command"]:
        return str(processor["problem"])
    if workers is None:
        return f"{title}: workers unknown"
    return f"{title}: {several(workers, 'worker') if workers else 'no worker'}"


def names(worker: Worker, default: str) -> list[str]:
    """Return the names of the processors that a worker has, and could load.

    default: the name of the default processor, which a worker of an earlier version doesn't name.
    """
    return [each.name or default for each in worker.processors if each.error is None]


def _json(
    settings: Settings, entry: ProcessorEntry, workers: Workers | None, worker_command: str
) -> dict[str, Any]:
    report = {"name": entry.name, "title": entry.title}
    if workers is None:
        return {**report, "workers": None, "problem": None, "command": None}
    mine = [
        ability
        for worker in workers.alive
        for ability in worker.processors
        if _is(ability, entry, alone=len(settings.processors) == len(worker.processors) == 1)
    ]
    errors = [each.error for each in mine if each.error is not None]
    able = len(mine) - len(errors)
    problem = command = None
    if not able and errors:
        problem = shorten(f"{entry.name} can't be loaded: {why(entry, errors[0])}", MAX_WHY)
    elif not able:
        problem = f"No worker has {entry.name}; start one with"
        command = worker_command
        # Workers that are there may lack it by intent, and a further one need not do their part.
        if workers.alive and not worker_command.startswith("systemctl"):
            command += f" --processors {shlex.quote(entry.name)}"
    return {**report, "workers": able, "problem": problem, "command": command}


def _is(ability: Ability, entry: ProcessorEntry, *, alone: bool) -> bool:
    """Return whether a worker means this processor.

    alone: whether both config.ini and the worker have only one. If that of config.ini is the check,
    batches name no processor, and the worker does them all, whatever its own one is called.
    """
    if ability.name is None:  # a worker of an earlier version
        return entry.takes_unnamed
    return ability.name == entry.name or (alone and entry.name == CHECK)
