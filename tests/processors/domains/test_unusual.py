"""What the dnspython package says of answers, compared with what its resolver makes of them."""

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.resolver
import pytest
from dns.rdatatype import CNAME, RdataType
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import dns_messages
from harness.dns_messages import NXDOMAIN, QR, SERVFAIL, STATUS, TC, Record, message, soa
from processors.domains.unusual import by_tcp, judge
from processors.domains.wire import (
    AAAA,
    ERROR,
    FOUND,
    MALFORMED,
    MX,
    NO_DATA,
    NO_DOMAIN,
    TRUNCATED,
    A,
    Answer,
)

NAME = "example.net"
OWNER, OTHER = dns.name.from_text(NAME), dns.name.from_text("other.example.org")
ALIAS = Record(OWNER, CNAME, "other.example.org.", 60)
MAIL = Record(OTHER, MX, r"10 Mail\.1.example.org.", 99)
ENDLESS = [
    Record(dns.name.from_text(f"{number}.example.net"), CNAME, f"{number + 1}.example.net.")
    for number in range(17)
]
CASES = {
    "an alias": (MX, [[ALIAS, MAIL]], Answer(FOUND, (r"mail\.1.example.org",), 60)),
    "an alias alone": (MX, [[ALIAS], [soa(OTHER)]], Answer(NO_DATA, (), 60)),
    "an alias of nothing": (A, [[ALIAS], [soa(OTHER)], NXDOMAIN], Answer(NO_DOMAIN, (), 60)),
    "records of others": (MX, [[MAIL], [soa(OTHER)]], Answer(NO_DATA, (), 300)),
    "the root": (MX, [[Record(OWNER, MX, "0 .")]], Answer(FOUND, ("",), 300)),
    "addresses": (
        AAAA,
        [[Record(OWNER, AAAA, "2001:db8:0:0::1"), Record(OWNER, AAAA, "2001:0db8::1")]],
        Answer(FOUND, ("2001:db8::1",), 300),
    ),
    "no domain without a zone": (MX, [[], NXDOMAIN], Answer(NO_DOMAIN, (), 300)),
    "a domain and none": (MX, [[Record(OWNER, MX, "0 .")], NXDOMAIN], Answer(ERROR, rcode=3)),
    "an alias of itself": (MX, [[Record(OWNER, CNAME, f"{NAME}.")]], Answer(ERROR)),
    "an error": (MX, [[], SERVFAIL], Answer(ERROR, rcode=2)),
    "truncated": (MX, [[], TC], Answer(TRUNCATED)),
    "a status": (MX, [[], STATUS], Answer(MALFORMED)),
}


@pytest.mark.parametrize(("kind", "parts", "expected"), CASES.values(), ids=CASES)
def test_answers_are_understood(kind, parts, expected):
    *sections, flags = parts if isinstance(parts[-1], int) else [*parts, 0]
    assert judge(message(NAME, kind, *sections, flags=QR | flags), NAME, kind) == expected


def test_an_endless_chain_is_an_error():
    assert judge(message("0.example.net", MX, ENDLESS), "0.example.net", MX) == Answer(ERROR)


@pytest.mark.parametrize(
    "received",
    [b"", b"\xff" * 7, message("example.org", MX), message(NAME, A), message(NAME, MX, flags=0)],
)
def test_what_is_no_answer_to_the_question_is_malformed(received):
    assert judge(received, NAME, MX) == Answer(MALFORMED)


def test_the_letters_of_the_question_do_not_matter():
    received = message("Example.NET", MX, [Record(OWNER, MX, "0 .")])
    assert judge(received, NAME, MX) == Answer(FOUND, ("",), 300)


def test_a_truncated_answer_may_lack_its_end():
    received = message(NAME, MX, [Record(OWNER, MX, "0 .")], flags=QR | TC)
    assert judge(received, NAME, MX) == Answer(TRUNCATED)
    assert judge(received[:-20], NAME, MX) == Answer(TRUNCATED)


def test_by_tcp_no_answer_is_truncated(nameserver):
    nameserver.mx(NAME)
    nameserver.lie(NAME, "truncated")
    answer = by_tcp(NAME, MX, "127.0.0.1", nameserver.port, 30.0)
    assert answer == Answer(FOUND, (f"mx.{NAME}",), 300)


class Saying(dns.nameserver.Do53Nameserver):
    """A nameserver that always gives the same answer, and by TCP none."""

    def __init__(self, received):
        super().__init__("192.0.2.1")
        self._received = received

    def query(self, request, timeout, source, source_port, max_size, *rest, **more):
        if max_size:
            raise EOFError
        response = dns.message.from_wire(self._received, raise_on_truncation=True)
        request.id = response.id
        if not request.is_response(response):
            raise dns.exception.FormError
        return response


def resolved(received, name, kind):
    """Return what the resolver finds: result, or None for an error; TTL; number of values."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [Saying(received)]
    try:
        answer = resolver.resolve(f"{name}.", RdataType(kind), raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN as error:
        (response,) = error.kwargs["responses"].values()
        return NO_DOMAIN, response.resolve_chaining().minimum_ttl, 0
    except dns.exception.DNSException:
        return None, 0, 0
    result = NO_DATA if answer.rrset is None else FOUND
    return result, answer.chaining_result.minimum_ttl, len({*map(str.lower, map(str, answer))})


@settings(max_examples=300)
@given(st.one_of(dns_messages.plain(), dns_messages.unusual()))
def test_agrees_with_the_resolver_of_the_package(made):
    result, ttl, count = resolved(*made)
    judged = judge(*made)
    if result is None:
        assert judged.result in (ERROR, MALFORMED, TRUNCATED)
    else:
        assert (judged.result, judged.ttl) == (result, ttl)
        assert bool(judged.values) == bool(count)
        assert len(judged.values) <= count
