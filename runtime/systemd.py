"""Tell systemd that this process is ready, alive or stopping, as sd_notify(3) does.

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names. Outside systemd there is
none, and nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket

from runtime.every import Every

# Seconds between two watchdog signals; a unit's WatchdogSec must leave room for several.
ALIVE_SECONDS = 1.0

_alive = Every(ALIVE_SECONDS)


def is_service() -> bool:
    """Return whether systemd started this process, as a service that reports its state."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def _send(message: str) -> None:
    if not is_service():
        return
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):  # a name in the abstract namespace
        address = "\0" + address[1:]
    # A systemd that can't be reached is no reason to stop working.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), address)


def ready(status: str) -> None:
    """Report that this process is up, and its status in a few words; or only a new status."""
    _send(f"READY=1\nSTATUS={status}")


def stopping() -> None:
    """Report that this process is stopping, of itself or by a signal."""
    _send("STOPPING=1")


def alive() -> None:
    """Feed the watchdog: the thread that must never hang calls this all the time.

    systemd restarts a unit with WatchdogSec when the calls stop.
    """
    if _alive.due():
        _send("WATCHDOG=1")
