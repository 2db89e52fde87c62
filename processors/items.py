"""Makes processors of functions: what a function gets of an email, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, NamedTuple

from processors.outcomes import PROCESSED, Later, Outcome, failed

# Takes addresses, or Items if its attribute `takes_items` is true.
Processor = Callable[[Iterable[Any]], Iterator[Outcome | Later]]


def one_by_one(function: Callable[[Any], str | Outcome | Later | None]) -> Processor:
    """Make a processor of a function that takes one address.

    The function returns None if the address is fine, or the reason for a failure, or an Outcome,
    or later().
    """

    @wraps(function)
    def process(addresses: Iterable[str]) -> Iterator[Outcome | Later]:
        for address in addresses:
            result = function(address)
            if result is None:
                yield PROCESSED
            else:
                yield result if isinstance(result, (Outcome, Later)) else failed(result)

    return process


class Item(NamedTuple):
    """An email as a processor gets it that needs more than the address.

    `key` is the name of this attempt, such as `b7-e123-r1` for batch, email and round. A receiver
    can recognize by it what it gets again: only if a person asks for that, or if the processor's
    work may be repeated.
    `round` counts from 1 how often the email is processed; each retry and each later() adds one.
    `cells` has cells of its row by the names of their columns: those that the processor takes, or
    the upload chose.
    `options` has the values of the processor's options, for the email's batch.
    """

    address: str
    key: str
    round: int
    cells: Mapping[str, str] = {}
    options: Mapping[str, Any] = {}


def per_item(function: Callable[[Item], str | Outcome | Later | None]) -> Processor:
    """Make a processor of a function that takes an Item; it returns what one_by_one() allows."""
    process = one_by_one(function)
    process.takes_items = True  # type: ignore[attr-defined]
    return process


def once(processor: Processor, *, window: int = 1) -> Processor:
    """Mark a processor whose work must not be repeated, because it costs money or sends something.

    An email is noted on the disk before the processor gets it. If no outcome follows, because the
    worker dies or the processor hangs, the email comes out as `interrupted`: its work may have been
    done. It is never processed again, unless a person asks for exactly that.
    window: so many emails are noted at once, for a processor that takes them together. A kill
    interrupts so many at most, for each thread. Raises ValueError if it is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more, not {window}")
    processor.once, processor.window = True, window  # type: ignore[attr-defined]
    return processor


def takes_items(processor: Processor) -> bool:
    """Return whether the processor takes Items instead of addresses."""
    return getattr(processor, "takes_items", False)


def is_once(processor: Processor) -> bool:
    """Return whether the processor's work must not be repeated."""
    return getattr(processor, "once", False)
