"""The quick way of reading answers and the dnspython package must always agree."""

import struct
import time
import tracemalloc

import dns.message
import dns.name
import pytest
from dns.rdataclass import CH
from dns.rdatatype import CNAME, DNAME, NS, TXT
from hypothesis import given, settings

from harness import dns_messages, nsd
from harness.dns_messages import (
    EXPLANATION,
    NXDOMAIN,
    QR,
    REFUSED,
    STATUS,
    Record,
    Z,
    message,
    name_of,
    opt,
    soa,
)
from processors.domains import wire
from processors.domains.unusual import judge
from processors.domains.wire import (
    AAAA,
    ERROR,
    FOUND,
    MX,
    NO_DATA,
    NO_DOMAIN,
    TRUNCATED,
    UNUSUAL,
    A,
    Answer,
)

NAME = "example.net"
OWNER = dns.name.from_text(NAME)
OTHER = dns.name.from_text("example.org")
MAIL = Record(OWNER, MX, "10 mail.example.net.")


def read(received, name=NAME, kind=MX):
    return wire.read(received, wire.query(name, kind, b"\0\7")[wire.QUESTION])


def assert_agree(received, name=NAME, kind=MX):
    answer, judged = read(received, name, kind), judge(received, name, kind)
    assert judged.result != UNUSUAL
    assert answer in (judged, Answer(UNUSUAL))
    return answer


@pytest.mark.parametrize("kind", [MX, A, AAAA])
@pytest.mark.parametrize("name", [NAME, "de", "xn--mller-kva.de", ".".join(["a" * 61] * 4)])
def test_a_query_is_one_that_the_package_could_have_made(name, kind):
    made = wire.query(name, kind, b"\xab\xcd")
    expected = dns.message.make_query(name, kind, id=0xABCD, use_edns=0, payload=1232)
    assert made == expected.to_wire()
    assert made[wire.QUESTION] == made[12:-11]
    assert dns.message.from_wire(made).to_text() == expected.to_text()


@settings(max_examples=200)
@given(dns_messages.plain())
def test_plain_answers_are_read_without_the_package(made):
    answer = read(*made)
    assert answer == judge(*made)
    assert answer.result != UNUSUAL


@settings(max_examples=300)
@given(dns_messages.unusual())
def test_agrees_on_unusual_answers(made):
    assert_agree(*made)


@settings(max_examples=250)
@given(dns_messages.damaged())
def test_agrees_on_damaged_answers(made):
    for each in made:
        assert_agree(*each)


# Numbers that mean something somewhere: types, lengths, a pointer, the highest bits.
BYTES = (0, 1, 2, 5, 6, 12, 15, 28, 41, 63, 64, 127, 128, 192, 255)
PLAIN = {
    "hosts": (MX, [MAIL, Record(OWNER, MX, "5 .")], [Record(OWNER, NS, "ns.example.net.")]),
    "address": (AAAA, [Record(OWNER, AAAA, "2001:db8::1")], []),
    "negative": (A, [], [soa(OWNER)], [Record(name_of(b"ns"), A, "192.0.2.1")]),
}


@pytest.mark.parametrize(("kind", "sections"), [(each[0], each[1:]) for each in PLAIN.values()])
def test_agrees_whichever_byte_is_changed_and_wherever_it_ends(kind, sections):
    whole = message(NAME, kind, *sections)
    assert assert_agree(whole, NAME, kind).result in (FOUND, NO_DATA)
    for at, byte in enumerate(whole):
        assert_agree(whole[:at], NAME, kind)
        for other in {*BYTES, byte ^ 1, byte ^ 32} - {byte}:
            assert_agree(whole[:at] + bytes([other]) + whole[at + 1 :], NAME, kind)


def answered(*values, kind=MX):
    """Return an answer with these records, whose values are bytes, and no OPT record."""
    asked = message(NAME, kind, opts=())
    asked = asked[:6] + struct.pack("!H", len(values)) + asked[8:]
    begin = struct.pack("!HHHI", 0xC00C, kind, 1, 300)
    return asked + b"".join(begin + struct.pack("!H", len(each)) + each for each in values)


# Where the first host of such an answer begins, behind the preference, and the length of a record
# with a host of chain().
HOST, CHAINED = 43, 18
# The first three labels of a longest name, which has a fourth one of 61 characters.
LONGEST = 3 * (b"\x3f" + b"a" * 63)


def chain(length):
    """Return an answer each of whose hosts ends with a pointer to the host before it."""
    pointers = [0xC00C, *(0xC000 + HOST + CHAINED * place for place in range(length - 1))]
    return answered(*(b"\0\x0a\x01a" + struct.pack("!H", pointer) for pointer in pointers))


def test_names_are_read_wherever_they_point():
    assert assert_agree(answered(b"\0\x0a\x04MAIL\xc0\x0c")).values == ("mail.example.net",)
    assert assert_agree(answered(b"\0\x0a\xc0\x14")).values == ("net",)
    assert assert_agree(answered(b"\0\x0a\x00")).values == ("",)
    assert assert_agree(chain(15)).values[-1] == "a." * 15 + NAME
    assert assert_agree(answered(b"\0\x0a" + LONGEST + b"\x3d" + b"d" * 61 + b"\x00")).values


@pytest.mark.parametrize("length", [1, 15, 16, 17])
def test_further_records_belong_to_names_that_were_read(length):
    hosts = chain(length)
    pointer = 0xC000 + HOST + CHAINED * (length - 1)
    address = struct.pack("!HHHIHI", pointer, A, 1, 300, 4, 0)
    whole = hosts[:10] + b"\0\1" + hosts[12:] + address
    assert_agree(whole)
    assert read(whole).result == (FOUND if length < 16 else UNUSUAL)
    assert read(whole[:-1]) == Answer(UNUSUAL)


def test_hosts_are_in_order_and_without_duplicates():
    hosts = ["20 c", "10 b", "20 B", "5 a", "10 d", "5 a"]
    records = [Record(OWNER, MX, f"{each}.example.org.", 99 + 9 * len(each)) for each in hosts]
    expected = Answer(FOUND, tuple(f"{each}.example.org" for each in "abdc"), 126)
    assert assert_agree(message(NAME, MX, records)) == expected


# With the counts of authorities and additional records exchanged.
MISPLACED = message(NAME, MX)
MISPLACED = MISPLACED[:8] + b"\0\1\0\0" + MISPLACED[12:]
CHAIN = [Record(OWNER, CNAME, "example.org."), Record(OTHER, MX, "10 mail.example.org.")]
ODD = {
    "an alias": message(NAME, MX, CHAIN),
    "a renamed tree": message(NAME, MX, [Record(OWNER.parent(), DNAME, "org."), *CHAIN]),
    "of another name": message(NAME, MX, [MAIL._replace(owner=OTHER)]),
    "of another type": message(NAME, MX, [MAIL, Record(OWNER, A, "192.0.2.1")]),
    "of another class": message(NAME, MX, [MAIL._replace(of_class=CH)]),
    "about another name": message("example.org", MX, [MAIL]),
    "about another type": message(NAME, A, [MAIL]),
    "in other letters": message("Example.NET", MX, [MAIL]),
    "two questions": message(NAME, MX, [MAIL], questions=2),
    "no question": message(NAME, MX, flags=QR | REFUSED, questions=0),
    "a query": message(NAME, MX, [MAIL], flags=0),
    "of a status": message(NAME, MX, [MAIL], flags=QR | STATUS),
    "with a reserved bit": message(NAME, MX, [MAIL], flags=QR | Z),
    "found and not there": message(NAME, MX, [MAIL], flags=QR | NXDOMAIN),
    "an error with an answer": message(NAME, MX, [MAIL], flags=QR | REFUSED),
    "a negative TTL": message(NAME, MX, [MAIL._replace(ttl=1 << 31)]),
    "a negative TTL of the SOA": message(NAME, MX, [], [soa(OWNER, ttl=1 << 31)]),
    "a negative minimum": message(NAME, MX, [], [soa(OWNER, minimum=1 << 31)]),
    "of another zone": message(NAME, MX, [], [soa(OTHER)]),
    "of half a label": message(NAME, MX, [], [soa(name_of(b"ple", b"net"))]),
    "of two zones": message(NAME, MX, [], [soa(OWNER), soa(OWNER.parent())]),
    "a zone beside": message(NAME, MX, [], [], [soa(OWNER)]),
    "text beside": message(NAME, MX, [MAIL], [], [Record(OWNER, TXT, "a")]),
    "a dot in a label": message(NAME, MX, [Record(OWNER, MX, r"10 a\.b.example.net.")]),
    "a byte in a label": message(NAME, MX, [Record(OWNER, MX, r"10 a\255.example.net.")]),
    "extended": message(NAME, MX, [MAIL], opts=[opt(0x01000000)]),
    "of another version": message(NAME, MX, [MAIL], opts=[opt(0x00010000)]),
    "with an option": message(NAME, MX, [MAIL], opts=[opt(0, b"\0\x03\0\x01a")]),
    "with an option of another length": message(NAME, MX, opts=[opt(0, EXPLANATION + b"\0")]),
    "with an option beyond its record": message(NAME, MX, opts=[opt(0, EXPLANATION[:-1])]),
    "with an option that is no text": message(NAME, MX, opts=[opt(0, b"\0\x0f\0\x03\0\0\xff")]),
    "with an option without a code": message(NAME, MX, opts=[opt(0, b"\0\x0f\0\x01a")]),
    "two OPT records": message(NAME, MX, [MAIL], opts=[opt(), opt()]),
    "an OPT record with a name": message(NAME, MX, [MAIL], opts=[opt(owner=b"\xc0\x0c")]),
    "an OPT record in the wrong place": MISPLACED,
    "more behind it": message(NAME, MX, [MAIL]) + b"\0",
    "nothing": b"",
    "no header": message(NAME, MX)[:11],
    "less than it says": message(NAME, MX, [MAIL])[:-1],
    "a pointer to itself": answered(b"\0\x0a" + struct.pack("!H", 0xC000 + HOST)),
    "a pointer forward": answered(b"\0\x0a" + struct.pack("!H", 0xC000 + HOST + 2) + b"\0"),
    "a name that ends in itself": answered(b"\x01a" + struct.pack("!H", 0xC000 + HOST - 2)),
    # The first byte of the name would be the second of a pointer to it.
    "a pointer that ends in the name": answered(b"\0\xc0\x04mail\xc0" + bytes([HOST - 1])),
    "many pointers": chain(16),
    "too many pointers": chain(17),
    "a label of another sort": answered(b"\0\x0a\x40a\x00"),
    "too long a name": answered(b"\0\x0a" + LONGEST + b"\x3e" + b"d" * 62 + b"\0"),
    "too long a host": answered(b"\0\x0a\x00\x00"),
    "too short a host": answered(b"\0\x0a", b"\0\x0a\x00"),
}


@pytest.mark.parametrize("received", ODD.values(), ids=ODD)
def test_what_is_not_plain_is_left_to_the_package(received):
    assert read(received) == Answer(UNUSUAL)
    assert_agree(received)


LONG = ".".join("a" * 127)
MAIL_AT_LONG = struct.pack("!HHHIHHH", 0xC00C, MX, 1, 300, 4, 10, 0xC00C)
NOTHING_OF_LONG = struct.pack("!HHHIHI", 0xC00C, A, 1, 300, 4, 0)


@pytest.mark.parametrize(
    ("counts", "record"),
    [
        (struct.pack("!HHH", 4000, 0, 0), MAIL_AT_LONG),
        (struct.pack("!HHH", 0, 4000, 0), NOTHING_OF_LONG),
        (b"\xff" * 6, MAIL_AT_LONG),
        (b"\xff" * 6, b"\0"),
        (b"\xff" * 6, b"\x01a"),
    ],
)
def test_the_largest_messages_take_little_time_and_memory(counts, record):
    asked = message(LONG, MX, opts=())
    received = (asked[:6] + counts + asked[12:] + record * 65_535)[:65_535]
    received = received[: len(asked) + 4000 * 16] if counts[0] < 255 else received
    tracemalloc.start()
    begun = time.thread_time()
    try:
        answer = read(received, LONG)
        # About a tenth, without the tracing.
        assert time.thread_time() - begun < 2
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert (answer.result == UNUSUAL) == (counts[0] == 255)


ZONE = """
mail MX 10 mx.mail
several MX 20 b.example.org.
several MX 10 a.example.org.
null MX 0 .
*.wild MX 10 mx.example.net.
host A 192.0.2.1
host A 192.0.2.2
host AAAA 2001:db8::1
text TXT "a"
"""
MANY = [f"mail-server-{number}.example{number}.org" for number in range(20)]
ZONE += "".join(f"many MX {number} {host}.\n" for number, host in enumerate(MANY))
TOLD = {
    ("mail", MX): Answer(FOUND, ("mx.mail.example.net",), 300),
    ("several", MX): Answer(FOUND, ("a.example.org", "b.example.org"), 300),
    ("null", MX): Answer(FOUND, ("",), 300),
    ("a.b.wild", MX): Answer(FOUND, ("mx.example.net",), 300),
    ("many", MX): Answer(FOUND, tuple(MANY), 300),
    ("host", A): Answer(FOUND, ("192.0.2.1", "192.0.2.2"), 300),
    ("host", AAAA): Answer(FOUND, ("2001:db8::1",), 300),
    **{(name, MX): Answer(NO_DATA, (), 120) for name in ("host", "text", "wild")},
    **{("mail", kind): Answer(NO_DATA, (), 120) for kind in (A, AAAA)},
    **{("missing", kind): Answer(NO_DOMAIN, (), 120) for kind in (MX, A, AAAA)},
}


@pytest.mark.parametrize("minimal", ["no", "yes"])
def test_the_answers_of_a_real_nameserver_are_plain(minimal):
    with nsd.start(ZONE, minimal_responses=minimal) as server:
        for (host, kind), expected in TOLD.items():
            name = f"{host}.{NAME}"
            received = nsd.exchange(server.url, wire.query(name, kind, b"\0\7"))
            assert assert_agree(received, name, kind) == expected
        refused = nsd.exchange(server.url, wire.query("example.org", MX, b"\0\7"))
        assert assert_agree(refused, "example.org") == Answer(ERROR, rcode=REFUSED)
        # Without an OPT record, an answer may have 512 bytes.
        query = wire.query(f"many.{NAME}", MX, b"\0\7")
        short = query[:10] + b"\0\0" + query[wire.QUESTION]
        received = nsd.exchange(server.url, short)
        assert assert_agree(received, f"many.{NAME}") == Answer(TRUNCATED)
