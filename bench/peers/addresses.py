"""The addresses of a comparison, always the same, each once."""

from __future__ import annotations

_POPULAR = ("gmail.com", "yahoo.com", "hotmail.com", "outlook.com", "gmx.de", "icloud.com")
# Domains of companies, in addition to the popular ones.
_FIRMS = 2000
# Addresses that come once in a hundred each, numbered.
_ODD = (
    "user{}.example.com",
    "user..{}@example.com",
    "us er{}@example.com",
    "user{}@example",
    "user{}@",
    "user{}@mailinator.com",
    "user{}@gmial.com",
    "info@firm{}.example.net",
)


def address(number: int) -> str:
    """Return an address: of 100, 46 have popular domains, 46 companies', 8 are bad or risky."""
    place = number % 100
    if place < len(_ODD):
        return _ODD[place].format(number)
    if number % 2:
        return f"first.last{number}@{_POPULAR[number % len(_POPULAR)]}"
    return f"first.last{number}@firm{number // 2 % _FIRMS}.example.org"


def addresses(count: int) -> list[str]:
    """Return the first addresses."""
    return [address(number) for number in range(count)]
