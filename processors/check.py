"""The default processor, which checks whether an address can receive mail and whether it is risky.

It checks the syntax first, then whether the domain can receive mail, then risks. The first reason
found is the outcome, except that a risk other than a role account comes before an unknown domain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from processors import PROCESSED, Outcome, Processor, ProcessorError, configured, risks
from processors.disposable import ListError, is_disposable, read_list
from processors.mailboxes import is_role
from processors.reasons import CATALOGUE, UNKNOWN
from processors.syntax import of_domain, parts, split_lines
from runtime import logs

if TYPE_CHECKING:
    from processors.lookups import Lookup, Lookups

_OUTCOMES = {
    code: Outcome("failed" if reason.verdict == "invalid" else "processed", code)
    for code, reason in CATALOGUE.items()
}
_ROLE = _OUTCOMES["role_account"]
# The most domains whose outcomes are cached.
_MAX_KNOWN = 1 << 16
# The most addresses that are taken ahead of the address whose outcome is due.
_MAX_AHEAD = 10_000

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
        self._disposable = disposable
        self._of_domain: Callable[[str], Outcome] = lru_cache(_MAX_KNOWN)(self._judge_domain)
        # The outcome of a plain address that is no role account, by its domain as written.
        self._known: dict[str, Outcome] = {}

    def __call__(self, addresses: Iterable[str]) -> Iterator[Outcome]:
        """Yield the outcome of each address; with lookups, take addresses ahead of the outcomes."""
        if self.lookups is None:
            return map(self.check_one, addresses)
        return _Ahead(self, self.lookups).outcomes(addresses)

    @property
    def of_lines(self) -> Callable[[str], dict[int, Outcome]] | None:
        """The processor's attribute `of_lines`; None with lookups, which take most of the time."""
        return self.check_lines if self.lookups is None else None

    def check_lines(self, text: str) -> dict[int, Outcome]:
        """Return the outcomes of addresses, one a line, by line number; PROCESSED is left out.

        The same outcomes as of check_one(), in a third of the time.
        """
        wholes, domains = split_lines(text)
        found = {}
        known = self._known.get
        # Most lines are plain, and a comprehension passes over them in less time than a loop.
        for line in [n for n, domain in enumerate(domains) if known(domain) is not PROCESSED]:
            outcome, whole = known(domains[line]), wholes[line]
            if outcome is None and whole is None:
                outcome = self._learn(domains[line])
            if outcome is None:
                outcome = self.check_one(text.split("\n")[line] if whole is None else whole)
            if outcome is not PROCESSED:
                found[line] = outcome
        return found

    def _learn(self, domain: str) -> Outcome | None:
        """Return the outcome of plain addresses with this domain, and cache it.

        Returns None if the outcome depends on the local part too.
        """
        syntax = of_domain(domain)
        if syntax is None:
            return None
        reason, _, ascii_domain = syntax
        outcome = _OUTCOMES[reason] if reason else self._of_domain(ascii_domain or "")
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._known[domain] = outcome
        return outcome

    def check_one(self, address: str) -> Outcome:
        """Return the outcome of an address without a DNS lookup."""
        reason, local, domain = parts(address)
        if reason is not None:
            return _OUTCOMES[reason]
        outcome = self._of_domain(domain)
        return _of_local(local) if outcome is PROCESSED else outcome

    def _judge_domain(self, domain: str) -> Outcome:
        if risks.meant(domain):
            return _OUTCOMES["likely_typo"]
        if is_disposable(domain, self._disposable):
            return _OUTCOMES["disposable"]
        return PROCESSED

    def judge(self, local: str, domain: str, found: str | None) -> Outcome:
        """Return the outcome of a well-formed address whose lookup found this reason, or None."""
        if found is not None and found not in UNKNOWN:
            return _OUTCOMES[found]
        outcome = self._of_domain(domain)
        if outcome is not PROCESSED:
            return outcome
        if found is not None:
            return _OUTCOMES[found]
        return _of_local(local)


def _of_local(local: str) -> Outcome:
    """Return the outcome by the local part alone."""
    if is_role(local):
        return _ROLE
    return _OUTCOMES["odd_characters"] if risks.is_odd(local) else PROCESSED


class _Ahead:
    """A run over addresses that looks up many domains while it waits for the first."""

    def __init__(self, check: Check, lookups: Lookups) -> None:
        self._check = check
        self._lookups = lookups
        # For each address taken and not yet yielded, the outcome, or the local part, the domain and
        # its lookup.
        self._queue: deque[Outcome | tuple[str, str, Lookup]] = deque()
        # The lookups that this run waits for; a lookup enters `_done` once when it is done.
        self._pending: set[Lookup] = set()
        self._done: SimpleQueue[Lookup] = SimpleQueue()

    def outcomes(self, addresses: Iterable[str]) -> Iterator[Outcome]:
        """Yield the outcomes in order; wait for each no longer than a lookup takes."""
        queue = self._queue
        for address in addresses:
            queue.append(self._look(address))
            while queue:
                if self._due():
                    yield self._take()
                elif len(queue) >= _MAX_AHEAD or self._lookups.busy:
                    self._wait()
                else:
                    break
        while queue:
            while not self._due():
                self._wait()
            yield self._take()

    def _look(self, address: str) -> Outcome | tuple[str, str, Lookup]:
        reason, local, domain = parts(address)
        if reason is not None:
            return _OUTCOMES[reason]
        known = self._lookups.cached(domain)
        if known is not None:
            return self._check.judge(local, domain, known.reason)
        lookup = self._lookups.begin(domain)
        if lookup not in self._pending:
            self._pending.add(lookup)
            lookup.add_done_callback(self._done.put)
        return local, domain, lookup

    def _due(self) -> bool:
        first = self._queue[0]
        return isinstance(first, Outcome) or first[2].done()

    def _take(self) -> Outcome:
        first = self._queue.popleft()
        if isinstance(first, Outcome):
            return first
        local, domain, lookup = first
        return self._check.judge(local, domain, lookup.result())

    def _wait(self) -> None:
        """Wait for any lookup of this run; there is one, since the first outcome depends on one."""
        self._pending.remove(self._done.get())


_plain = Check()


def check(addresses: Iterable[str]) -> Iterator[Outcome]:
    """Check addresses without lookups; needs no configuration."""
    return _plain(addresses)


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
    lookups = _lookups(options)
    return Check(own, lookups_off=lookups) if isinstance(lookups, str) else Check(own, lookups)


def _lookups(options: Mapping[str, Any]) -> Lookups | str:
    """Return Lookups, or why the DNS is not to be asked; log it, too."""
    if options["dns"] == "off":
        why = "[check] dns = off"
        logger.info("dns lookups are off", why=why)
        return why
    # Imported only when needed, because that takes a while.
    from processors.lookups import Lookups, LookupsError

    try:
        lookups = Lookups(
            options["nameservers"], options["timeout_seconds"], options["concurrency"]
        )
    except LookupsError as error:
        if options["dns"] == "on":
            raise ProcessorError(f"[check] dns is on, but {error}") from error
        logger.warning("dns lookups are off", why=error)
        return str(error)
    wrong = lookups.probe()
    if wrong and options["dns"] == "auto":
        lookups.close()
        logger.warning("dns lookups are off", nameservers=lookups.nameservers, why=wrong)
        return wrong
    state = {"nameservers": lookups.nameservers, "concurrency": lookups.concurrency}
    if wrong:
        logger.warning("dns lookups are on, although the resolver looks unfit", **state, why=wrong)
    else:
        logger.info("dns lookups are on", **state)
    return lookups
