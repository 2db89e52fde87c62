"""Put a nameserver far away: its answers take time, get lost, or don't come for some names.

A process of its own stands between, so that the worker's time isn't taken.
"""

from __future__ import annotations

import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOCALHOST = "127.0.0.1"
# Names whose first label begins so have no answer.
DEAD = b"dead"


@dataclass
class Far:
    """A nameserver far away, at `url`."""

    url: str
    process: subprocess.Popen[str]

    def stop_answering(self) -> None:
        """Lose all answers from now on."""
        self.process.send_signal(signal.SIGUSR1)

    def answer_again(self) -> None:
        self.process.send_signal(signal.SIGUSR2)

    def most_under_way(self) -> int:
        """Return the largest number of queries that were on their way at once so far."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGHUP)
        return int(self.process.stdout.readline())


@contextmanager
def start(url: str, *, seconds: float = 0.0, loss: float = 0.0) -> Iterator[Far]:
    """Put the nameserver at `url` (host:port) so many seconds away; the share `loss` gets lost."""
    command = [sys.executable, __file__, url, str(seconds), str(loss)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Far(f"{LOCALHOST}:{process.stdout.readline().strip()}", process)
        finally:
            process.kill()


class _Between:
    """Passes queries on at once, and answers after their time."""

    def __init__(self, address: tuple[str, int], seconds: float, loss: float) -> None:
        self._address, self._seconds, self._loss = address, seconds, loss
        self._random = random.Random(1)
        self._here = _udp()
        self._here.bind((LOCALHOST, 0))
        # For each client, the socket that stands for it; and whom each of these stands for.
        self._there: dict[tuple[str, int], socket.socket] = {}
        self._clients: dict[int, tuple[socket.socket, tuple[str, int]]] = {}
        self._waiting: deque[tuple[float, bytes, tuple[str, int]]] = deque()
        self._answers = True
        self._under_way = self._most_under_way = 0
        self._poll = select.epoll()
        self._poll.register(self._here, select.EPOLLIN)
        signal.signal(signal.SIGUSR1, lambda *_: self._set(False))
        signal.signal(signal.SIGUSR2, lambda *_: self._set(True))
        signal.signal(signal.SIGHUP, lambda *_: _say(self._most_under_way))
        _say(self._here.getsockname()[1])

    def _set(self, answers: bool) -> None:
        self._answers = answers

    def run(self) -> None:
        waiting = self._waiting
        while True:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, message, client = waiting.popleft()
                self._here.sendto(message, client)
                self._under_way -= 1
            wait = max(0.0, waiting[0][0] - now) if waiting else 1.0
            for fd, _ in self._poll.poll(wait):
                if fd == self._here.fileno():
                    self._take_queries()
                else:
                    self._take_answers(*self._clients[fd])

    def _take_queries(self) -> None:
        for _ in range(64):
            try:
                message, client = self._here.recvfrom(4096)
            except BlockingIOError:
                return
            if message[13 : 13 + len(DEAD)] != DEAD:
                there = self._there.get(client) or self._stand_for(client)
                there.send(message)
                self._under_way += 1
                self._most_under_way = max(self._most_under_way, self._under_way)

    def _stand_for(self, client: tuple[str, int]) -> socket.socket:
        there = self._there[client] = _udp()
        there.connect(self._address)
        self._clients[there.fileno()] = there, client
        self._poll.register(there, select.EPOLLIN)
        return there

    def _take_answers(self, there: socket.socket, client: tuple[str, int]) -> None:
        due = time.monotonic() + self._seconds
        for _ in range(64):
            try:
                message = there.recv(4096)
            except BlockingIOError:
                return
            if self._answers and self._random.random() >= self._loss:
                self._waiting.append((due, message, client))
            else:
                self._under_way -= 1


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return made


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    _Between((host, int(port)), float(sys.argv[2]), float(sys.argv[3])).run()
