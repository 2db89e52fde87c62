"""Processors: functions that give each email an outcome.

A processor takes an iterable of addresses and lazily yields one Outcome for each, in order. It
knows neither database nor Redis. It is called for each turn, from several threads at once, and the
same address may come twice, because a turn that dies is repeated. Instead of an Outcome, it may
yield later(): the email stays pending, and is processed again in a further round. It may raise
Stop: nothing will work for now. The batch pauses itself then, and the email stays pending.

A fast processor may have an attribute `of_lines` too: a function that takes a text with one address
a line and returns a mapping of line numbers, counted from 0, to outcomes; a line left out is
PROCESSED. It is called instead of the processor, with about AT_ONCE characters, or as many as the
processor's attribute `at_once` says. If it raises an error, the processor is called for the turn.

A processor that looks domains up in the DNS may have an attribute `lookups_off`, too: a text that
says why it doesn't; and `hindrance`, a text that says why emails wait at this moment, such as that
no nameserver answers. Both are empty otherwise, and the pages show them.

A processor that decides something when it is loaded may have an attribute `isolated_options`: the
settings with which it decides the same in a child process (see work/isolation.py), or None.

The decorator `one_by_one` makes a processor of a function that takes a single address, `per_item`
of one that takes an Item, and `in_windows` of one that takes several at once. The decorator `once`
marks a processor whose work must not be repeated. The decorator `configured` marks a function that
takes the settings in its own section of config.ini and returns a processor.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from processors.declared import Declared, Option, OptionError, declared, parse_options
from processors.items import (
    Item,
    Processor,
    in_windows,
    is_once,
    once,
    one_by_one,
    per_item,
    takes_items,
)
from processors.outcomes import (
    CRASHED,
    ERROR,
    INTERRUPTED,
    PROCESSED,
    TIMED_OUT,
    AnswerError,
    Later,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    answered,
    checked,
    failed,
    later,
    risky,
)
from processors.running import (
    AT_ONCE,
    Findings,
    accepted_or_error,
    as_lines,
    process,
    process_lines,
)

__all__ = [
    "AT_ONCE",
    "CRASHED",
    "ERROR",
    "INTERRUPTED",
    "PROCESSED",
    "TIMED_OUT",
    "AnswerError",
    "Declared",
    "Findings",
    "Item",
    "Later",
    "Option",
    "OptionError",
    "Outcome",
    "Processor",
    "ProcessorError",
    "ReasonError",
    "Stop",
    "accepted_or_error",
    "answered",
    "as_lines",
    "checked",
    "configured",
    "declared",
    "failed",
    "in_windows",
    "is_once",
    "later",
    "load",
    "once",
    "one_by_one",
    "parse_options",
    "per_item",
    "process",
    "process_lines",
    "risky",
    "takes_items",
]

# Takes the settings in its section of config.ini, as values that JSON can hold.
Factory = Callable[[Mapping[str, Any]], Processor]


def configured(factory: Factory) -> Factory:
    """Mark a function that takes its section of config.ini and returns a processor.

    The section has the name of the function's module; without the section, the mapping is empty.
    The function is called once a process. If it raises a KeyError or ValueError, the worker doesn't
    start and reports the section.
    """
    factory.configured = True  # type: ignore[attr-defined]
    return factory


def load(
    name: str, options: Mapping[str, Any] | None = None, folder: Path | None = None
) -> Processor:
    """Return the processor `check`, or the processor named by `module:function`.

    `options` are the settings in its section.
    `folder` is that of config.ini, beside which a team's own module usually lies.
    Raises ProcessorError.
    """
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    full_name = "processors.check:configured_check" if name == "check" else name
    module_name, _, attribute = full_name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, AttributeError) as error:
        raise ProcessorError(f"the processor {name!r} can't be loaded: {error}") from error
    if not hasattr(module, attribute):
        # The file, because a module of the product or of Python may have the name of a team's own.
        file = getattr(module, "__file__", None) or module_name
        raise ProcessorError(f"the processor {name!r} can't be loaded: {file} has no {attribute!r}")
    processor = getattr(module, attribute)
    if callable(processor) and getattr(processor, "configured", False):
        if is_once(processor) or takes_items(processor):
            raise ProcessorError(
                f"the processor {name!r} is a function with @configured: put the other decorators"
                " on the processor that it returns"
            )
        processor = _make(name, processor, options or {})
    if not callable(processor):
        raise ProcessorError(f"the processor {name!r} is not a function")
    return processor  # type: ignore[no-any-return]


def _make(name: str, factory: Factory, options: Mapping[str, Any]) -> Processor:
    section = name.partition(":")[0]
    try:
        return factory(options)
    except KeyError as error:
        raise ProcessorError(f"the processor {name!r} needs [{section}] {error.args[0]}") from error
    except ValueError as error:
        raise ProcessorError(f"the processor {name!r} can't use [{section}]: {error}") from error
