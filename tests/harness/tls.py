"""TLS in front of PostgreSQL and Redis, with certificates of the tests' own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import threading
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import trustme


class Certificates:
    """A certificate authority, and its certificates for localhost and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self.context)
        # The certificate for 127.0.0.1, with its key in the same file.
        self.pair = folder / "pair.pem"
        pair = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        pair.write_to_path(self.pair)
        self.pair.chmod(0o600)


class TlsServer:
    """Listens on 127.0.0.1, and passes data on to the server at the Unix socket of `url`."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        self._postgres = parts.scheme.startswith("postgres")
        self._upstream = (
            parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432" if self._postgres else parts.path
        )
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()  # so that others that left something open are told
        # asyncio leaves a connection open that it is just accepting, and names it to nobody.
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            gc.collect()

    async def _listen(self) -> asyncio.Server:
        # A connection to PostgreSQL begins without TLS, and changes to it when the client asks.
        context = None if self._postgres else self._context
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        self._writers.append(writer)
        return self._serve(reader, writer)

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:  # also of those that were cancelled before their first step
            writer.transport.abort()
        await asyncio.sleep(0.1)  # aborted transports close their sockets a moment later

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._postgres:
                await reader.readexactly(8)
                writer.write(b"S")
                await writer.start_tls(self._context)
            upstream, upstream_writer = await asyncio.open_unix_connection(self._upstream)
            ends.append(upstream_writer)
            self.connections += 1
            await asyncio.gather(
                self._pass_on(reader, upstream_writer), self._pass_on(upstream, writer)
            )
        for end in ends:
            end.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
        target.transport.abort()
