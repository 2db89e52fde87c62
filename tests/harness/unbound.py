"""Start unbound, a resolver that asks other nameservers, for zones of a test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import nsd
from harness.servers import LOCALHOST, Server, free_port, required, temporary_folder
from processors.domains import wire

UNBOUND = Path("/usr/sbin/unbound")
# The zone whose nameserver never answers.
GONE = "gone.example"


@contextmanager
def start(zones: Mapping[str, str]) -> Iterator[Server]:
    """Serve the zones at `server.url`, each asked of its nameserver (host:port), and GONE."""
    with temporary_folder() as folder, ExitStack() as stack:
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((LOCALHOST, 0))
        port = free_port()
        url = f"{LOCALHOST}:{port}"
        stubs = {**zones, GONE: f"{LOCALHOST}:{silent.getsockname()[1]}"}
        (folder / "unbound.conf").write_text(
            f"server:\n  interface: {LOCALHOST}\n  port: {port}\n  do-daemonize: no\n"
            f'  username: ""\n  chroot: ""\n  directory: {folder}\n  pidfile: ""\n'
            "  use-syslog: no\n  do-not-query-localhost: no\n  module-config: iterator\n"
            + "".join(
                f"stub-zone:\n  name: {name}\n  stub-addr: {address.replace(':', '@')}\n"
                for name, address in stubs.items()
            )
        )
        command = [str(required(UNBOUND, "unbound")), "-d", "-c", str(folder / "unbound.conf")]
        question = wire.query(f"ns.{next(iter(zones))}", wire.A, b"\0\1")
        with Server(url, folder, command, lambda: nsd.exchange(url, question, 0.5)) as server:
            yield server
