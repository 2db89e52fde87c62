"""The kinds of settings: how the text of each is read, and what is said if it isn't allowed.

Each parser raises ValueError with what the setting must be instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from typing import Any
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def option(default: str, parse: Callable[[str], Any], *, secret: bool = False) -> Any:
    """Return a setting, with the text that a file without it is read with."""
    return field(metadata={"default": default, "parse": parse}, repr=not secret)


def number(default: str, kind: type[int] | type[float], least: float, most: float) -> Any:
    """Return a setting that is a number of this kind, from `least` to `most`."""
    name = "a whole number" if kind is int else "a number"

    def parse(value: str) -> int | float:
        with suppress(ValueError):
            number = kind(value)
            if least <= number <= most:
                return number
        raise ValueError(f"must be {name} from {least:,} to {most:,}, not {value!r}")

    return option(default, parse)


def matching(default: str, pattern: str, wanted: str) -> Any:
    """Return a setting whose whole text matches the pattern; `wanted` says what that is."""

    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {wanted}, not {value!r}")
        return value

    return option(default, parse)


def origins(value: str) -> tuple[str, ...]:
    """Return the origins, such as https://example.org, that are separated by spaces."""
    for origin in value.split():
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"must be origins such as https://example.org, not {origin!r}")
    return tuple(value.split())


def networks(value: str) -> tuple[Network, ...]:
    """Return the networks that are separated by spaces; an address is one of its own."""
    try:
        return tuple(map(ipaddress.ip_network, value.split()))
    except ValueError as error:
        raise ValueError(f"must be IP addresses or networks such as 10.1.0.0/24: {error}") from None


def yes_or_no(value: str) -> bool:
    """Return whether the text is `yes`."""
    if value not in ("yes", "no"):
        raise ValueError(f"must be yes or no, not {value!r}")
    return value == "yes"


def nameservers(value: str) -> tuple[str, ...]:
    """Return the addresses that are separated by spaces, each with a port or not."""
    for nameserver in value.split():
        match = re.fullmatch(r"([\d.]+|\[[\da-fA-F:.]+\]):(\d{1,5})", nameserver)
        address, port = (match[1].strip("[]"), int(match[2])) if match else (nameserver, 53)
        try:
            ipaddress.ip_address(address)
            if not 1 <= port <= 65535:
                raise ValueError(port)
        except ValueError:
            raise ValueError(
                f"must be IP addresses, each with :port or not (an IPv6 address with one is"
                f" written [::1]:53), not {nameserver!r}"
            ) from None
    return tuple(value.split())
