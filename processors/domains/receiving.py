"""Finds out whether one domain can receive mail; each answer leads to the next question.

It can if one of its mail servers has an address, or if it has no mail server but an address of its
own (RFC 5321, 5.1). All but is_stale() runs in the exchange's thread.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable

from processors.domains.exchange import Exchange
from processors.domains.wire import AAAA, FOUND, MX, NO_DATA, NO_DOMAIN, A, Answer

# Seconds for which a result is cached: at least, so that a batch with a single domain doesn't ask
# for each address; at most; at most for a negative answer (RFC 2308, 5); without an answer.
MIN_TTL, MAX_TTL, MAX_NEGATIVE_TTL, UNKNOWN_TTL = 1.0, 86_400.0, 10_800.0, 600.0
# Seconds after which a domain without a sensible answer is asked again, if it is wanted.
ASK_AGAIN_SECONDS = 4.0
# The most mail servers of a domain that are asked for. Few domains have more than ten, and a
# hostile one may have thousands.
MOST_SERVERS = 20
# The most mail servers that are remembered: those that serve many domains are soon there again.
MAX_SERVERS = 1 << 15
# The results of a domain without a sensible answer.
UNKNOWN = ("dns_timeout", "dns_error")
# A host's name of several labels (RFC 1035, 2.3.4). Another can't be looked up.
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}")

# What was found: None if mail can be received, or why not, or why that is unknown; and until when
# (monotonic) it is valid.
Found = tuple[str | None, float]
# Called with the result of a name and the seconds for which it is valid.
Done = Callable[[str | None, float], None]
# The same, with the name first.
Tell = Callable[[str, str | None, float], None]


def is_stale(found: Found, now: float) -> bool:
    """Return whether a domain without a sensible answer is to be asked again."""
    result, until = found
    return result in UNKNOWN and until - now < UNKNOWN_TTL - ASK_AGAIN_SECONDS


def _is_nowhere(address: str) -> bool:
    """Return whether an IP address is that of the sender's own machine: no mail gets anywhere.

    Domains that are parked, or blocked by the resolver, have such addresses.
    """
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return bool(found.is_loopback or found.is_unspecified)


def _is_host(name: str) -> bool:
    """Return whether mail can be sent to a server of this name.

    It can't be to an IP address, whose last part is a number, nor to the sender's own machine.
    """
    last = name.rpartition(".")[2]
    is_name = _NAME.fullmatch(name) is not None
    return is_name and not last.isdigit() and last not in ("localhost", "localdomain")


def _seconds(answer: Answer) -> float:
    """Return for how long an answer is valid that found something, or that there is nothing."""
    most = MAX_TTL if answer.result == FOUND else MAX_NEGATIVE_TTL
    return min(max(answer.ttl, MIN_TTL), most)


def _unknown(answer: Answer) -> str:
    """Return the result of a question without a sensible answer."""
    return answer.result if answer.result in UNKNOWN else "dns_error"


def find_address(exchange: Exchange, name: str, done: Done) -> None:
    """Find out whether a name has an address where mail can be sent, and call `done`.

    It is asked for its IPv6 addresses only if it has no such IPv4 address.
    """

    def take(answer: Answer, kind: int = A, most: float = MAX_TTL) -> None:
        seconds = min(most, _seconds(answer))
        if answer.result == FOUND and not all(map(_is_nowhere, answer.values)):
            done(None, seconds)
        elif answer.result == NO_DOMAIN:
            done("no_such_domain", seconds)
        elif answer.result not in (FOUND, NO_DATA):
            done(_unknown(answer), UNKNOWN_TTL)
        elif kind == A:
            # What both answers say together is valid as long as each of them is.
            exchange.ask(name, AAAA, lambda other: take(other, AAAA, seconds), first=True)
        else:
            done("no_mail_server", seconds)

    exchange.ask(name, A, take, first=True)


class MailServers:
    """What was found of mail servers, and who waits for those that are looked up."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.found: dict[str, Found] = {}
        self._waiting: dict[str, list[Done]] = {}

    def find(self, host: str, done: Done) -> None:
        """Find out whether a mail server has an address, and call `done`."""
        waiting = self._waiting.setdefault(host, [])
        waiting.append(done)
        if len(waiting) == 1:
            find_address(self.exchange, host, lambda *found: self._tell(host, *found))

    def _tell(self, host: str, result: str | None, seconds: float) -> None:
        """Store the result of a mail server, and tell it to all who wait."""
        if len(self.found) >= MAX_SERVERS:
            self.found.clear()
        kept = ASK_AGAIN_SECONDS if result in UNKNOWN else seconds
        self.found[host] = result, time.monotonic() + kept
        for done in self._waiting.pop(host):
            done(result, seconds)


class Lookup:
    """The lookup of one domain.

    `_hosts` are the mail servers that are still to be looked up.
    `_seconds` is for how long all that was found so far is valid.
    `_unknown` is the reason why one of the mail servers is unknown.
    """

    __slots__ = ("_hosts", "_name", "_seconds", "_servers", "_tell", "_unknown")

    def __init__(self, servers: MailServers, name: str, tell: Tell) -> None:
        self._servers = servers
        self._name = name
        self._tell = tell  # the same for all domains: many are looked up at once

    def begin(self) -> None:
        """Ask for the domain's mail servers; `tell` is called at the end."""
        self._servers.exchange.ask(self._name, MX, self._take_mail_servers)

    def _take_mail_servers(self, answer: Answer) -> None:
        """Take the answer to the question for MX records; ask for what depends on it."""
        if answer.result == FOUND:
            self._seconds = _seconds(answer)
            known = self._servers.found
            hosts = [host for host in answer.values if host in known or _is_host(host)]
            self._hosts = hosts[:MOST_SERVERS]
            # One of those that aren't asked for may have an address.
            self._unknown = "dns_error" if len(hosts) > MOST_SERVERS else None
            if self._hosts:
                self._next_host()
            else:
                self._done("no_mail_server" if any(answer.values) else "null_mx", self._seconds)
        elif answer.result == NO_DATA:
            find_address(self._servers.exchange, self._name, self._done)
        elif answer.result == NO_DOMAIN:
            self._done("no_such_domain", _seconds(answer))
        else:
            self._done(_unknown(answer), UNKNOWN_TTL)

    def _done(self, result: str | None, seconds: float) -> None:
        self._tell(self._name, result, seconds)

    def _next_host(self) -> None:
        host, now = self._hosts.pop(0), time.monotonic()
        result, until = self._servers.found.get(host, (None, now))
        if until > now:
            self._take_host(result, until - now)
        else:
            self._servers.find(host, self._take_host)

    def _take_host(self, result: str | None, seconds: float) -> None:
        """Take what was found of a mail server: one with an address is enough."""
        self._seconds = min(self._seconds, seconds)
        if result is None:
            self._done(None, self._seconds)
            return
        if result in UNKNOWN:
            self._unknown = result
        if self._hosts:
            self._next_host()
        elif self._unknown:
            self._done(self._unknown, UNKNOWN_TTL)
        else:
            self._done("no_mail_server", self._seconds)
