"""The addresses of a comparison: always the same, each once."""

from __future__ import annotations

_POPULAR = ("gmail.com", "yahoo.com", "hotmail.com", "outlook.com", "gmx.de", "icloud.com")
# Domains of firms, beside the popular ones.
_FIRMS = 2000
# What comes once in a hundred addresses each, numbered.
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
    """One of them: in a hundred 46 at popular domains, 46 at firms, 8 malformed or risky."""
    place = number % 100
    if place < len(_ODD):
        return _ODD[place].format(number)
    if number % 2:
        return f"first.last{number}@{_POPULAR[number % len(_POPULAR)]}"
    return f"first.last{number}@firm{number // 2 % _FIRMS}.example.org"


def addresses(count: int) -> list[str]:
    """The first so many of them."""
    return [address(number) for number in range(count)]
