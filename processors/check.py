"""The default processor: is this an address that mail could be sent to, by its syntax?

The verdict is that of the email-validator package. Asking it costs some 40 µs an address, so its
verdict on a domain is remembered, and a plain local part, which is nearly every one, is recognized
by a pattern; all else goes to the package. A property test holds both ways to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

from processors import PROCESSED, Outcome, failed

# An unquoted ASCII local part (RFC 5322, dot-atom) of at most 64 characters (RFC 5321, 4.5.3.1.1).
_ATOM = r"[\w!#$%&'*+\-/=?^`{|}~]+"
_PLAIN_LOCAL = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@", re.A)
# Not Punycode: decoded it may be longer, and the package measures that too.
_PLAIN_DOMAIN = re.compile(r"(?!.*xn--)[a-z0-9.-]+", re.I | re.A)
# RFC 3696, erratum 1690.
_MAX_LENGTH = 254

# The package tells kinds of errors apart only by their sentences: what one contains, and our code
# for it. The first that fits counts.
_REASONS = (
    ("must have an @-sign", "no_at_sign"),
    ("instead of a regular at-sign", "no_at_sign"),
    ("something before the @-sign", "no_local_part"),
    ("something after the @-sign", "no_domain"),
    ("is too long", "too_long"),
    ("separated by so many characters", "too_long"),
    ("should have a period", "no_top_level_domain"),
    ("valid top-level domain", "no_top_level_domain"),
    ("special-use or reserved", "reserved_domain"),
    ("Quoting the part before", "quoted_local_part"),
    ("bracketed IP address", "ip_address"),
    ("in brackets after the @-sign", "ip_address"),
    ("display name", "display_name"),
    ("angle bracket", "display_name"),
    ("anything after the email address", "display_name"),
    ("close quote", "display_name"),
    ("before the @-sign", "bad_local_part"),
    ("in quotes", "bad_local_part"),
    ("after the @-sign", "bad_domain"),
    ("immediately after", "bad_domain"),
)


def _reason(error: EmailNotValidError) -> str:
    sentence = str(error)
    for words, reason in _REASONS:
        if words in sentence:
            return reason
    return "bad_syntax"


def by_library(address: str) -> Outcome:
    """The package's verdict on an address."""
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        return failed(_reason(error))
    return PROCESSED


@lru_cache(maxsize=1 << 16)
def _by_domain(domain: str) -> Outcome:
    """The package's verdict on any address with this domain whose local part is plain."""
    return by_library(f"a@{domain}")


def check_one(address: str) -> Outcome:
    """The same verdict as by_library(), mostly without asking."""
    local = _PLAIN_LOCAL.match(address)
    if local is not None and len(address) <= _MAX_LENGTH:
        domain = address[local.end() :]
        if _PLAIN_DOMAIN.fullmatch(domain):
            return _by_domain(domain)
    return by_library(address)


def check(addresses: Iterable[str]) -> Iterator[Outcome]:
    """Yield the outcome of each address."""
    return map(check_one, addresses)
