"""A server that notes what a processor does: when, and with which keys, it is called."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100


class Recording:
    """Has the time and the key of each call, in their order. A call is answered once it is noted.

    A caller sends a key and a line end, and gets a line end.
    """

    def __init__(self) -> None:
        calls: list[tuple[float, str]] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the worker was killed
                    for line in self.rfile:
                        calls.append((time.monotonic(), line.decode().strip()))
                        self.wfile.write(b"\n")

        self.calls = calls
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def keys(self) -> list[str]:
        """The keys in the order of the calls."""
        return [key for _, key in self.calls]

    def close(self) -> None:
        """Take no more calls."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
