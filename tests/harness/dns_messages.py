"""Answers of nameservers: made by the dnspython package, and strategies for all kinds of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dns.name
import dns.rdata
from dns.name import Name
from dns.rdataclass import CH, IN, RdataClass
from dns.rdatatype import AAAA, CNAME, DNAME, MX, NS, OPT, SOA, TXT, A, RdataType
from hypothesis import strategies as st

# Bits of a message's second word; what it may be instead of a query; codes, most of them of errors.
QR, AA, TC, RD, RA, Z, AD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020
STATUS, UPDATE = 0x1000, 0x2800
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN = range(7)
# An option of an OPT record that explains an error: a code and a text.
EXPLANATION = b"\x00\x0f\x00\x05\x00\x14abc"


class Record(NamedTuple):
    """A record; `text` is its value as a zone file has it."""

    owner: Name
    kind: RdataType
    text: str
    ttl: int = 300
    of_class: RdataClass = IN


class Message(NamedTuple):
    """A message that may be an answer to the question for records of a kind of a name."""

    wire: bytes
    name: str
    kind: int


def name_of(*labels: bytes) -> Name:
    """Return the name of these labels, without the first of them if it would be too long."""
    try:
        return Name([*labels, b""])
    except dns.name.NameTooLong:
        return name_of(*labels[1:])


def opt(flags: int = 0, options: bytes = b"", owner: bytes = b"\x00") -> bytes:
    """Return an OPT record; `flags` begin with an extended code and a version."""
    return owner + struct.pack("!HHIH", OPT, 1232, flags, len(options)) + options


def soa(owner: Name, ttl: int = 3600, minimum: int = 120) -> Record:
    return Record(owner, SOA, f"ns.example. john.example. 1 7200 600 86400 {minimum}", ttl)


def message(
    asked: str | Name,
    kind: int,
    *sections: Sequence[Record],
    flags: int = QR | RD | RA,
    opts: Sequence[bytes] = (opt(),),
    questions: int = 1,
    compressed: bool = True,
) -> bytes:
    """Return a message of up to three sections: answers, authority, additional."""
    file = io.BytesIO()
    table: dict[Name, int] | None = {} if compressed else None
    counts = [*map(len, sections), 0, 0, 0][:3]
    counts[2] += len(opts)
    file.write(struct.pack("!6H", 7, flags, questions, *counts))
    name = dns.name.from_text(asked) if isinstance(asked, str) else asked
    for _ in range(questions):
        name.to_wire(file, table)
        file.write(struct.pack("!HH", kind, IN))
    for record in (record for section in sections for record in section):
        _write(record, file, table)
    return file.getvalue() + b"".join(opts)


def _write(record: Record, file: io.BytesIO, table: dict[Name, int] | None) -> None:
    record.owner.to_wire(file, table)
    file.write(struct.pack("!HHI2x", record.kind, record.of_class, record.ttl))
    begin = file.tell()
    dns.rdata.from_text(IN, record.kind, record.text).to_wire(file, table)
    end = file.tell()
    file.seek(begin - 2)
    file.write(struct.pack("!H", end - begin))
    file.seek(end)


_LONG = ".".join(["a" * 60] * 4) + ".example"
_NAMES = ["example.net", "mail.example.co.uk", "xn--mller-kva.de", f"{'a' * 63}.b-c.de", _LONG]
_PLAIN_LABELS = st.sampled_from([b"mail", b"MX1", b"mx-2", b"_dc", b"example", b"net", b"b" * 63])
_LABELS = _PLAIN_LABELS | st.sampled_from([b"a.b", b"\x00", b"\\\xff", b"a b", b"\xc0\x0c"])
_PLAIN_TTLS = st.integers(0, 100_000)
_TTLS = _PLAIN_TTLS | st.sampled_from([2**31 - 1, 2**31, 2**32 - 1])
_ADDRESSES = {
    A: st.integers(0, 2**32 - 1).map(lambda bits: ".".join(map(str, bits.to_bytes(4, "big")))),
    AAAA: st.ip_addresses(v=6).map(lambda address: address.exploded)
    | st.sampled_from(["::", "::1", "::7f00:1", "::1:7f00:1", "::ffff:7f00:1", "1::2:0:0:3"]),
}


def _hosts(name: Name, labels: st.SearchStrategy[bytes]) -> st.SearchStrategy[Name]:
    """Names, some of which end as the given one does."""
    ends = st.sampled_from([name.labels[place:-1] for place in range(len(name))])
    lists = st.lists(labels, max_size=4)
    return st.builds(lambda begin, end: name_of(*begin, *end), lists, ends)


def _records(
    kinds: Sequence[RdataType],
    owners: st.SearchStrategy[Name],
    hosts: st.SearchStrategy[Name],
    ttls: st.SearchStrategy[int],
    classes: st.SearchStrategy[RdataClass],
) -> st.SearchStrategy[Record]:
    values: dict[RdataType, st.SearchStrategy[str]] = {
        **_ADDRESSES,
        MX: st.builds("{} {}".format, st.sampled_from([0, 5, 10, 65_535]), hosts),
        SOA: st.builds("{} {} 1 2 3 4 {}".format, hosts, hosts, ttls),
        TXT: st.sampled_from(["a", '"a b"']),
        **dict.fromkeys((NS, CNAME, DNAME), hosts.map(str)),
    }

    def of(kind: RdataType) -> st.SearchStrategy[Record]:
        return st.builds(Record, owners, st.just(kind), values[kind], ttls, classes)

    return st.sampled_from(kinds).flatmap(of)


@st.composite
def plain(draw: st.DrawFn) -> Message:
    """Answers that are found, negative answers with an SOA or without, errors, truncated ones."""
    name, kind = draw(st.sampled_from(_NAMES)), draw(st.sampled_from([MX, A, AAAA]))
    asked = dns.name.from_text(name)
    hosts, ttls = _hosts(asked, _PLAIN_LABELS), _PLAIN_TTLS

    def records(
        kinds: Sequence[RdataType], owners: st.SearchStrategy[Name], least: int = 0, most: int = 3
    ) -> list[Record]:
        strategy = _records(kinds, owners, hosts, ttls, st.just(IN))
        return draw(st.lists(strategy, min_size=least, max_size=most))

    result = draw(st.sampled_from(["found", "negative", "error", "truncated"]))
    answers = records([kind], st.just(asked), 1, 20) if result == "found" else []
    authority = records([NS], hosts)
    if result == "negative":
        zones = st.integers(1, len(asked)).map(lambda labels: asked.split(labels)[1])
        authority += records([SOA], zones, most=1)
    codes = {
        "negative": st.sampled_from([NOERROR, NXDOMAIN]),
        "error": st.sampled_from([FORMERR, SERVFAIL, NOTIMP, REFUSED, YXDOMAIN, 9]),
    }
    flags = draw(codes.get(result, st.just(NOERROR))) | QR
    flags |= sum(draw(st.sets(st.sampled_from([AA, RD, RA, AD]))))
    flags |= TC if result == "truncated" else 0
    wire = message(
        *(name, kind, answers, authority, records([A, AAAA], hosts)),
        flags=flags,
        opts=draw(st.sampled_from([(), (opt(),), (opt(0x8000),), (opt(0, EXPLANATION * 2),)])),
        compressed=draw(st.booleans()),
    )
    return Message(wire, name, kind)


@st.composite
def unusual(draw: st.DrawFn) -> Message:
    """Answers with anything in any place: chains, other names and types, odd bytes and codes."""
    name, kind = draw(st.sampled_from(_NAMES)), draw(st.sampled_from([MX, A, AAAA]))
    asked = dns.name.from_text(name)
    hosts = _hosts(asked, _LABELS)
    # Few names, so that records often belong together.
    owners = st.sampled_from([asked, asked.parent(), *draw(st.lists(hosts, max_size=3))])
    kinds = [kind, kind, CNAME, SOA, A, AAAA, MX, NS, DNAME, TXT]
    classes = st.sampled_from([IN] * 9 + [CH])
    strategy = _records(kinds, owners, owners | hosts, _TTLS, classes)
    sections = [draw(st.lists(strategy, max_size=4)) for _ in range(3)]
    odd = [
        opt(0x01000000),
        opt(0x00010000),
        opt(0, b"\0\n\0\x08abcdefgh"),
        opt(0, b"\0\x0f\0\x01a"),
    ]
    odd += [opt(owner=b"\x01a\x00"), opt(owner=b"\xc0\x0c")]
    opts = draw(st.sampled_from([[], [opt()], [opt()] * 2]) | st.lists(st.sampled_from(odd)))
    flags = draw(st.sampled_from([QR] * 9 + [0])) | draw(st.sampled_from([0, 0, NXDOMAIN, 2, 15]))
    flags |= draw(st.sampled_from([0] * 9 + [TC, Z, STATUS, UPDATE]))
    names = st.sampled_from([asked] * 9 + [name_of(b"Example", b"NET"), asked.parent()])
    wire = message(
        *(draw(names), draw(st.sampled_from([kind] * 9 + [AAAA])), *sections),
        flags=flags,
        opts=opts,
        questions=draw(st.sampled_from([1] * 9 + [0, 2])),
        compressed=draw(st.booleans()),
    )
    return Message(wire, name, kind)


def _moved_pointer(wire: bytes, at: int, byte: int) -> bytes:
    """Let the next pointer lead elsewhere."""
    at = wire.find(b"\xc0", at) + 1
    return wire[:at] + bytes([byte]) + wire[at + 1 :] if at else wire


# Changes of a message at a place, by a byte.
_CHANGES: list[Callable[[bytes, int, int], bytes]] = [
    lambda wire, at, byte: wire[:at] + bytes([byte]) + wire[at + 1 :],
    lambda wire, at, byte: wire[:at] + bytes([byte]) + wire[at:],
    lambda wire, at, byte: wire[:at] + wire[at + 1 + byte % 4 :],
    lambda wire, at, byte: wire[:at],
    lambda wire, at, byte: wire[: at + byte % 64] + wire[at:],
    lambda wire, at, byte: wire[:at] + bytes([0xC0, byte]) + wire[at + 2 :],
    _moved_pointer,
]


@st.composite
def damaged(draw: st.DrawFn) -> list[Message]:
    """Copies of such an answer with bytes changed, added, repeated or missing, in places."""
    wire, name, kind = draw(plain() | unusual())
    changes = st.tuples(st.sampled_from(_CHANGES), st.integers(0, 300), st.integers(0, 255))
    messages = []
    for again, (change, at, byte) in draw(st.lists(st.tuples(st.booleans(), changes), min_size=5)):
        changed = messages[-1].wire if again and messages else wire
        messages.append(Message(change(changed, at % len(wire), byte), name, kind))
    return messages
