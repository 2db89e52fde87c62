"""A process that listens to many event streams and notes the arrival of each event.

`python listener.py HOST PORT BATCH=STREAMS …` opens the streams and writes "ready" when each has
got its first event. It listens until its standard input ends and then writes its notes as
JSON: [batch, revision, seconds of the monotonic clock, which is the same in all processes]. If a
stream skips revisions because a newer one superseded them, they are noted as arriving at the same
moment as the newer one. Plain sockets and one thread take little of the machine that is measured.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass

# The beginning of an event's line; a chunk's header, in hexadecimal digits, never begins so.
_ID = re.compile(rb"\nid: (\d+)\n")


@dataclass
class Listener:
    """One stream.

    rest: the received bytes that may be a part of an event.
    newest: the newest revision that was received; None before the first event.
    """

    batch_id: int
    rest: bytes = b""
    newest: int | None = None

    def revisions(self, data: bytes) -> list[int]:
        """Return the revisions of the events that these bytes complete."""
        text = self.rest + data
        end = text.rfind(b"\n\n")
        if end < 0:
            self.rest = text
            return []
        # The line end before an event's first line may be the last byte used here.
        self.rest = text[end + 1 :]
        return [int(each) for each in _ID.findall(text[: end + 1])]


def main(host: str, port: int, counts: dict[int, int]) -> None:
    """Open the streams, listen, and write the arrivals."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.buffer, selectors.EVENT_READ)
    for batch_id, count in counts.items():
        for _ in range(count):
            stream = socket.create_connection((host, port), timeout=60)
            request = f"GET /api/batches/{batch_id}/stream HTTP/1.1\r\nHost: {host}\r\n\r\n"
            stream.sendall(request.encode())
            selector.register(stream, selectors.EVENT_READ, Listener(batch_id))
    silent = sum(counts.values())
    arrivals: list[tuple[int, int, float]] = []
    while True:
        for key, _ in selector.select():
            listener: Listener | None = key.data
            if listener is None:  # standard input
                print(json.dumps(arrivals), flush=True)
                return
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            now = time.monotonic()
            if not data:
                raise SystemExit(f"a stream of batch {listener.batch_id} has ended")
            for revision in listener.revisions(data):
                if listener.newest is None:
                    listener.newest, silent = revision - 1, silent - 1
                    if silent == 0:
                        print("ready", flush=True)
                new = range(listener.newest + 1, revision + 1)
                arrivals += ((listener.batch_id, each, now) for each in new)
                listener.newest = max(listener.newest, revision)


if __name__ == "__main__":
    pairs = (argument.split("=") for argument in sys.argv[3:])
    main(sys.argv[1], int(sys.argv[2]), {int(batch_id): int(count) for batch_id, count in pairs})
