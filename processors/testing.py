"""Runs a processor on a list of rows without servers, to test it.

The emails go through the same functions as in a worker, so what these refuse, a worker refuses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import processors
from processors import (
    Factory,
    Findings,
    Item,
    Later,
    Outcome,
    Processor,
    ProcessorError,
    handing,
    is_once,
    takes_items,
)
from processors.items import key_of, outcomes_of
from processors.loading import made
from processors.options import options_of
from processors.outcomes import checked, from_values

# An address; or the cells of a row, with the address under "email"; or the address and the cells.
Row = str | Mapping[str, str] | tuple[str, Mapping[str, str]]


def run(
    processor: Processor | Factory,
    rows: Iterable[Row],
    *,
    section: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    columns: Sequence[str] = (),
    round: int = 1,  # noqa: A002 - the name that an Item has for it
) -> list[Outcome | Later]:
    """Run the processor on rows as a worker would, and return an outcome for each, in order.

    processor: it may also be the function with @configured that makes it.
    section: the texts in its section of config.ini.
    options: what is chosen for the batch: values, or texts as an upload has them.
    columns: the columns that the upload chooses; items have cells of these and of those that the
        processor takes, `*` for all.
    round: that of all items.
    Raises AssertionError if the processor breaks the protocol, such as by a reason that isn't
    allowed; the sentence says at which email. Raises whatever the processor raises, a Stop too.
    Raises ProcessorError if a worker would not load it, OptionError for options that an upload
    could not choose, and ValueError for rows of another form.
    """
    wanted = {*getattr(processor, "columns", ()), *columns}
    name = getattr(processor, "__name__", type(processor).__name__)
    loaded: Processor = made(processor, name, section or {}, name)
    values = options_of(loaded, options or {})
    items = [_item(number, row, round, wanted, values) for number, row in enumerate(rows, 1)]
    outcomes = _Run(loaded, items).outcomes()
    if not takes_items(loaded) and not is_once(loaded):
        _compare_lines(loaded, [item.address for item in items], outcomes)
    return outcomes


def _item(
    number: int, row: Row, rounds: int, columns: set[str], options: Mapping[str, Any]
) -> Item:
    """Return what a worker makes of the row. Raises ValueError."""
    address: str | None
    if isinstance(row, str):
        address, cells = row, {}
    elif isinstance(row, Mapping):
        address, cells = row.get("email"), dict(row)
    else:
        address, cells = row[0], dict(row[1])
    if not isinstance(address, str):
        raise ValueError(f'row {number} has no address; that of a mapping is under "email"')
    for name, cell in cells.items():
        if not isinstance(name, str) or not isinstance(cell, str):
            raise ValueError(f"row {number} has a cell {name!r} that is no text: {cell!r:.60}")
    if "*" not in columns:
        cells = {name: cell for name, cell in cells.items() if name in columns}
    return Item(address, key_of(1, number, rounds), rounds, cells, options)


class _Run:
    """A run of a processor, which ends at the first break of the protocol."""

    def __init__(self, processor: Processor, items: Sequence[Item]) -> None:
        self._processor = processor
        self._items = items
        self._due = 0  # the email whose outcome is due, counted from 0
        self._latest: Iterator[Outcome | Later] = iter(())

    def outcomes(self) -> list[Outcome | Later]:
        """Return the outcome of each email."""
        with_items = takes_items(self._processor)
        given = self._items if with_items else [item.address for item in self._items]
        found: list[Outcome | Later] = []
        while len(found) < len(given):  # a turn of a worker
            self._due = len(found)
            findings = self._turn(given[len(found) :])
            if findings.stop is not None:
                raise findings.stop
            next(self._latest, None)  # a further outcome would be one too many
            found += findings.listed
        for self._due, outcome in enumerate(found):
            if checked(from_values(json.loads(json.dumps(outcome)))) != outcome:
                raise self._broken(f"{outcome} becomes another outcome as JSON")
        return found

    def _turn(self, given: Sequence[Any]) -> Findings:
        def watched(emails: Iterable[Any]) -> Iterator[Outcome | Later]:
            self._latest = self._watch(outcomes_of(self._processor, emails))
            return self._latest

        if not is_once(self._processor):
            return processors.process(watched, given, math.inf, self._raise)
        watched.window = getattr(self._processor, "window", 1)  # type: ignore[attr-defined]
        return handing.process(watched, given, math.inf, lambda *_: True, self._raise)

    def _watch(self, outcomes: Iterable[Outcome | Later]) -> Iterator[Outcome | Later]:
        for outcome in outcomes:
            if self._due == len(self._items):
                raise AssertionError(
                    f"{outcome} is one outcome too many: a processor yields one for each email"
                )
            yield outcome
            self._due += 1

    def _raise(self, error: Exception) -> None:
        """Raise the error, with the email that it is about."""
        if isinstance(error, ProcessorError):
            raise self._broken(str(error)) from None
        if not getattr(error, "__notes__", None):
            error.add_note(f"raised here: {self._email()}")
        raise error

    def _broken(self, sentence: str) -> AssertionError:
        return AssertionError(f"{self._email()}: {sentence}")

    def _email(self) -> str:
        if self._due == len(self._items):
            return "after the last email"
        return f"email {self._due + 1}, {self._items[self._due].address}"


def _compare_lines(
    processor: Any, addresses: Sequence[str], outcomes: Sequence[Outcome | Later]
) -> None:
    """Raise AssertionError unless the processor's of_lines, if there is one, says the same."""
    text = processors.as_lines(addresses)
    if text is None or not getattr(processor, "of_lines", None):
        return

    def on_error(error: Exception) -> None:
        raise error

    try:
        findings = processors.process_lines(processor, text, math.inf, on_error)
    except ProcessorError as error:
        raise AssertionError(f"of_lines: {error}") from None
    if findings.stop is not None:
        raise findings.stop
    for number, (by_lines, outcome) in enumerate(zip(findings.listed, outcomes, strict=True), 1):
        if by_lines != outcome:
            raise AssertionError(
                f"email {number}, {addresses[number - 1]}: of_lines says {by_lines},"
                f" but the processor says {outcome}"
            )
