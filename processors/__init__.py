"""Processors: functions that give each email an outcome.

A processor takes an iterable of addresses and lazily yields one Outcome for each, in order. It
knows neither database nor Redis. It is called for each turn, from several threads at once, and the
same address may come twice, because a turn that dies is repeated. Instead of an Outcome, it may
yield later(): the email stays pending, and is processed again in a further round. It may raise
Stop: nothing will work for now. The batch pauses itself then, and the email stays pending.

A fast processor may have an attribute `of_lines` too: a function that takes a text with one address
a line and returns a mapping of line numbers, counted from 0, to outcomes; a line left out is
PROCESSED. It is called instead of the processor, with about AT_ONCE characters, or as many as the
processor's attribute `at_once` says just then. If it raises an error, the processor is called for
the turn.
As a rule, one thread of a worker at a time runs such a function, whichever processor has it. Where
it waits, as for a nameserver, it does so in a block `with waiting():`, and other threads go on.
After half a second, a thread that waits for others calls the function anyway, so it must be safe
with several threads.

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

from processors.computing import waiting
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
from processors.loading import Declared, Factory, configured, declared, load, takes_columns
from processors.options import Option, OptionError, parse_options
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
    "Factory",
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
    "takes_columns",
    "takes_items",
    "waiting",
]
