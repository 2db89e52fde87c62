"""Making a processor of a function that takes an address, an Item, or a window of Items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from processors.outcomes import PROCESSED, Later, LeftOut, Outcome, ProcessorError, Stop, failed

# Takes addresses, or Items if its attribute `takes_items` is true.
Processor = Callable[[Iterable[Any]], Iterator[Outcome | Later]]
# What a function may say of an email: nothing if it is fine, or the reason for its failure.
Result = str | Outcome | Later | None
P = TypeVar("P", bound=Callable[..., Any])


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


def one_by_one(function: Callable[[Any], Result]) -> Processor:
    """Make a processor of a function that takes one address.

    The function returns None if the address is fine, or the reason for a failure, or an Outcome,
    or later().
    """

    @wraps(function)
    def process(addresses: Iterable[str]) -> Iterator[Outcome | Later]:
        for address in addresses:
            yield _said(function(address))

    return process


def per_item(function: Callable[[Item], Result]) -> Processor:
    """Make a processor of a function that takes an Item; it returns what one_by_one() allows."""
    process = one_by_one(function)
    process.takes_items = True  # type: ignore[attr-defined]
    return process


def in_windows(
    size: int,
) -> Callable[[Callable[[Sequence[Item]], Mapping[str, Result]]], Processor]:
    """Make a processor of a function that takes up to `size` Items, and answers by their keys.

    The function returns a mapping: for each key, in any order, what one_by_one() allows. An item
    that it leaves out fails with `error`; if the processor is marked with once(), it becomes
    `interrupted`. If the function raises an exception, and the work may be repeated, it is called
    for each item alone, so that only those fail that are to blame.
    Raises ValueError if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"in_windows() takes a size of 1 or more, not {size}")

    def make(function: Callable[[Sequence[Item]], Mapping[str, Result]]) -> Processor:
        @wraps(function)
        def process(items: Iterable[Item]) -> Iterator[Outcome | Later]:
            rest = iter(items)
            while window := [*islice(rest, size)]:
                try:
                    found = _answers(function, window)
                except Stop:
                    raise
                except Exception:
                    if len(window) == 1 or is_once(process):
                        raise
                    for item in window:
                        yield from _answers(function, [item])
                else:
                    yield from found

        process.takes_items, process.window = True, size  # type: ignore[attr-defined]
        return process

    return make


def _answers(
    function: Callable[[Sequence[Item]], Mapping[str, Result]], window: Sequence[Item]
) -> list[Outcome | Later]:
    """Return what the function says of each item, in their order. Raises what it raises."""
    found = function(window)
    if not isinstance(found, Mapping):
        raise ProcessorError(
            f"a function with @in_windows returns a mapping of keys, not {found!r:.200}"
        )
    others = found.keys() - {item.key for item in window}
    left_out = LeftOut(next(iter(others), None))
    return [_said(found.get(item.key, left_out)) for item in window]


def _said(result: Any) -> Any:
    """Return the outcome that a function's result means; checked() refuses what is none."""
    if result is None:
        return PROCESSED
    return result if isinstance(result, (Outcome, Later, LeftOut)) else failed(result)


def once(processor: P, *, window: int | None = None) -> P:
    """Mark a processor whose work must not be repeated, because it costs money or sends something.

    An email is noted on the disk before the processor gets it. If no outcome follows, because the
    worker dies or the processor hangs, the email comes out as `interrupted`: its work may have been
    done. It is never processed again, unless a person asks for exactly that.
    window: so many emails are noted at once, for a processor that takes them together; by default,
    the size given to in_windows(), or else 1. A kill interrupts so many at most, for each thread.
    Raises ValueError if it is below 1.
    """
    if window is None:
        window = getattr(processor, "window", 1)
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
