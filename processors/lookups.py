"""DNS lookups: find out whether domains can receive mail, many domains at once, each once.

One daemon thread with an event loop makes all queries for all threads of the process. Results are
cached as long as the records' TTLs allow. Without a sensible answer, a domain is unknown, which
never fails an address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.inet
import dns.name
import dns.nameserver
import dns.resolver
from dns.rdatatype import AAAA, MX, A

from runtime import logs

# Seconds for which a result is cached: at least, so that a batch with a single domain doesn't ask
# for each address; at most; at most for a negative answer (RFC 2308, 5); without an answer.
MIN_TTL, MAX_TTL, MAX_NEGATIVE_TTL, UNKNOWN_TTL = 1.0, 86_400.0, 10_800.0, 60.0
# The most domains in the cache; when it is full, so many of the oldest are dropped.
MAX_CACHED, FORGOTTEN = 200_000, 20_000
# The resolver counts as broken if this SHARE of the LAST lookups failed, or of those made so far if
# there are AT_LEAST so many. Lookups then pause.
LAST, AT_LEAST, SHARE, PAUSE_SECONDS = 50, 20, 0.95, 30.0
# Attempts within one lookup's time, because packets get lost; the limit of the probe in seconds.
ATTEMPTS, PROBE_SECONDS = 3, 2.0
# The longest wait for a slot, as a multiple of a lookup's time: all lookups with a slot end sooner.
PATIENCE = 1.5
# On the public DNS, at least one of these domains can receive mail.
_SURELY = ("gmail.com", "outlook.com")

logger = logs.Logger("check")

# The result is None if the domain can receive mail, otherwise a reason: why it can't, or why that
# is unknown.
Lookup = Future[str | None]


class LookupsError(Exception):
    """There is no nameserver, or it looks broken; the message says why."""


class Known(NamedTuple):
    """A lookup's result, which is valid `until` a time (monotonic)."""

    reason: str | None
    until: float


class _CountingSocket:
    """A connected socket that counts the packets received."""

    def __init__(self, socket: Any) -> None:
        self.family = socket.family
        self._socket = socket
        self.packets = 0

    async def sendto(self, what: Any, destination: Any, timeout: float | None) -> int:
        sent: int = await self._socket.sendto(what, None, timeout)
        return sent

    async def recvfrom(self, size: int, timeout: float | None) -> Any:
        packet = await self._socket.recvfrom(size, timeout)
        self.packets += 1
        return packet


class _Nameserver(dns.nameserver.Do53Nameserver):
    """A nameserver for which malformed answers are an error, not a timeout.

    The library rightly takes a malformed answer for a forgery and keeps waiting for the true one.
    But if none comes, the nameserver was not silent.
    """

    async def async_query(self, request: Any, timeout: float, *rest: Any, **more: Any) -> Any:
        if more["max_size"]:
            return await super().async_query(request, timeout, *rest, **more)
        # Connected, so that a closed port is an error and not silence.
        where = (self.address, self.port)
        family = dns.inet.af_for_address(self.address)
        made = await more["backend"].make_socket(family, socket.SOCK_DGRAM, 0, None, where)
        async with made as connected:
            counting = _CountingSocket(connected)
            try:
                return await dns.asyncquery.udp(
                    request,
                    self.address,
                    timeout,
                    self.port,
                    ignore_unexpected=True,
                    raise_on_truncation=True,
                    sock=counting,
                    ignore_errors=True,
                )
            except dns.exception.Timeout:
                if counting.packets:
                    raise dns.exception.FormError from None  # the library asks the next nameserver
                raise


def _nameserver(text: str) -> _Nameserver:
    """Return the nameserver at `address`, `address:port` or `[address]:port`."""
    try:
        return _Nameserver(str(ipaddress.ip_address(text)), 53)
    except ValueError:
        parts = urlsplit(f"//{text}")
        return _Nameserver(parts.hostname or "", parts.port or 53)


def _host(record: Any) -> str:
    """Return the name or address that an MX, A or AAAA record gives; empty for a Null MX."""
    if record.rdtype == MX:
        name: str = record.exchange.to_text(omit_final_dot=True).lower()
        return name.removeprefix(".")
    return str(record.address)


def _is_nowhere(host: str) -> bool:
    """Return whether no mail can be sent to the host: it is nothing, or the sender's own machine.

    Domains that are parked, or blocked by the resolver, have such addresses.
    """
    try:
        address: Any = ipaddress.ip_address(host)
    except ValueError:
        return host in ("", "localhost", "localhost.localdomain") or host.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return bool(address.is_loopback or address.is_unspecified)


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Lookups:
    """DNS lookups, their cache, and the thread that makes them. Any thread may call the methods."""

    def __init__(self, nameservers: Sequence[str], seconds: float, concurrency: int) -> None:
        """Start the thread. Raises LookupsError if the system names no nameserver.

        `nameservers` are IP addresses, with a port or without; if empty, the system's are used.
        `seconds` limits all queries for one domain together.
        `concurrency` is the most domains looked up at once.
        """
        self.concurrency = concurrency
        self._seconds = seconds
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        try:
            texts = nameservers or map(str, dns.resolver.Resolver().nameservers)
            asked = [_nameserver(text) for text in texts]
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise LookupsError(f"the system names no nameserver: {error}") from error
        self._resolver.nameservers = asked
        self._resolver.timeout = seconds / ATTEMPTS
        self._resolver.lifetime = seconds
        self.nameservers = ",".join(_text(one.address, one.port) for one in asked)
        self._lock = threading.Lock()
        # Written under the lock only. `_flying` has the lookups under way, which the loop's thread
        # removes.
        self._cache: dict[str, Known] = {}
        self._flying: dict[str, Lookup] = {}
        self._paused_until = 0.0
        # The rest belongs to the loop's thread. `_failures` has for each recent lookup whether it
        # failed.
        self._failures: deque[bool] = deque(maxlen=LAST)
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._outage = logs.Outage(f"nameserver {self.nameservers}", logger)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dns", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """True if no lookup should be begun ahead of need.

        The last fifth of the slots is kept for lookups that somebody is waiting for.
        """
        return len(self._flying) >= max(1, self.concurrency - self.concurrency // 5)

    def cached(self, domain: str) -> Known | None:
        """Return the cached result for a domain in lower-case ASCII; None if there is none."""
        known = self._cache.get(domain)
        return known if known is not None and known.until > time.monotonic() else None

    def begin(self, domain: str) -> Lookup:
        """Begin a lookup of the domain, or join the lookup of it that is under way.

        The lookup is done within 2.5 times its limit, even if all slots are taken.
        """
        lookup = Lookup()
        with self._lock:
            if domain in self._flying:
                return self._flying[domain]
            known = self.cached(domain)
            if known is not None:
                lookup.set_result(known.reason)
                return lookup
            if time.monotonic() < self._paused_until:
                lookup.set_result("dns_paused")
                return lookup
            self._flying[domain] = lookup
        self._loop.call_soon_threadsafe(self._start, domain, lookup)
        return lookup

    def probe(self) -> str:
        """Return a sentence on what is wrong with the resolver; empty if it answers sensibly."""
        invented = self.begin(f"{secrets.token_hex(8)}.invalid")
        real = [self.begin(domain) for domain in _SURELY]
        done, _ = wait([invented, *real], PROBE_SECONDS)
        reason = invented.result() if invented in done else "dns_timeout"
        if reason in (None, "null_mx", "no_mail_server"):
            return "the resolver invents answers for names that cannot exist"
        if reason != "no_such_domain":
            return f"the resolver doesn't answer ({reason})"
        if not any(lookup in done and lookup.result() is None for lookup in real):
            return f"the resolver knows none of {', '.join(_SURELY)}"
        return ""

    def close(self) -> None:
        """End the thread. Lookups under way get `dns_timeout`."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # The methods below run in the loop's thread.

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closes the sockets

    def _start(self, domain: str, lookup: Lookup) -> None:
        task = self._loop.create_task(self._look_up(domain, lookup))
        self._tasks.add(task)  # the loop itself holds weak references only
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, domain: str, lookup: Lookup) -> None:
        # If no slot is free in time, that says nothing about the domain and isn't cached.
        reason = "dns_timeout"
        known: Known | None = None
        try:
            await asyncio.wait_for(self._slots.acquire(), PATIENCE * self._seconds)
            try:
                if time.monotonic() < self._paused_until:
                    reason = "dns_paused"
                else:
                    found, seconds = await self._ask(domain)
                    known = Known(found, time.monotonic() + seconds)
                    self._note(found)
            finally:
                self._slots.release()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if known is not None:
                    self._remember(domain, known)
                del self._flying[domain]
            lookup.set_result(reason if known is None else known.reason)

    def _remember(self, domain: str, known: Known) -> None:
        if len(self._cache) >= MAX_CACHED:
            for old in list(islice(self._cache, FORGOTTEN)):
                del self._cache[old]
        self._cache.pop(domain, None)  # keeps the cache in the order of age
        self._cache[domain] = known

    async def _ask(self, domain: str) -> tuple[str | None, float]:
        """Return the reason, or None, and for how many seconds it is valid."""
        try:
            async with asyncio.timeout(self._seconds):
                reason, ttl = await self._query(domain)
        except (TimeoutError, dns.resolver.LifetimeTimeout):
            return "dns_timeout", UNKNOWN_TTL
        except Exception:  # of any kind, because the library parses packets from strangers
            return "dns_error", UNKNOWN_TTL
        most = MAX_NEGATIVE_TTL if reason in ("no_such_domain", "no_mail_server") else MAX_TTL
        return reason, min(max(ttl, MIN_TTL), most)

    async def _query(self, domain: str) -> tuple[str | None, float]:
        """Query the MX records, or else the domain's own addresses (RFC 5321, 5.1)."""
        name = dns.name.from_text(domain)
        ttl = MAX_TTL
        try:
            for kind in (MX, A, AAAA):
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False)
                ttl = min(ttl, answer.chaining_result.minimum_ttl)
                if answer.rrset is None:
                    continue
                hosts = [_host(record) for record in answer.rrset]
                if not all(map(_is_nowhere, hosts)):
                    return None, ttl
                if kind == MX:  # which counts alone, whatever the domain's own addresses are
                    return ("null_mx" if not any(hosts) else "no_mail_server"), ttl
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            ttls = (response.resolve_chaining().minimum_ttl for response in responses)
            return "no_such_domain", min(ttl, *ttls)
        return "no_mail_server", ttl

    def _note(self, reason: str | None) -> None:
        """Note a result; pause if nearly all of the last lookups failed, and log the recovery."""
        if time.monotonic() < self._paused_until:
            return  # begun before the pause
        failures = self._failures
        failures.append(reason in ("dns_timeout", "dns_error"))
        failed = sum(failures)
        if self._outage.lasting and 2 * failed < len(failures):
            self._outage.end()
        if len(failures) >= AT_LEAST and failed >= SHARE * len(failures):
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._outage.begin(
                LookupsError(
                    f"the resolver looks broken: {failed} of the last {len(failures)} lookups"
                    f" failed. Lookups pause for {PAUSE_SECONDS:g} seconds at a time; meanwhile"
                    " domains that are not cached are unknown. See whether this machine reaches"
                    " the nameserver, or set another in [check] nameservers. [check] dns = off"
                    " turns lookups off."
                )
            )
            failures.clear()
