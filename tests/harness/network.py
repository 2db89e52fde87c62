"""Several hosts on one machine, and the network between them, with latency and cut cables.

A host is a network namespace of Linux with its own name and its own address, which is that of a TUN
device. One thread reads the packets from all these devices, and writes each to the device of the
host that it is for, after the latency. This needs neither `tc netem delay`, which not every kernel
has, nor iproute2. All hosts are gone with the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Self

# Bytes of the largest packet. Large, because each packet costs one turn of a loop in Python.
MTU = 16_000

# From linux/sched.h, linux/if_tun.h, linux/sockios.h and linux/if.h.
_KINDS = {"net": 0x4000_0000, "uts": 0x0400_0000}
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
_IFF_UP = 0x1

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")

_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A host with a name, and the address 10.9.0.`number`."""

    def __init__(self, name: str, number: int) -> None:
        """Make the host. Raises OSError where this isn't allowed."""
        self.address = f"10.9.0.{number}"
        # While the host is unplugged, packets from it and to it are lost without a sign.
        self.unplugged = False
        with _back_again():
            _check(_libc.unshare(sum(_KINDS.values())))
            self._namespaces = _own_namespaces()
            socket.sethostname(name)
            # Not BBR, which keeps to the latency that it measured before a test changed it. Reno is
            # the one that every machine allows in a namespace.
            _CONGESTION_CONTROL.write_text("reno")
            self.device = _make_device(self.address)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread, and all sockets and processes that it makes, on the host."""
        with _back_again():
            _enter(self._namespaces)
            yield

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Unplug the host's cable, and plug it in again at the end."""
        self.unplugged = True
        try:
            yield
        finally:
            self.unplugged = False

    def close(self) -> None:
        """Let go of the namespaces, which end with the last process in them."""
        for descriptor in (self.device, *self._namespaces.values()):
            os.close(descriptor)


def _own_namespaces() -> dict[str, int]:
    """Return descriptors of this thread's namespaces by kind."""
    return {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in _KINDS}


def _enter(namespaces: dict[str, int]) -> None:
    for kind, descriptor in namespaces.items():
        _check(_libc.setns(descriptor, _KINDS[kind]))


@contextlib.contextmanager
def _back_again() -> Iterator[None]:
    """Put this thread back at the end into the namespaces in which it was."""
    before = _own_namespaces()
    try:
        yield
    finally:
        _enter(before)
        for descriptor in before.values():
            os.close(descriptor)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _make_device(address: str) -> int:
    """Return a descriptor of a new TUN device with this address, in this thread's namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def set_(what: int, name: bytes, value: bytes) -> None:
            fcntl.ioctl(control, what, struct.pack("16s24s", name, value))

        def inet(text: str) -> bytes:
            return struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(text))

        set_(_SIOCSIFADDR, b"tun0", inet(address))
        set_(_SIOCSIFNETMASK, b"tun0", inet("255.255.255.0"))
        set_(_SIOCSIFMTU, b"tun0", struct.pack("i", MTU))
        for name in (b"lo", b"tun0"):
            set_(_SIOCSIFFLAGS, name, struct.pack("H", _IFF_UP))
    return device


class Network:
    """Hosts with these names, and the thread that carries their packets."""

    def __init__(self, *names: str, latency: float = 0.0) -> None:
        """Make the hosts. `latency` is in seconds, one way. Raises OSError."""
        self.latency = latency
        self.hosts: dict[str, Host] = {}
        self._on_the_way: deque[tuple[float, Host, Host, bytes]] = deque()
        self._waker, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        try:
            for number, name in enumerate(names, start=1):
                self.hosts[name] = Host(name, number)
        except OSError as error:
            self.close()
            raise OSError(
                f"Hosts need root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun: {error}"
            ) from error
        self._thread.start()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the network. Processes that still run on its hosts can reach nobody then."""
        os.close(self._woken)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._waker)
        for host in self.hosts.values():
            host.close()

    # The network's thread owns the methods below.

    def _run(self) -> None:
        by_device = {host.device: host for host in self.hosts.values()}
        by_address = {socket.inet_aton(host.address): host for host in self.hosts.values()}
        devices = [*by_device, self._waker]
        while True:
            ready, _, _ = select.select(devices, (), (), self._pause())
            if self._waker in ready:
                return
            for device in ready:
                self._take(by_device[device], by_address)
            self._deliver()

    def _pause(self) -> float | None:
        """Return the seconds until the next packet is due; None if there is none."""
        if not self._on_the_way:
            return None
        return max(0.0, self._on_the_way[0][0] - time.monotonic())

    def _take(self, sender: Host, by_address: dict[bytes, Host]) -> None:
        """Take up to 16 packets that a host sends, so that other hosts get their turn."""
        for _ in range(16):
            try:
                packet = os.read(sender.device, 65_536)
            except BlockingIOError:
                return
            receiver = by_address.get(packet[16:20])  # as in IPv4
            if packet[0] >> 4 == 4 and receiver is not None:
                due = time.monotonic() + self.latency
                self._on_the_way.append((due, sender, receiver, packet))

    def _deliver(self) -> None:
        """Deliver the packets that are due, in the order in which they were sent."""
        now = time.monotonic()
        while self._on_the_way and self._on_the_way[0][0] <= now:
            _, sender, receiver, packet = self._on_the_way.popleft()
            if not (sender.unplugged or receiver.unplugged):
                with contextlib.suppress(
                    BlockingIOError
                ):  # its buffer is full, and the packet is lost
                    os.write(receiver.device, packet)
