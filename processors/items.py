"""Makes processors of functions: what a function gets of an email, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, NamedTuple

from processors.outcomes import (
    ERROR,
    INTERRUPTED,
    MAX_SHOWN,
    PROCESSED,
    Later,
    Outcome,
    ProcessorError,
    Stop,
    failed,
)
from runtime.phrases import shorten

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
            yield PROCESSED if result is None else _outcome(result)

    return process


def outcomes_of(processor: Processor, emails: Iterable[Any]) -> Iterable[Any]:
    """Call a processor, and return what it yields for these emails.

    Raises ProcessorError for what a function returns that no decorator has made a processor.
    """
    found: Any = processor(emails)
    if isinstance(found, (str, Outcome, Later, Mapping)) or not isinstance(found, Iterable):
        name = getattr(processor, "__name__", type(processor).__name__)
        raise ProcessorError(
            f"{processor.__module__}:{name} returned {shorten(repr(found), MAX_SHOWN)} instead of"
            " outcomes; is a decorator such as @one_by_one missing above it?"
        )
    return found


def _outcome(result: Any) -> Outcome | Later:
    """Return the outcome that a function means by a result other than None."""
    return result if isinstance(result, (Outcome, Later)) else failed(result)


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


def key_of(batch_id: int, email_id: int, round_: int) -> str:
    """Return the name of an attempt at an email."""
    return f"b{batch_id}-e{email_id}-r{round_}"


def per_item(function: Callable[[Item], str | Outcome | Later | None]) -> Processor:
    """Make a processor of a function that takes an Item; it returns what one_by_one() allows."""
    process = one_by_one(function)
    process.takes_items = True  # type: ignore[attr-defined]
    return process


class WithError(NamedTuple):
    """An outcome that in_windows() yields, and the error to be logged with it.

    A generator that raised the error could yield nothing after it. Only the first of several
    outcomes with the same cause has the error. INTERRUPTED is accepted only in this form, so that
    no function of a team's own can claim it.
    """

    outcome: Outcome | Later
    error: Exception | None = None


def in_windows(
    size: int,
) -> Callable[[Callable[[Sequence[Item]], Mapping[str, Any]]], Processor]:
    """Make a processor of a function that takes up to `size` Items at once.

    The function returns a mapping of their keys, in any order, to what one_by_one() allows. An Item
    that it leaves out fails with `error`. If it raises an exception other than a Stop, it is called
    for each of the Items alone, so that only those to blame fail; if none is, the exception is told
    all the same. If its work must not be repeated, all of these are `interrupted` instead. A turn
    ends only between two windows.
    Raises ValueError if the size is below 1.
    """
    if size < 1:
        raise ValueError(f"the size of a window must be 1 or more, not {size}")

    def decorate(function: Callable[[Sequence[Item]], Mapping[str, Any]]) -> Processor:
        @wraps(function)
        def process(items: Iterable[Item]) -> Iterator[Any]:
            rest = iter(items)
            while window := tuple(islice(rest, size)):
                yield from _window(function, window, INTERRUPTED if is_once(process) else ERROR)

        process.takes_items = True  # type: ignore[attr-defined]
        # A turn may end only after a multiple of `border` emails, even if once() sets another
        # window.
        process.window = process.border = size  # type: ignore[attr-defined]
        return process

    return decorate


def _window(
    function: Callable[[Sequence[Item]], Mapping[str, Any]],
    items: tuple[Item, ...],
    missing: Outcome,
) -> Iterator[Outcome | Later | WithError]:
    """Yield the outcome of each item of a window; `missing` is that of one without an answer."""
    try:
        results = function(items)
        if not isinstance(results, Mapping):
            raise ProcessorError(f"a window's answer is a mapping by key, not {results!r:.100}")
        results = dict(results)
    except Stop:
        raise
    except Exception as error:
        if len(items) > 1 and missing is ERROR:
            yield from _each_alone(function, items, error)
        else:
            outcome = ERROR if len(items) == 1 else missing
            yield WithError(outcome, error)
            yield from [WithError(outcome)] * (len(items) - 1)
        return
    wrong = _mismatch(results, items)
    for item in items:
        result = results.get(item.key, _LEFT_OUT)
        if result is _LEFT_OUT:
            yield WithError(missing, wrong)
        else:
            given = PROCESSED if result is None else _outcome(result)
            yield given if wrong is None else WithError(given, wrong)
        wrong = None


def _each_alone(
    function: Callable[[Sequence[Item]], Mapping[str, Any]],
    items: tuple[Item, ...],
    error: Exception,
) -> Iterator[Outcome | Later | WithError]:
    """Yield the outcome of each item alone; the last has the `error` of all if none is to blame."""
    blamed = False
    for number, item in enumerate(items, start=1):
        (outcome,) = _window(function, (item,), ERROR)
        if isinstance(outcome, WithError):
            blamed = True
        elif number == len(items) and not blamed:
            error.add_note(f"raised for {number} items at once, but for none of them alone")
            outcome = WithError(outcome, error)
        yield outcome


_LEFT_OUT = object()


def _mismatch(results: Mapping[Any, Any], items: Sequence[Item]) -> ProcessorError | None:
    """Return an error if the keys of the results aren't those of the items."""
    keys = [item.key for item in items]
    left_out = [key for key in keys if key not in results]
    unknown = list(results.keys() - set(keys))
    if left_out:
        return ProcessorError(f"{len(left_out)} of {len(keys)} items left out, as {left_out[0]}")
    if unknown:
        return ProcessorError(f"an answer for a key that wasn't asked about: {unknown[0]!r:.100}")
    return None


def once(processor: Processor, *, window: int | None = None) -> Processor:
    """Mark a processor whose work must not be repeated, because it costs money or sends something.

    An email is noted on the disk before the processor gets it. If no outcome follows, because the
    worker dies or the processor hangs, the email comes out as `interrupted`: its work may have been
    done. It is never processed again, unless a person asks for exactly that.
    window: so many emails are noted at once, for a processor that takes them together. A kill
    interrupts so many at most, for each thread. By default, it is that of in_windows(), or else 1.
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
