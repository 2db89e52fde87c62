"""Finds out which domains can receive mail, many at once, each once.

Results are cached as long as the records' TTLs allow. Without a sensible answer, a domain is
unknown, which never fails an address.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import dns.exception
import dns.resolver

from processors.computing import waiting
from processors.domains.cache import Cache
from processors.domains.exchange import Exchange
from processors.domains.nameserver import Nameserver
from processors.domains.receiving import UNKNOWN, Found, Lookup, MailServers, is_stale
from runtime import logs

# The most seconds for which a thread waits for its domains, and those between two looks. It may
# wait twice in one call of of_lines, and a worker that stops doesn't wait longer than that.
MOST_SECONDS, LOOK_SECONDS = 4.0, 0.02
# The most questions under way or waiting at which new ones are begun: 700 bytes each.
MOST_OPEN = 30_000
# The most domains in the cache.
MAX_CACHED = 1_000_000
# The results of a lookup: None if the domain takes mail, or why it doesn't, or why that is unknown.
RESULTS = (None, "null_mx", "no_mail_server", "no_such_domain", *UNKNOWN)
# What find() says of a domain that is still asked for, and of one while there is no nameserver.
LATE, PAUSED = "late", "dns_paused"
# Domains that are best looked up by one call: at first and at least, at most; the seconds for it.
# With four threads, more than 2,000 bring no more domains a second, and 5,000 would take 5 MB more.
LEAST_AT_ONCE, MOST_AT_ONCE, AT_ONCE_SECONDS = 50, 2_000, 0.5
# The most seconds of a probe, if its first answers are late.
PROBE_SECONDS = 3.0
# On the public DNS, at least one of these domains can receive mail.
WELL_KNOWN = ("gmail.com", "outlook.com")

logger = logs.Logger("check")


class LookupsError(Exception):
    """There is no nameserver, or it looks broken; the message says why."""


class Group:
    """Domains that a thread waits for.

    `asked` is the number of the last question about them; None while they have not been asked.
    `newest` is when the last answer came (monotonic).
    """

    def __init__(self, count: int) -> None:
        """`count` is the number of domains."""
        self.found: dict[str, Found] = {}
        self.complete = threading.Event()
        self.asked: int | None = None
        self.newest = time.monotonic()
        self._count = count

    def add(self, domain: str, found: Found) -> None:
        """Add what was found of a domain."""
        self.found[domain] = found
        self.newest = time.monotonic()
        if len(self.found) == self._count:
            self.complete.set()


class Lookups:
    """Looks domains up, and remembers them. Any thread may call the public methods."""

    def __init__(self, nameservers: Sequence[str], seconds: float, concurrency: int) -> None:
        """Start the thread. Raises LookupsError if the system names no nameserver.

        `nameservers` are IP addresses, with a port or without; if empty, the system's are used.
        `seconds` limits how long one question is asked.
        `concurrency` is the most questions under way at once, for each nameserver.
        """
        try:
            texts = nameservers or map(str, dns.resolver.Resolver().nameservers)
            servers = [Nameserver.parse(text, concurrency) for text in texts]
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise LookupsError(f"the system names no nameserver: {error}") from error
        self.nameservers = ",".join(map(str, servers))
        self.concurrency = concurrency
        self._outage = logs.Outage(f"nameserver {self.nameservers}", logger)
        self.exchange = Exchange(servers, seconds, self._log_outage)
        self._cache = Cache(RESULTS, MAX_CACHED)
        # Only the exchange's thread changes the rest: what is known of mail servers; for each
        # domain that is looked up, the groups that wait for it; and those of these domains that a
        # group has given up waiting for.
        self.mail_servers = MailServers(self.exchange)
        self._waiting: dict[str, list[Group]] = {}
        self._late: set[str] = set()

    def known(self, domains: Iterable[str]) -> dict[str, Found | None]:
        """Return what is cached of each domain, in lower-case ASCII; None if nothing is."""
        now, get = time.monotonic(), self._cache.get
        return {domain: get(domain, now) for domain in domains}

    def find(
        self,
        domains: Collection[str],
        known: Mapping[str, Found | None] = MappingProxyType({}),
        before_long_wait: Callable[[], None] = lambda: None,
    ) -> Mapping[str, Found]:
        """Return for each domain, in lower-case ASCII, what was found of it.

        The result is one of RESULTS; or LATE for a domain whose answer is later than those of the
        others, which is asked for on, for whoever wants it next; or PAUSED while there is no
        nameserver. LATE and PAUSED are valid until now.
        `known` is what known() has just returned for some of the domains, and perhaps for others.
        `before_long_wait` is called before this thread waits for more than `at_once` domains.
        """
        now = time.monotonic()
        get = self._cache.get
        cached = {each: known[each] if each in known else get(each, now) for each in domains}
        missing = [domain for domain, each in cached.items() if each is None or is_stale(each, now)]
        late: Found = (PAUSED if self.exchange.away else LATE, now)
        found = {domain: each or late for domain, each in cached.items()}
        return {**found, **self._find_now(missing, before_long_wait)} if missing else found

    def _find_now(
        self, domains: list[str], before_long_wait: Callable[[], None]
    ) -> Mapping[str, Found]:
        """Look the domains up, and return what is found of them in good time.

        A domain that was late before and is still looked up is late again: nobody waits for it.
        """
        wanted = [domain for domain in domains if domain not in self._late]
        if not wanted:
            return {}
        if len(wanted) > self.at_once:
            before_long_wait()
        group = Group(len(wanted))
        with waiting():
            self._wait_for(group, wanted)
        found = group.found.copy()  # the exchange's thread may still add to it
        if len(found) < len(wanted):
            late = [domain for domain in wanted if domain not in found]
            self.exchange.run(lambda: self._late.update(self._waiting.keys() & late))
        return found

    def _wait_for(self, group: Group, domains: list[str]) -> None:
        """Look the domains up, and wait until all that answer in good time have done so.

        They have once all questions are sent and no answer has come for exchange.good_time.
        """
        exchange = self.exchange
        deadline = time.monotonic() + MOST_SECONDS
        while exchange.open >= MOST_OPEN:
            if time.monotonic() > deadline:
                return
            time.sleep(LOOK_SECONDS)
        exchange.run(lambda: self._begin(domains, group))
        all_sent: float | None = None
        while not group.complete.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now > deadline:
                return
            if all_sent is None:
                if group.asked is not None and exchange.sent >= group.asked:
                    all_sent = now
            elif now - max(all_sent, group.newest) > exchange.good_time:
                return

    @property
    def outage(self) -> str:
        """A sentence while no nameserver answers; empty otherwise."""
        if not self.exchange.is_outage:
            return ""
        waiting = "so addresses whose domains aren't known wait until one does"
        return f"No nameserver answers ({self.nameservers}), {waiting}."

    @property
    def at_once(self) -> int:
        """How many domains are best looked up by one call: as many as take half a second."""
        half = int(self.exchange.capacity * AT_ONCE_SECONDS)
        return min(max(half, LEAST_AT_ONCE), MOST_AT_ONCE)

    def probe(self) -> str:
        """Return a sentence on what is wrong with the resolver; empty if it answers sensibly."""
        invented = f"{secrets.token_hex(8)}.invalid"
        deadline = time.monotonic() + PROBE_SECONDS
        while True:
            found = self.find([invented, *WELL_KNOWN])
            is_complete = not any(result in (LATE, PAUSED) for result, _ in found.values())
            if is_complete or time.monotonic() >= deadline:
                break
            time.sleep(LOOK_SECONDS)
        reason, _ = found[invented]
        if reason in (None, "null_mx", "no_mail_server"):
            return "the resolver invents answers for names that cannot exist"
        if reason == "dns_error":
            return "the resolver answers only with errors, such as REFUSED or SERVFAIL"
        if reason != "no_such_domain":
            return "the resolver doesn't answer in time"
        if not any(found[domain][0] is None for domain in WELL_KNOWN):
            return f"the resolver knows none of {', '.join(WELL_KNOWN)}"
        return ""

    def close(self) -> None:
        """End the thread. Lookups under way are not found."""
        self.exchange.close()
        for groups in self._waiting.values():
            for group in groups:
                group.complete.set()

    # The methods below run in the exchange's thread.

    def _log_outage(self, away: bool) -> None:
        if not away:
            self._outage.end()
            return
        self._outage.begin(
            LookupsError(
                "no answer. Until there is one, addresses whose domains are not cached wait. See"
                " whether this machine reaches the nameserver, or set another in [check]"
                " nameservers. [check] dns = off turns lookups off."
            )
        )

    def _begin(self, domains: list[str], group: Group | None = None) -> None:
        """Look up the domains that aren't looked up already; the group waits for all of them."""
        groups = [] if group is None else [group]
        waiting, tell = self._waiting, self._tell
        for domain in domains:
            if domain in waiting:
                waiting[domain] += groups
            else:
                waiting[domain] = groups.copy()
                Lookup(self.mail_servers, domain, tell).begin()
        if group is not None:
            group.asked = self.exchange.asked

    def _tell(self, domain: str, result: str | None, seconds: float) -> None:
        """Store the result of a domain, and tell it to all who wait."""
        until = time.monotonic() + seconds
        self._cache.put(domain, result, until)
        self._late.discard(domain)
        found = result, until
        for group in self._waiting.pop(domain):
            group.add(domain, found)
