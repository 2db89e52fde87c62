"""A proxy before PostgreSQL that cuts the connection at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import parse_qs, urlsplit, urlunsplit


class Proxy:
    """Listens on 127.0.0.1, and passes data on to the PostgreSQL at the Unix socket of `url`.

    With `lose_answer_to` set, the next query that contains these bytes is passed on, but not its
    answer: when that comes, the connection is cut.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._upstream = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"postgres@127.0.0.1:{port}", query=""))
        self.lose_answer_to: bytes | None = None
        self.lost = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            losing = threading.Event()
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                thread = threading.Thread(
                    target=self._pass_on, args=(source, target, losing, source is client)
                )
                thread.start()
                self._threads.append(thread)

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        losing: threading.Event,
        from_client: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if from_client and self.lose_answer_to and self.lose_answer_to in data:
                    self.lose_answer_to = None
                    losing.set()
                elif not from_client and losing.is_set():
                    self.lost += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for end in self._open:
            end.close()
