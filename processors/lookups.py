"""Can a domain receive mail? Asked of the DNS, many domains at once, each once.

All queries are made by one daemon thread with an event loop, which is shared by all threads that
ask and which no stopping process waits for. An answer is remembered as long as its records say.
What the DNS doesn't answer, or not sensibly, is unknown; it never fails an address.
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

# Seconds that an answer is remembered: at least, so that a batch of one domain doesn't ask for
# each address; at most; if it is that there is nothing (RFC 2308, 5); if there was none.
MIN_TTL, MAX_TTL, MAX_NEGATIVE_TTL, UNKNOWN_TTL = 1.0, 86_400.0, 10_800.0, 60.0
# Domains that are remembered; at more, the oldest are forgotten, so many at once.
MAX_CACHED, FORGOTTEN = 200_000, 20_000
# The resolver counts as broken if of the last lookups, and of so many at least, this share failed.
# Then none are made for some seconds.
LAST, AT_LEAST, SHARE, PAUSE_SECONDS = 50, 20, 0.95, 30.0
# Attempts within the time of a lookup, because packets get lost; the probe's seconds.
ATTEMPTS, PROBE_SECONDS = 3, 2.0
# How long one waits for a place, in times of a lookup's seconds: all that have one are done then.
PATIENCE = 1.5
# Domains of which one at least can receive mail wherever the DNS is that of the world.
_SURELY = ("gmail.com", "outlook.com")

logger = logs.Logger("check")

# Comes to None when the domain can receive mail, or to the reason why not or why it's unknown.
Lookup = Future[str | None]


class LookupsError(Exception):
    """There is no nameserver to ask; a sentence says why."""


class Known(NamedTuple):
    """What came of a lookup, and until when (monotonic) that holds."""

    reason: str | None
    until: float


class _Heard:
    """A connected socket that counts the packets that come in."""

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
    """One that tells silence from nonsense.

    The library takes nonsense for a forger's packet and waits on for the true answer, and so it
    should; but when none comes, it was not silence.
    """

    async def async_query(self, request: Any, timeout: float, *rest: Any, **more: Any) -> Any:
        if more["max_size"]:
            return await super().async_query(request, timeout, *rest, **more)
        # Connected, so that a closed port is an error and not silence.
        where = (self.address, self.port)
        family = dns.inet.af_for_address(self.address)
        made = await more["backend"].make_socket(family, socket.SOCK_DGRAM, 0, None, where)
        async with made as connected:
            heard = _Heard(connected)
            try:
                return await dns.asyncquery.udp(
                    request,
                    self.address,
                    timeout,
                    self.port,
                    ignore_unexpected=True,
                    raise_on_truncation=True,
                    sock=heard,
                    ignore_errors=True,
                )
            except dns.exception.Timeout:
                if heard.packets:
                    raise dns.exception.FormError from None  # no good, ask another
                raise


def _nameserver(text: str) -> _Nameserver:
    """The one at an IP address, with a port as `address:port` or `[address]:port`."""
    try:
        return _Nameserver(str(ipaddress.ip_address(text)), 53)
    except ValueError:
        parts = urlsplit(f"//{text}")
        return _Nameserver(parts.hostname or "", parts.port or 53)


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Lookups:
    """Lookups, their cache, and the thread that makes them. Any thread may call the methods."""

    def __init__(self, nameservers: Sequence[str], seconds: float, concurrency: int) -> None:
        """`seconds` bounds all queries for one domain together; without `nameservers` the system's
        are asked. Raises LookupsError.
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
        # Guarded by the lock as far as it is written; the loop's thread takes lookups out.
        self._cache: dict[str, Known] = {}
        self._flying: dict[str, Lookup] = {}
        self._paused_until = 0.0
        # Used by the loop's thread alone: whether the last lookups failed.
        self._failures: deque[bool] = deque(maxlen=LAST)
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._outage = logs.Outage(f"nameserver {self.nameservers}", logger)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dns", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether none should be begun ahead of need: the last fifth of the places is for those
        that somebody waits for.
        """
        return len(self._flying) >= max(1, self.concurrency - self.concurrency // 5)

    def cached(self, domain: str) -> Known | None:
        """What is known of a domain, in lower-case ASCII, without asking."""
        known = self._cache.get(domain)
        return known if known is not None and known.until > time.monotonic() else None

    def begin(self, domain: str) -> Lookup:
        """Look the domain up, or join in a lookup of it that is under way.

        It is done within 2.5 times the seconds of a lookup, also when others take up all places.
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
        """What makes the resolver unfit; empty if it answers sensibly, and within a short time."""
        invented = self.begin(f"{secrets.token_hex(8)}.invalid")
        real = [self.begin(domain) for domain in _SURELY]
        done, _ = wait([invented, *real], PROBE_SECONDS)
        said = invented.result() if invented in done else "dns_timeout"
        if said in (None, "null_mx", "no_mail_server"):
            return "the resolver invents answers for names that cannot exist"
        if said != "no_such_domain":
            return f"the resolver doesn't answer ({said})"
        if not any(lookup in done and lookup.result() is None for lookup in real):
            return f"the resolver knows none of {', '.join(_SURELY)}"
        return ""

    def close(self) -> None:
        """End the thread; lookups under way come to `dns_timeout`. Only tests need to."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What follows runs in the loop's thread.

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which sockets are closed

    def _start(self, domain: str, lookup: Lookup) -> None:
        task = self._loop.create_task(self._look_up(domain, lookup))
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, domain: str, lookup: Lookup) -> None:
        # If there is no place in time, that says nothing of the domain, and isn't remembered.
        reason, seconds = "dns_timeout", 0.0
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
        self._cache.pop(domain, None)  # so that the order is that of age
        self._cache[domain] = known

    async def _ask(self, domain: str) -> tuple[str | None, float]:
        """What came of it, and for how many seconds that holds."""
        try:
            async with asyncio.timeout(self._seconds):
                reason, ttl = await self._query(domain)
        except (TimeoutError, dns.resolver.LifetimeTimeout):
            return "dns_timeout", UNKNOWN_TTL
        except Exception:  # of any kind, since what is parsed here comes from strangers
            return "dns_error", UNKNOWN_TTL
        most = MAX_NEGATIVE_TTL if reason in ("no_such_domain", "no_mail_server") else MAX_TTL
        return reason, min(max(ttl, MIN_TTL), most)

    async def _query(self, domain: str) -> tuple[str | None, float]:
        """RFC 5321, 5.1: the MX records, or else the domain itself is the mail server."""
        name = dns.name.from_text(domain)
        ttl = MAX_TTL
        try:
            for kind in (MX, A, AAAA):
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False)
                ttl = min(ttl, answer.chaining_result.minimum_ttl)
                if answer.rrset is not None:
                    null = kind == MX and all(mx.exchange == dns.name.root for mx in answer.rrset)
                    return ("null_mx" if null else None), ttl
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            ttls = (response.resolve_chaining().minimum_ttl for response in responses)
            return "no_such_domain", min(ttl, *ttls)
        return "no_mail_server", ttl

    def _note(self, reason: str | None) -> None:
        """Pause if nearly all of the last lookups failed; see when that is over."""
        if time.monotonic() < self._paused_until:
            return  # begun before, it says no more than the others did
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
                    f" failed. They pause for {PAUSE_SECONDS:g} seconds at a time, and domains"
                    " that are not known yet come out as unknown. See whether this machine"
                    " reaches the nameserver; [check] nameservers names others, dns = off asks"
                    " none."
                )
            )
            failures.clear()
