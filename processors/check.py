"""The default processor, which checks whether an address can receive mail and whether it is risky.

It checks the syntax first, then whether the domain can receive mail, then risks. The first reason
found is the outcome, except that a risk other than a role account comes before an unknown domain.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processors import (
    AT_ONCE,
    PROCESSED,
    Later,
    Outcome,
    Processor,
    ProcessorError,
    configured,
    later,
    risks,
)
from processors.disposable import ListError, is_disposable, read_list
from processors.mailboxes import is_role
from processors.plain_lines import PlainLines
from processors.reasons import CATALOGUE
from processors.short_texts import NONE, Numbers
from processors.syntax import of_domain, parts
from runtime import logs, metrics

if TYPE_CHECKING:
    from processors.domains.lookups import Lookups

_OUTCOMES = {
    code: Outcome("failed" if reason.verdict == "invalid" else "processed", code)
    for code, reason in CATALOGUE.items()
}
_ROLE = _OUTCOMES["role_account"]
# The outcomes; their places are the numbers in the cache. PROCESSED has 0, which
# PlainLines.not_zero() leaves out.
_NUMBERED = (PROCESSED, *_OUTCOMES.values())
# The number of each outcome, by its reason.
_NUMBER_OF = {outcome.reason: number for number, outcome in enumerate(_NUMBERED)}
# What is said of an address whose domain is unknown. A domain without a sensible answer is asked
# for again soon, because packets get lost and nameservers are busy, and once more after a minute.
# While it is still asked for, or no nameserver is there, there are as many rounds as the default of
# [worker] later_rounds allows; a higher setting adds none.
_LATER = {
    "dns_timeout": later("dns_timeout", 5, 10, 60),
    "dns_error": later("dns_error", 5, 10, 60),
    "late": later("dns_timeout", 2, 5, 15, 30),
    "dns_paused": later("dns_paused", 5, 15, 30, 60),
}
# The most outcomes in the cache by domain. Each takes 65 bytes; to add some, the cache is copied. A
# cache with more is thrown away, and a new one begun.
_MAX_KNOWN = 1 << 14
# Characters of a usual address with its line end.
_LENGTH = 25
# The most characters that of_lines is to get at once, as one text. In a small text, the calls of
# NumPy cost more than what they do; but a turn ends only between two texts. So each is twice as
# large as the one before, until one is slow, or waits for more domains than are best looked up at
# once.
_MOST_AT_ONCE = 4 * AT_ONCE
# The most seconds of CPU time that a quick text takes.
_QUICK = 0.05

logger = logs.Logger("check")


class Check:
    """The check, with a list of further disposable domains, and with or without DNS lookups."""

    def __init__(
        self,
        disposable: Container[str] = frozenset(),
        lookups: Lookups | None = None,
        lookups_off: str = "",
    ) -> None:
        self.lookups = lookups
        # The processor's attribute `lookups_off`.
        self.lookups_off = lookups_off
        # The processor's attribute `isolated_options`.
        self.isolated_options: Mapping[str, Any] | None = None
        self._disposable = disposable
        # The numbers of outcomes by domain, and when (monotonic) the first of these outcomes ends,
        # which forgets all of them. A thread that changes them holds the lock.
        self._known = Numbers.of({})
        self._forget_at = math.inf
        self._learning = threading.Lock()
        # How many characters of_lines is to get at once; 0 for the least.
        self._grown = 0
        # How often _grown was set to 0. A thread raises _grown only if this stayed the same while
        # it checked its text.
        self._shrunk = 0

    def __call__(self, addresses: Iterable[str]) -> Iterator[Outcome | Later]:
        """Yield the outcome of each address; with lookups, some addresses are taken at once."""
        if self.lookups is None:
            return map(self.check_one, addresses)
        return self._with_lookups(iter(addresses), self.lookups)

    def _with_lookups(
        self, addresses: Iterator[str], lookups: Lookups
    ) -> Iterator[Outcome | Later]:
        while some := list(islice(addresses, lookups.at_once)):
            yield from self._together(some, lookups)

    def _together(self, addresses: list[str], lookups: Lookups) -> Iterator[Outcome | Later]:
        """Yield the outcome of each address; all their domains are looked up by one call."""
        split = [parts(address) for address in addresses]
        wanted = {domain for reason, _, domain in split if reason is None}
        found = lookups.find(wanted, before_long_wait=self._shrink)
        for reason, local, domain in split:
            if reason is not None:
                yield _OUTCOMES[reason]
            else:
                yield self._judge(local, domain, found[domain][0])

    def _shrink(self) -> None:
        """Let the next texts be small again, in all threads."""
        self._grown = 0
        self._shrunk += 1

    @property
    def hindrance(self) -> str:
        """The processor's attribute `hindrance`."""
        return self.lookups.outage if self.lookups else ""

    @property
    def at_once(self) -> int:
        """The processor's attribute `at_once`."""
        least = AT_ONCE if self.lookups is None else _LENGTH * self.lookups.at_once
        return max(least, self._grown)

    def of_lines(self, text: str) -> dict[int, Outcome | Later]:
        """Return the outcomes of addresses, one a line, by line number; PROCESSED is left out.

        They are the same as those of single addresses.
        """
        began, size, shrunk = time.thread_time(), self.at_once, self._shrunk
        plain = PlainLines(text)
        others = plain.others()
        found: dict[int, Outcome | Later] = {}
        unknown: list[int] = []
        # These are few, because the outcome of most domains is PROCESSED.
        for line, number in plain.not_zero(self._known_now()):
            if number == NONE:
                unknown.append(line)
            else:
                found[line] = _NUMBERED[number]
        domains = [address.partition("@")[2] for address in plain.texts(unknown)]
        said = self._learn({*domains})
        for line, domain in zip(unknown, domains, strict=True):
            if domain in said:
                found[line] = said[domain]
            else:
                others.append(line)
        odd = plain.texts(others)
        outcomes = self(odd) if self.lookups is None else self._together(odd, self.lookups)
        found |= zip(others, outcomes, strict=True)
        if time.thread_time() - began > _QUICK:
            self._shrink()
        elif len(text) >= size and self._shrunk == shrunk:
            self._grown = min(2 * size, _MOST_AT_ONCE)
        return {line: outcome for line, outcome in found.items() if outcome is not PROCESSED}

    def _known_now(self) -> Numbers:
        """Return the cache; a new one if it is full, or an outcome in it has ended."""
        with self._learning:
            if time.monotonic() >= self._forget_at or len(self._known) > _MAX_KNOWN:
                self._known, self._forget_at = Numbers.of({}), math.inf
            return self._known

    def _learn(self, domains: set[str]) -> Mapping[str, Outcome | Later]:
        """Return what is said of plain addresses with these domains, as written; cache outcomes.

        Domains whose outcome depends on the local part too are left out. What is said of unknown
        domains isn't cached.
        """
        if self.lookups is None:
            names, known = _parsed(domains)
            known |= {domain: self._of_domain(name) for domain, name in names.items()}
            self._remember(known, math.inf)
            return known
        # Most domains are written as they were looked up, and in a long list most come again. To
        # look for them in the cache of lookups takes a third of the time of parsing them.
        cached = self.lookups.known(domains)
        names, known = _parsed(domain for domain, each in cached.items() if each is None)
        names |= {domain: domain for domain, each in cached.items() if each is not None}
        found = self.lookups.find({*names.values()}, cached, self._shrink)
        unknown: dict[str, Outcome | Later] = {}
        until = math.inf
        for domain, name in names.items():
            reason, end = found[name]
            outcome = self._judge("", name, reason)
            # An unknown domain may have an outcome for now, such as that of a likely typo.
            if reason in _LATER or isinstance(outcome, Later):
                unknown[domain] = outcome
            else:
                known[domain] = outcome
                until = min(until, end)
        self._remember(known, until)
        return known | unknown

    def _remember(self, outcomes: Mapping[str, Outcome], until: float) -> None:
        """Cache the outcomes of domains, as written, until this time (monotonic)."""
        if not outcomes:
            return  # nothing to add; |= would copy the whole cache
        new = Numbers.of({domain: _NUMBER_OF[each.reason] for domain, each in outcomes.items()})
        with self._learning:
            self._known |= new
            self._forget_at = min(self._forget_at, until)

    def check_one(self, address: str) -> Outcome:
        """Return the outcome of an address without a DNS lookup."""
        reason, local, domain = parts(address)
        if reason is not None:
            return _OUTCOMES[reason]
        outcome = self._of_domain(domain)
        return _of_local(local) if outcome is PROCESSED else outcome

    def _of_domain(self, domain: str) -> Outcome:
        if risks.meant(domain):
            return _OUTCOMES["likely_typo"]
        if is_disposable(domain, self._disposable):
            return _OUTCOMES["disposable"]
        return PROCESSED

    def _judge(self, local: str, domain: str, found: str | None) -> Outcome | Later:
        """Return what is said of a well-formed address whose lookup found this reason, or None.

        `local` may be "" for any plain local part that is no role.
        """
        if found is not None and found not in _LATER:
            return _OUTCOMES[found]
        outcome = self._of_domain(domain)
        if outcome is not PROCESSED:
            return outcome
        return _of_local(local) if found is None else _LATER[found]


def _parsed(domains: Iterable[str]) -> tuple[dict[str, str], dict[str, Outcome]]:
    """Return the names by which domains, as written, are looked up, and malformed ones' outcomes.

    Domains whose outcome depends on the local part too are left out.
    """
    names: dict[str, str] = {}
    malformed: dict[str, Outcome] = {}
    for domain in domains:
        syntax = of_domain(domain)
        if syntax is None:
            continue
        if syntax.reason is not None:
            malformed[domain] = _OUTCOMES[syntax.reason]
        elif syntax.domain is not None:
            names[domain] = syntax.domain
    return names, malformed


def _of_local(local: str) -> Outcome:
    """Return the outcome by the local part alone."""
    if is_role(local):
        return _ROLE
    return _OUTCOMES["odd_characters"] if risks.is_odd(local) else PROCESSED


_plain = Check()


def check(addresses: Iterable[str]) -> Iterator[Outcome]:
    """Check addresses without lookups; needs no configuration."""
    return map(_plain.check_one, addresses)


def check_one(address: str) -> Outcome:
    """Return the outcome of one address, without lookups."""
    return _plain.check_one(address)


@configured
def configured_check(options: Mapping[str, Any]) -> Processor:
    """Return the check for the settings in `[check]`, which runtime.settings.Check has.

    Raises ProcessorError.
    """
    path = options["disposable_domains"]
    try:
        own = read_list(Path(path)) if path else frozenset()
    except ListError as error:
        raise ProcessorError(f"[check] disposable_domains: {error}") from error
    lookups, why = _lookups(options)
    check = Check(own, lookups, why)
    # A child process looks domains up exactly if this one does, whether or not the nameserver
    # answers at that moment: without lookups, addresses would be ok that nobody looked up.
    check.isolated_options = {**options, "dns": "off" if lookups is None else "on"}
    return check


def _lookups(options: Mapping[str, Any]) -> tuple[Lookups | None, str]:
    """Return Lookups, or else None and why the DNS is not asked; log either."""
    if options["dns"] == "off":
        why = "[check] dns = off"
        logger.info("dns lookups are off", why=why)
        return None, why
    # Imported only when needed, because that takes a while.
    from processors.domains import counts
    from processors.domains.lookups import Lookups, LookupsError

    try:
        lookups = Lookups(
            options["nameservers"], options["timeout_seconds"], options["concurrency"]
        )
    except LookupsError as error:
        if options["dns"] == "on":
            raise ProcessorError(f"[check] dns is on, but {error}") from error
        logger.warning("dns lookups are off", why=error)
        return None, str(error)
    wrong = lookups.probe()
    if wrong and options["dns"] == "auto":
        lookups.close()
        logger.warning("dns lookups are off", nameservers=lookups.nameservers, why=wrong)
        return None, wrong
    metrics.DNS.read = lambda: counts.read(lookups.exchange)
    state = {"nameservers": lookups.nameservers, "concurrency": lookups.concurrency}
    if wrong:
        logger.warning("dns lookups are on, although the resolver looks unfit", **state, why=wrong)
    else:
        logger.info("dns lookups are on", **state)
    return lookups, ""
