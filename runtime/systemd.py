"""What systemd is told of this process: that it is ready, still alive, stopping (sd_notify(3)).

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names. Without it, as outside
systemd, nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket

from runtime.every import Every

# Seconds between two signs of life, of which a unit's WatchdogSec must leave room for several.
ALIVE_SECONDS = 1.0

_alive = Every(ALIVE_SECONDS)


def _send(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in the abstract namespace
        address = "\0" + address[1:]
    # Not to be heard is no reason to stop working.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), address)


def ready(status: str) -> None:
    """Say that it is up, and in one sentence what it does; or anew what it does."""
    _send(f"READY=1\nSTATUS={status}")


def stopping() -> None:
    """Say that it ends by itself or because it was asked to."""
    _send("STOPPING=1")


def alive() -> None:
    """Give a sign of life, to be called all the time by the thread that must never hang.

    A unit with WatchdogSec is started anew when they fail to come.
    """
    if _alive.due():
        _send("WATCHDOG=1")
