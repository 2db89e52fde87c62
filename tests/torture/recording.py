"""A server that notes what a processor does: the keys that it is called with, one a line."""

from __future__ import annotations

import contextlib
import socketserver
import threading


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100


class Recording:
    """Has all keys in the order of the calls. A call is answered after its key was noted."""

    def __init__(self) -> None:
        keys: list[str] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the worker was killed
                    for line in self.rfile:
                        keys.append(line.decode().strip())
                        self.wfile.write(b"\n")

        self.keys = keys
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more calls."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
