"""The checks of the processors: that they can be loaded, that the DNS answers, and who has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import processors
from admin.diagnostics import OK, PROBLEM, WARNING, Diagnostic, judged
from processors import ProcessorError
from relay.presence import Workers
from runtime.entries import CHECK, ProcessorEntry
from runtime.settings import Settings
from web import abilities
from web.health import worker_command

if TYPE_CHECKING:
    from processors.domains.lookups import Lookups
    from processors.domains.nameserver import Nameserver

# Answers of the DNS a second, below which a large list takes hours; the share of its queries that
# may have no answer in time.
FEW_ANSWERS, MANY_LATE = 500, 0.1


def check(settings: Settings) -> Iterator[Diagnostic]:
    """Load each processor, and ask the DNS for the check."""
    for entry in settings.processors:
        yield _processor(settings, entry)
    if any(each.name == CHECK for each in settings.processors):
        yield _dns(settings)


def _processor(settings: Settings, entry: ProcessorEntry) -> Diagnostic:
    options = dict(entry.options)
    if entry.name == CHECK:
        options["dns"] = "off"  # the DNS has a check of its own
    several = len(settings.processors) > 1
    advice = f"See [processors] {entry.name}." if several else "See [worker] processor."
    try:
        processors.load(entry.reference, options, settings.path.parent, section=entry.name)
    except ProcessorError as error:
        return Diagnostic(PROBLEM, "processor", f"{error}.", advice)
    known = entry.name if several else entry.reference
    return Diagnostic(OK, "processor", f"{known} can be loaded.")


def _dns(settings: Settings) -> Diagnostic:
    if settings.check.dns == "off":
        return Diagnostic(OK, "DNS", "it is not asked: [check] dns = off.")
    from processors.domains.lookups import Lookups, LookupsError

    check = settings.check
    try:
        lookups = Lookups(list(check.nameservers), check.timeout_seconds, check.concurrency)
    except LookupsError as error:
        return _unfit(settings, str(error), "none")
    try:
        if wrong := lookups.probe():
            return _unfit(settings, wrong, lookups.nameservers)
        return _speed_of_dns(lookups)
    finally:
        lookups.close()


def _unfit(settings: Settings, wrong: str, nameservers: str) -> Diagnostic:
    advice = "Name other nameservers by [check] nameservers, or set dns = off."
    level = PROBLEM if settings.check.dns == "on" else WARNING
    text = f"{wrong}; nameservers: {nameservers.replace(',', ', ')}."
    return Diagnostic(level, "DNS", text, advice)


def _speed_of_dns(lookups: Lookups) -> Diagnostic:
    """Measure nameservers that have just answered sensibly."""
    from processors.domains import trial
    from processors.domains.lookups import WELL_KNOWN

    found = lookups.find(WELL_KNOWN)
    speed = trial.measure(lookups.exchange, [name for name in WELL_KNOWN if found[name][0] is None])
    # What is wrong with each nameserver; empty for a good one.
    wrong = {str(each): _wrong_answers(each) for each in lookups.exchange.nameservers}
    text = ", ".join(name for name, why in wrong.items() if not why)
    if speed is None:
        text += " answers sensibly, but not when it is asked often"
    else:
        text += (
            f" answers in {_about(speed.seconds * 1000)} ms (median), and gives at least"
            f" {_about(speed.a_second)} answers a second from its cache"
        )
        if speed.late > MANY_LATE:
            text += f"; {speed.late:.0%} of the queries had no answer in time"
    unfit = [f"{name} {why}" for name, why in wrong.items() if why]
    text = "; ".join([text, *unfit])
    bad = speed is None or speed.a_second < FEW_ANSWERS or speed.late > MANY_LATE
    advice = (
        "Run a caching resolver on this machine, such as unbound, and name it by [check]"
        " nameservers."
        if bad
        else "Name only nameservers that answer."
    )
    return judged(bad or bool(unfit), "DNS", f"{text}.", advice)


def _wrong_answers(nameserver: Nameserver) -> str:
    from processors.domains.wire import ERROR, MALFORMED

    came = {kind for kind, number in nameserver.counts.answers.items() if number}
    if not came:
        return "doesn't answer"
    return "" if came - {ERROR, MALFORMED} else "gives only errors"


def _about(number: float) -> str:
    """Return a number with two significant digits."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def without_worker(settings: Settings, workers: Workers) -> Iterator[Diagnostic]:
    """Yield a warning for each processor that none of the living workers has, or can load."""
    command = worker_command(settings.path)
    for each in abilities.processors_json(settings, workers, (), command):
        if each["command"]:
            text = f"none has {each['name']}, so batches for it wait."
            yield Diagnostic(WARNING, "workers", text, f"Start one with {each['command']}")
        elif each["problem"]:
            text = f"{each['problem'].rstrip('.')}; batches for it wait."
            yield Diagnostic(WARNING, "workers", text, "Restart the workers when that is mended.")
