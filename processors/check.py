"""The default processor, which checks whether an address can receive mail and whether it is risky.

It checks the syntax first, then whether the domain can receive mail, then risks. The first reason
found is the outcome, except that a risk other than a role account comes before an unknown domain.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import filterfalse, islice
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
from processors.reasons import CATALOGUE
from processors.syntax import ROOMY, of_domain, parts, prepare_splitting, split_lines
from runtime import logs, metrics

if TYPE_CHECKING:
    from processors.domains.lookups import Lookups

_OUTCOMES = {
    code: Outcome("failed" if reason.verdict == "invalid" else "processed", code)
    for code, reason in CATALOGUE.items()
}
_ROLE = _OUTCOMES["role_account"]
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
# The most domains whose outcomes are cached.
_MAX_KNOWN = 1 << 15
# Characters of a usual address with its line end.
_LENGTH = 25

logger = logs.Logger("check")


class _Known:
    """Outcomes of plain addresses that are no role accounts, by "@" and the domain as written.

    Those that are PROCESSED have a dictionary of their own: to see whether it has a domain takes
    half the time of getting the domain's outcome.
    """

    def __init__(self) -> None:
        self.processed: dict[str, None] = {}
        self.others: dict[str, Outcome] = {}

    def __len__(self) -> int:
        return len(self.processed) + len(self.others)

    def add(self, domain: str, outcome: Outcome) -> None:
        """Add the outcome of a domain, which is written with its "@"."""
        if outcome is PROCESSED:
            self.processed[domain] = None
        else:
            self.others[domain] = outcome

    def update(self, outcomes: Mapping[str, Outcome]) -> None:
        """Add the outcomes of domains, which are written with their "@"."""
        for domain, outcome in outcomes.items():
            self.add(domain, outcome)


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
        # What is known of domains, and when (monotonic) the first of these outcomes ends, which
        # forgets all of them. With lookups, a thread that changes them holds the lock.
        self._known = _Known()
        self._forget_at = math.inf
        self._learning = threading.Lock()

    def __call__(self, addresses: Iterable[str]) -> Iterator[Outcome | Later]:
        """Yield the outcome of each address; with lookups, some addresses are taken at once."""
        if self.lookups is None:
            return map(self.check_one, addresses)
        return self._with_lookups(iter(addresses), self.lookups)

    def _with_lookups(
        self, addresses: Iterator[str], lookups: Lookups
    ) -> Iterator[Outcome | Later]:
        while some := list(islice(addresses, lookups.at_once)):
            split = [parts(address) for address in some]
            found = lookups.find({domain for reason, _, domain in split if reason is None})
            for reason, local, domain in split:
                if reason is not None:
                    yield _OUTCOMES[reason]
                else:
                    yield self._judge(local, domain, found[domain][0])

    @property
    def hindrance(self) -> str:
        """The processor's attribute `hindrance`."""
        return self.lookups.outage if self.lookups else ""

    @property
    def at_once(self) -> int:
        """The processor's attribute `at_once`."""
        return AT_ONCE if self.lookups is None else _LENGTH * self.lookups.at_once

    def of_lines(self, text: str) -> dict[int, Outcome | Later]:
        """Return the outcomes of addresses, one a line, by line number; PROCESSED is left out.

        They are the same as those of single addresses, in a fifth of the time.
        """
        pieces = split_lines(text)
        known = self._known
        unknown: dict[str, Outcome | Later] = {}
        if self.lookups is not None:
            known, unknown = self._look_up(pieces, self.lookups)
        found: dict[int, Outcome | Later] = {}
        others: dict[int, str] = {}
        lines: list[str] = []
        line = -1
        # Most pieces are domains that are known to be good. These two functions pass over them
        # without a step of the interpreter.
        for piece in filterfalse(known.processed.__contains__, pieces):
            line = pieces.index(piece, line + 1)
            outcome = known.others.get(piece) or unknown.get(piece)
            if outcome is None and self.lookups is None and piece[:1] == "@":
                outcome = self._learn(piece)
            if outcome is None:
                if piece[:1] in "@":  # a domain, or "" for a line that begins with "@"
                    lines = lines or text.split("\n")
                    piece = lines[line]
                others[line] = piece
            elif outcome is not PROCESSED:
                found[line] = outcome
        for line, outcome in zip(others, self(others.values()), strict=True):
            if outcome is not PROCESSED:
                found[line] = outcome
        return found

    def _look_up(
        self, pieces: list[str], lookups: Lookups
    ) -> tuple[_Known, dict[str, Outcome | Later]]:
        """Look up the domains among the pieces of split_lines(), and cache their outcomes.

        Returns the cache, and what is said of the domains that are unknown; those aren't cached.
        Neither has the domains whose outcome depends on the local part too.
        """
        with self._learning:
            if time.monotonic() >= self._forget_at or len(self._known) > _MAX_KNOWN:
                self._known = _Known()
                self._forget_at = math.inf
            # Another thread may begin a new cache meanwhile, which lacks what is known here.
            cache = self._known
        # Not the difference of two sets, which would look at all that is known.
        new = {
            piece[1:]
            for piece in {*filterfalse(cache.processed.__contains__, pieces)}
            if _is_domain(piece) and piece not in cache.others
        }
        # Most domains are written as they were looked up, and in a long list most come again. To
        # look for them in the cache of lookups takes a third of the time of parsing them.
        cached = lookups.known(domain for domain in new if len(domain) <= ROOMY)
        names = {domain: domain for domain, each in cached.items() if each is not None}
        parsed, malformed = _parsed(new - names.keys())
        names |= parsed
        found = lookups.find({*names.values()}, cached)
        known = {f"@{domain}": outcome for domain, outcome in malformed.items()}
        unknown: dict[str, Outcome | Later] = {}
        forget_at = math.inf
        for domain, name in names.items():
            reason, until = found[name]
            outcome = self._judge("", name, reason)
            # An unknown domain may have an outcome for now, such as that of a likely typo.
            if reason in _LATER or isinstance(outcome, Later):
                unknown[f"@{domain}"] = outcome
            else:
                known[f"@{domain}"] = outcome
                forget_at = min(forget_at, until)
        with self._learning:
            cache.update(known)
            if cache is not self._known:
                self._known.update(known)
            self._forget_at = min(self._forget_at, forget_at)
        return cache, unknown

    def _learn(self, piece: str) -> Outcome | None:
        """Return the outcome of plain addresses with this piece of split_lines(), and cache it.

        Returns None if the outcome depends on the local part too.
        """
        syntax = of_domain(piece[1:]) if _is_domain(piece) else None
        if syntax is None:
            return None
        reason, _, ascii_domain = syntax
        outcome = _OUTCOMES[reason] if reason else self._of_domain(ascii_domain or "")
        if len(self._known) > _MAX_KNOWN:
            self._known = _Known()
        self._known.add(piece, outcome)
        return outcome

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


def _is_domain(piece: str) -> bool:
    """Return whether a piece of split_lines() is "@" and what may be a domain.

    Behind a further "@" may be any text; it would fill the cache.
    """
    return piece[:1] == "@" and piece.count("@") == 1


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
    prepare_splitting()
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
