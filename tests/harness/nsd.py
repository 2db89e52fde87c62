"""Start nsd, a nameserver that answers as fast as can be, for a zone of a test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from harness.servers import LOCALHOST, Server, free_port, required, temporary_folder
from processors.domains import wire

NSD = Path("/usr/sbin/nsd")
# What it does unless a test says otherwise: answer anyone at any rate, in one process, as the user
# who started it, and keep all its files in its folder.
_OPTIONS = {
    "server-count": 1,
    "rrl-ratelimit": 0,
    "rrl-whitelist-ratelimit": 0,
    "username": '""',
    "chroot": '""',
    "database": '""',
    "xfrdfile": '""',
    "pidfile": '""',
    "zonelistfile": "zones",
}


@contextmanager
def start(zone: str, origin: str = "example.net", **options: object) -> Iterator[Server]:
    """Serve a zone, given as the text of its file without the SOA record, at `server.url`.

    `options` are those of its configuration, such as rrl_ratelimit=200.
    """
    given = {key.replace("_", "-"): value for key, value in options.items()}
    with temporary_folder() as folder:
        port = free_port()
        url = f"{LOCALHOST}:{port}"
        (folder / "zone").write_text(
            f"$ORIGIN {origin.rstrip('.')}.\n$TTL 300\n"
            f"@ 3600 SOA ns postmaster 1 3600 600 86400 120\n@ NS ns\nns A 192.0.2.53\n{zone}\n"
        )
        lines = [f"  {key}: {value}\n" for key, value in {**_OPTIONS, **given}.items()]
        (folder / "nsd.conf").write_text(
            f"server:\n  ip-address: {LOCALHOST}@{port}\n"
            f"  zonesdir: {folder}\n  xfrdir: {folder}\n{''.join(lines)}"
            f'remote-control:\n  control-enable: no\nzone:\n  name: "{origin}"\n  zonefile: zone\n'
        )
        command = [str(required(NSD, "nsd")), "-d", "-c", str(folder / "nsd.conf")]
        with Server(url, folder, command, lambda: _answers(url, origin)) as nsd:
            children = psutil.Process(nsd.pid).children(recursive=True)
            try:
                yield nsd
            finally:
                nsd.stop()
                # They end with it, and remove files of theirs before.
                _, lasting = psutil.wait_procs(children, 10)
                for child in lasting:
                    child.kill()


def _answers(address: str, origin: str) -> bool:
    try:
        return bool(exchange(address, wire.query(f"ns.{origin}".rstrip("."), wire.A, b"\0\1"), 0.2))
    except OSError:
        return False


def exchange(address: str, query: bytes, seconds: float = 30.0) -> bytes:
    """Return the answer of the nameserver at `host:port` to a query by UDP."""
    host, port = address.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(seconds)
        asking.connect((host, int(port)))
        asking.send(query)
        return asking.recv(65_535)
