"""What is done to an email.

A processor is a callable that takes an iterable of addresses and lazily yields one Outcome for
each, in order. It knows neither database nor Redis. It is called again for each turn, from several
threads at once, and the same address may come twice: a turn that dies is repeated.

One that is fast may have an attribute `of_lines` besides, a function that takes a text with one
address a line, and returns the outcomes other than PROCESSED by line, counted from 0. It is called
instead, with about AT_ONCE characters, as long as it raises nothing.

A function for a single address becomes a processor by the decorator `one_by_one`. A function that
makes a processor of the settings in its own section of config.ini is marked by `configured`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import islice
from typing import Any, NamedTuple

from processors import reasons


class Outcome(NamedTuple):
    """What a processor says of one email: status `processed` or `failed`, and a reason.

    A reason is a short code such as `no_at_sign`: lower-case letters, digits and underscores, at
    most 40. A failed email has one; a processed one may, and is then risky or unknown.
    """

    status: str
    reason: str | None = None


Processor = Callable[[Iterable[str]], Iterator[Outcome]]
# Makes a processor of its section of config.ini; JSON could hold what is in the mapping.
Factory = Callable[[Mapping[str, Any]], Processor]

PROCESSED = Outcome("processed")
# What comes of an email when its processing raises an exception; kills the process, again and
# again; takes longer than a turn may.
ERROR = Outcome("failed", "error")
CRASHED = Outcome("failed", "worker_crashed")
TIMED_OUT = Outcome("failed", "timed_out")

# Characters that a processor is given at once, or one line more, if it has `of_lines`.
AT_ONCE = 24_000

# Outcomes that checked() has accepted, so that it need not look at each again; MAX_ACCEPTED at
# most, because a processor may make up any number.
_accepted: set[Outcome] = set()
MAX_ACCEPTED = 1000


class ProcessorError(Exception):
    """No processor of this name can be loaded, or what it yielded is no outcome."""


def failed(reason: str) -> Outcome:
    """The outcome of an email that failed for this reason."""
    return Outcome("failed", reason)


def risky(reason: str) -> Outcome:
    """The outcome of an email that was processed, with something to be said of it."""
    return Outcome("processed", reason)


def checked(outcome: object) -> Outcome:
    """The outcome itself if it is one as the Outcome class says. Raises ProcessorError.

    The product's own codes are held to their status, so that verdicts can be counted by code.
    """
    if type(outcome) is Outcome and outcome in _accepted:
        return outcome
    if isinstance(outcome, Outcome):
        status, reason = outcome
        if status == "processed" and reason is None:
            return outcome
        if (
            status in ("processed", "failed")
            and isinstance(reason, str)
            and reasons.is_code(reason)
        ):
            if not reasons.allowed(status, reason):
                raise ProcessorError(f"no {status} email has the reason {reason!r}")
            if len(_accepted) < MAX_ACCEPTED:
                _accepted.add(outcome)
            return outcome
    raise ProcessorError(f"a processor yields Outcome objects, not {outcome!r:.200}")


@dataclass
class Findings:
    """What was found of the first `count` addresses.

    `others` are the outcomes that carry a reason, in order, each with its position from 0.
    """

    count: int = 0
    others: list[tuple[int, Outcome]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of the next address."""
        if outcome.reason is not None:
            self.others.append((self.count, outcome))
        self.count += 1


def process(
    processor: Processor,
    addresses: Sequence[str],
    deadline: float,
    on_error: Callable[[Exception], None],
) -> Findings:
    """What is found of the first of the addresses: of one at least, until `deadline` (monotonic).

    An exception fails the email whose outcome was due, and the processor starts anew behind it.
    """
    findings = Findings()
    while findings.count < len(addresses):
        start = findings.count
        try:
            for outcome in islice(
                processor(islice(addresses, start, None)), len(addresses) - start
            ):
                if outcome is PROCESSED:
                    findings.count += 1  # what add() does, for a million a second
                else:
                    findings.add(checked(outcome))
                if time.monotonic() > deadline:
                    return findings
            if findings.count < len(addresses):
                raise ProcessorError("the processor yielded fewer outcomes than it got addresses")
        except Exception as error:
            on_error(error)
            findings.add(ERROR)
            if time.monotonic() > deadline:
                break
    return findings


def as_lines(addresses: Sequence[str]) -> str | None:
    """The addresses one a line, as process_lines() takes them; None if one has a line end of its
    own."""
    text = "\n".join(addresses)
    return text if text.count("\n") == len(addresses) - 1 else None


def process_lines(
    of_lines: Callable[[str], Mapping[int, Outcome]], text: str, deadline: float
) -> Findings:
    """As process(), of addresses one a line. Raises ProcessorError, and what `of_lines` raises."""
    findings = Findings()
    start = 0
    while start <= len(text):
        end = text.find("\n", start + AT_ONCE)
        lines = text[start : end if end >= 0 else len(text)]
        count = lines.count("\n") + 1
        for line, outcome in sorted(of_lines(lines).items()):
            if not 0 <= line < count:
                raise ProcessorError(f"an outcome for line {line} of {count}, counted from 0")
            if checked(outcome).reason is not None:
                findings.others.append((findings.count + line, outcome))
        findings.count += count
        if time.monotonic() > deadline:
            break
        start += len(lines) + 1
    return findings


def one_by_one(function: Callable[[str], str | Outcome | None]) -> Processor:
    """Make a processor of a function that takes one address.

    The function returns None when all is well, or the reason why the email failed, or an Outcome.
    """

    @wraps(function)
    def process(addresses: Iterable[str]) -> Iterator[Outcome]:
        for address in addresses:
            said = function(address)
            if said is None:
                yield PROCESSED
            else:
                yield said if isinstance(said, Outcome) else failed(said)

    return process


def configured(factory: Factory) -> Factory:
    """Mark a function that makes a processor of its section of config.ini, once a process.

    The section has the name of the function's module; without it the mapping is empty. A KeyError
    or ValueError that the function raises is told to whoever started the worker.
    """
    factory.configured = True  # type: ignore[attr-defined]
    return factory


def load(name: str, options: Mapping[str, Any] | None = None) -> Processor:
    """The processor `check`, or the one that `module:function` names, with its options.

    Raises ProcessorError.
    """
    module_name, _, attribute = (
        "processors.check:configured_check" if name == "check" else name
    ).partition(":")
    try:
        processor = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ProcessorError(f"the processor {name!r} can't be loaded: {error}") from error
    if callable(processor) and getattr(processor, "configured", False):
        processor = _made(name, processor, options or {})
    if not callable(processor):
        raise ProcessorError(f"the processor {name!r} is not a function")
    return processor  # type: ignore[no-any-return]


def _made(name: str, factory: Factory, options: Mapping[str, Any]) -> Processor:
    section = name.partition(":")[0]
    try:
        return factory(options)
    except KeyError as error:
        raise ProcessorError(f"the processor {name!r} needs [{section}] {error.args[0]}") from error
    except ValueError as error:
        raise ProcessorError(f"the processor {name!r} can't use [{section}]: {error}") from error
