"""A nameserver on 127.0.0.1, UDP and TCP, that answers, refuses, keeps silent or lies, as set."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from dnslib import MX, QTYPE, RCODE, RR, SOA, A, DNSLabel, DNSRecord

# Domains whose mail servers a working resolver must know, for the check's probe.
WORLD = ("gmail.com", "outlook.com")


class Nameserver:
    """Each method sets the answers about a name; any other name doesn't exist."""

    def __init__(self) -> None:
        self._udp, self._tcp = _bound(self)
        self.port: int = self._udp.server_address[1]
        # Queries by name and type; those by TCP, by name.
        self.asked: Counter[tuple[str, str]] = Counter()
        self.by_tcp: Counter[str] = Counter()
        # By name, or "" for all others: what fills in the answer. By name: how the answer lies.
        self._answers: dict[str, Callable[[DNSRecord, DNSRecord], None]] = {}
        self._lies: dict[str, str] = {}
        self.silent = False
        # Seconds that each answer takes; and no answer is given until the gate is open, nor one by
        # TCP until that gate is open, too.
        self.seconds = 0.0
        self.gate, self.tcp_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.tcp_gate.set()
        for name in WORLD:
            self.mx(name)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Nameserver:
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.tcp_gate.set()
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()

    def mx(self, name: str, *servers: str, ttl: int = 300) -> None:
        """Give the name these mail servers, by default mx.NAME; "." makes a Null MX."""
        records = [
            RR(name, QTYPE.MX, rdata=MX(server, 10), ttl=ttl)
            for server in servers or [f"mx.{name}"]
        ]
        self._answers[name] = lambda query, reply: self._add(query, reply, "MX", records)
        for server in servers or [f"mx.{name}"]:
            if server not in self._answers and server[-1:].isalpha() and "." in server:
                self.host(server)

    def host(self, name: str, kind: str = "A", *addresses: str, ttl: int = 300) -> None:
        """Give the name an address, A or AAAA, or several, and no mail server."""
        addresses = addresses or ("192.0.2.1" if kind == "A" else "2001:db8::1",)
        zone = "\n".join(f"{name}. {ttl} IN {kind} {address}" for address in addresses)
        records = RR.fromZone(zone)
        self._answers[name] = lambda query, reply: self._add(query, reply, kind, records)

    def nothing(self, name: str, *, negative_ttl: int | None = None) -> None:
        """Let the name exist without any record that is asked for."""
        self._answers[name] = lambda query, reply: _soa(reply, name, negative_ttl)

    def missing(self, name: str, *, negative_ttl: int | None = None) -> None:
        """Let the name not exist; a SOA record has `negative_ttl`, the seconds to remember that."""

        def answer(query: DNSRecord, reply: DNSRecord) -> None:
            reply.header.rcode = RCODE.NXDOMAIN
            _soa(reply, name, negative_ttl)

        self._answers[name] = answer

    def code(self, name: str, rcode: str) -> None:
        """Answer with an error: SERVFAIL, REFUSED and so on."""

        def answer(query: DNSRecord, reply: DNSRecord) -> None:
            reply.header.rcode = getattr(RCODE, rcode)

        self._answers[name] = answer

    def lie(self, name: str, how: str) -> None:
        """Lie by `silence`, `wrong_id`, `other_name`, `garbage`, or `truncated`.

        A truncated answer says so by TCP, too, but only by UDP it lacks its records.
        """
        self._lies[name] = how

    def invent(self) -> None:
        """Give every other name an address, as the resolvers of some providers do."""
        self._answers[""] = lambda query, reply: reply.add_answer(
            RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.99"))
        )

    def answer(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """Return the answer to a packet, None for silence."""
        query = DNSRecord.parse(packet)
        name, kind = str(query.q.qname).rstrip(".").lower(), QTYPE[query.q.qtype]
        self.asked[name, kind] += 1
        lie = self._lies.get(name)
        if self.silent or lie == "silence":
            return None
        self.gate.wait(60)
        time.sleep(self.seconds)
        if tcp:
            self.tcp_gate.wait(60)
            self.by_tcp[name] += 1
        reply = query.reply()
        told = self._answers.get(name) or self._answers.get("")
        if told is None:
            reply.header.rcode = RCODE.NXDOMAIN
        else:
            told(query, reply)
        if lie == "wrong_id":
            reply.header.id = (query.header.id + 1) % 65536
        if lie == "other_name":
            reply.q.qname = DNSLabel("somebody.else.example.net")
        if lie == "truncated":
            reply.header.tc = 1
            reply.rr = reply.rr if tcp else []
        return b"\xff" * 7 if lie == "garbage" else bytes(reply.pack())

    @staticmethod
    def _add(query: DNSRecord, reply: DNSRecord, kind: str, records: list[RR]) -> None:
        if QTYPE[query.q.qtype] == kind:
            for record in records:
                reply.add_answer(record)


def _soa(reply: DNSRecord, name: str, negative_ttl: int | None) -> None:
    if negative_ttl is not None:
        times = (1, 3600, 600, 86400, negative_ttl)
        reply.add_auth(RR(name, QTYPE.SOA, ttl=3600, rdata=SOA(f"ns.{name}", f"x.{name}", times)))


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    max_packet_size = 4096


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _bound(nameserver: Nameserver) -> tuple[_Udp, _Tcp]:
    """Return both servers, on the same port."""

    class ByUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, socket = self.request
            answer = nameserver.answer(packet, tcp=False)
            if answer is not None:
                with suppress(OSError):  # closed meanwhile
                    socket.sendto(answer, self.client_address)

    class ByTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            answer = nameserver.answer(self.rfile.read(length), tcp=True)
            if answer is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    while True:
        tcp = _Tcp(("127.0.0.1", 0), ByTcp)
        try:
            return _Udp(tcp.server_address, ByUdp), tcp
        except OSError:
            tcp.server_close()
