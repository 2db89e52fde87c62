"""Unusual DNS messages: read answers by the dnspython package, whatever they are.

The package follows CNAME records within an answer, and understands everything else that wire.py
leaves to it. It is slow, but few answers are unusual.
"""

from __future__ import annotations

import socket

import dns.exception
import dns.message
import dns.name
import dns.query
from dns.rcode import NOERROR, NXDOMAIN
from dns.rdatatype import AAAA, MX, RdataType
from dns.rrset import RRset

from processors.domains.wire import (
    ERROR,
    FOUND,
    MALFORMED,
    NO_DATA,
    NO_DOMAIN,
    TRUNCATED,
    Answer,
)


def judge(message: bytes, name: str, kind: int) -> Answer:
    """Return what a message by UDP says to the question for records of a kind: A, AAAA or MX."""
    query = dns.message.make_query(dns.name.from_text(name), RdataType(kind))
    truncated = False
    try:
        try:
            response = dns.message.from_wire(message, raise_on_truncation=True)
        except dns.message.Truncated as error:
            truncated, response = True, error.kwargs["message"]
        query.id = response.id
        if not query.is_response(response):
            return Answer(MALFORMED)
    except Exception:  # of any kind, because the library parses packets from strangers
        return Answer(MALFORMED)
    return Answer(TRUNCATED) if truncated else _conclusion(response)


def _conclusion(response: dns.message.Message) -> Answer:
    rcode = response.rcode()
    error = Answer(ERROR, rcode=int(rcode))
    if rcode not in (NOERROR, NXDOMAIN):
        return error
    try:
        chain = response.resolve_chaining()  # type: ignore[attr-defined]
    except Exception:  # such as an endless chain, or an answer for a name that doesn't exist
        return error
    if rcode == NXDOMAIN:
        return Answer(NO_DOMAIN, ttl=chain.minimum_ttl)
    if chain.answer is None:
        return Answer(NO_DATA, ttl=chain.minimum_ttl)
    return Answer(FOUND, _values(chain.answer), chain.minimum_ttl)


def _values(records: RRset) -> tuple[str, ...]:
    if records.rdtype == MX:
        in_order = sorted(records, key=lambda record: record.preference)
        hosts = (record.exchange.to_text(omit_final_dot=True).lower() for record in in_order)
        return tuple(dict.fromkeys(host.removeprefix(".") for host in hosts))
    family = socket.AF_INET6 if records.rdtype == AAAA else socket.AF_INET
    # As the system writes it, because there are several ways to write an IPv6 address.
    packed = (socket.inet_pton(family, record.address) for record in records)
    return tuple(dict.fromkeys(socket.inet_ntop(family, each) for each in packed))


def by_tcp(name: str, kind: int, address: str, port: int, seconds: float) -> Answer | None:
    """Ask a nameserver by TCP, and return its answer; None if none comes in time.

    No such answer is truncated, even if it says so.
    """
    try:
        query = dns.message.make_query(dns.name.from_text(name), RdataType(kind))
        response = dns.query.tcp(query, address, seconds, port)
    except dns.exception.Timeout:
        return None
    except Exception:  # of any kind, because the library parses packets from strangers
        return Answer(MALFORMED)
    return _conclusion(response)
