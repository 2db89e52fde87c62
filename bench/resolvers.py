"""Look up mail servers by other resolvers: `python resolvers.py pycares HOST:PORT FILE`.

The first argument is one of WAYS.

This is the work of the check's lookups: the MX records of each name, and the addresses of each mail
server once. The names are the first words of the file's lines. Prints the seconds that it takes.
domains.py runs this script in an environment that has nothing of the project.
"""

from __future__ import annotations

import asyncio
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import aiodns
import pycares

# Questions under way at once: of 25, 50, 100, 200 and 400, both are about as fast as they can be.
AT_ONCE = 100
# Seconds until the first of so many tries is given up.
SECONDS, TRIES = 3, 4


class ByThread:
    """Lookups by pycares as it is meant to be used: c-ares' own thread takes the answers."""

    def __init__(self, nameserver: str, names: Iterator[str]) -> None:
        self._names = names
        self._hosts: set[str] = set()
        self._unasked: deque[str] = deque()
        self._room = threading.Semaphore(AT_ONCE)
        self._failed = 0
        self._channel = pycares.Channel(servers=[nameserver], timeout=SECONDS, tries=TRIES)

    def run(self) -> None:
        """Look all names up. Raises RuntimeError if some have no answer."""
        for name in self._names:
            self._ask(name, pycares.QUERY_TYPE_MX)
            self._ask_hosts()
        for _ in range(2):  # until all hosts are known, and until all are asked for
            for _ in range(AT_ONCE):
                self._room.acquire()
            self._room.release(AT_ONCE)
            self._ask_hosts()
        if self._failed:
            raise RuntimeError(f"{self._failed} questions have no answer")

    def _ask_hosts(self) -> None:
        while self._unasked:
            self._ask(self._unasked.popleft(), pycares.QUERY_TYPE_A)

    def _ask(self, name: str, kind: int) -> None:
        self._room.acquire()
        self._channel.query(name, kind, callback=self._take)

    def _take(self, result: pycares.DNSResult | None, error: int | None) -> None:
        if error or result is None or not result.answer:
            self._failed += 1
        for record in result.answer if result else ():
            if record.type == pycares.QUERY_TYPE_MX and record.data.exchange not in self._hosts:
                self._hosts.add(record.data.exchange)
                self._unasked.append(record.data.exchange)
        self._room.release()


class Watched:
    """Lookups by pycares, whose sockets are watched here, by the thread that asks.

    That is faster than c-ares' own thread, which takes turns with the thread that asks.
    """

    def __init__(self, nameserver: str, names: Iterator[str]) -> None:
        self._names = names
        self._hosts: set[str] = set()
        self._under_way = 0
        self._failed = 0
        self._poll = select.epoll()
        self._watched: set[int] = set()
        self._channel = pycares.Channel(
            servers=[nameserver], timeout=SECONDS, tries=TRIES, sock_state_cb=self._watch
        )

    def run(self) -> None:
        """Look all names up. Raises RuntimeError if some have no answer."""
        while self._ask_more() or self._under_way:
            for fd, event in self._poll.poll(SECONDS) or [(pycares.ARES_SOCKET_BAD, 0)]:
                reading = fd if event & select.EPOLLIN else pycares.ARES_SOCKET_BAD
                writing = fd if event & select.EPOLLOUT else pycares.ARES_SOCKET_BAD
                self._channel.process_fd(reading, writing)
        if self._failed:
            raise RuntimeError(f"{self._failed} questions have no answer")

    def _ask_more(self) -> bool:
        """Ask as long as there is room; return whether something was asked."""
        before = self._under_way
        while self._under_way < AT_ONCE and (name := next(self._names, None)):
            self._ask(name, pycares.QUERY_TYPE_MX)
        return self._under_way > before

    def _ask(self, name: str, kind: int) -> None:
        self._under_way += 1
        self._channel.query(name, kind, callback=self._take)

    def _take(self, result: pycares.DNSResult | None, error: int | None) -> None:
        self._under_way -= 1
        if error or result is None or not result.answer:
            self._failed += 1
            return
        for record in result.answer:
            if record.type == pycares.QUERY_TYPE_MX and record.data.exchange not in self._hosts:
                self._hosts.add(record.data.exchange)
                self._ask(record.data.exchange, pycares.QUERY_TYPE_A)

    def _watch(self, fd: int, readable: bool, writable: bool) -> None:
        events = select.EPOLLIN * readable | select.EPOLLOUT * writable
        if not events:
            self._watched.discard(fd)
            self._poll.unregister(fd)
        elif fd in self._watched:
            self._poll.modify(fd, events)
        else:
            self._watched.add(fd)
            self._poll.register(fd, events)


async def by_aiodns(nameserver: str, names: Iterator[str]) -> None:
    """Look all names up. Raises aiodns.error.DNSError if one has no answer."""
    resolver = aiodns.DNSResolver([nameserver], timeout=SECONDS, tries=TRIES)
    hosts: set[str] = set()

    async def look_up() -> None:
        for name in names:
            found = await resolver.query_dns(name, "MX")
            for host in {record.data.exchange for record in found.answer} - hosts:
                hosts.add(host)
                await resolver.query_dns(host, "A")

    await asyncio.gather(*(look_up() for _ in range(AT_ONCE)))
    await resolver.close()


WAYS: dict[str, Callable[[str, Iterator[str]], None]] = {
    "pycares": lambda *arguments: ByThread(*arguments).run(),
    "pycares-watched": lambda *arguments: Watched(*arguments).run(),
    "aiodns": lambda *arguments: asyncio.run(by_aiodns(*arguments)),
}


def main() -> None:
    """Run the command."""
    which, nameserver, file = sys.argv[1:]
    names = [line.split()[0] for line in Path(file).read_text().splitlines()]
    began = time.monotonic()
    WAYS[which](nameserver, iter(names))
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
