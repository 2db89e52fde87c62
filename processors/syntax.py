"""Is this an address by its syntax, and what is its normal form?

The answer is that of the email-validator package. Asking it costs some 40 µs an address, so what it
says of a domain is remembered, and a plain local part, which is nearly every one, is recognized by
a pattern; all else goes to the package. A property test holds both ways to the same answers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_letters, digits
from typing import NamedTuple

from email_validator import EmailNotValidError, rfc_constants, validate_email


class Syntax(NamedTuple):
    """Why an address is malformed; or else its normal form, and its domain as the DNS has it.

    The domain is in lower case and ASCII (`xn--…` for an international one).
    """

    reason: str | None
    normalized: str | None
    domain: str | None


# An unquoted ASCII local part (RFC 5322, dot-atom); possessive, as going back would find nothing.
_ATOM_CHARACTERS = f"{ascii_letters}{digits}!#$%&'*+-/=?^_`{{|}}~"
_ATOM = f"[{re.escape(_ATOM_CHARACTERS)}]++"
_PLAIN_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*+")
# RFC 5321, 4.5.3.1.1. The package doesn't mind longer ones, but they are unusual.
_MAX_LOCAL = 64
# Twice as fast as Syntax(…).
_new = tuple.__new__
_MAX_LENGTH = rfc_constants.EMAIL_MAX_LENGTH
# Local parts that the package writes in lower case.
_CASELESS = frozenset(rfc_constants.CASE_INSENSITIVE_MAILBOX_NAMES)

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
# All codes for a malformed address.
MALFORMED = frozenset(code for _, code in _REASONS) | {"bad_syntax"}


def _reason(error: EmailNotValidError) -> str:
    sentence = str(error)
    for words, reason in _REASONS:
        if words in sentence:
            return reason
    return "bad_syntax"


def by_library(address: str) -> Syntax:
    """What the package says of an address."""
    try:
        valid = validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        return Syntax(_reason(error), None, None)
    return Syntax(None, valid.normalized, valid.ascii_domain)


# Of a domain: what comes of an address with it if that is malformed whatever its plain local part;
# "@" and the domain in normal form; the domain as the DNS has it; the longest plain local part.
_Domain = tuple[Syntax | None, str, str, int]


@lru_cache(maxsize=1 << 16)
def _by_domain(domain: str) -> _Domain:
    # Where the local part ends doesn't depend on what it is, as long as it is plain; nor does any
    # error but that the whole is too long, which the package looks for last.
    syntax = by_library(f"a@{domain}")
    if syntax.normalized is None or syntax.domain is None:
        return syntax, "", "", _MAX_LOCAL
    ending = syntax.normalized[1:]
    forms = (f"@{domain}", ending, f"@{syntax.domain}")
    longest = _MAX_LENGTH - max(len(form.encode()) for form in forms)
    return None, ending, syntax.domain, min(longest, _MAX_LOCAL)


def parse(address: str) -> Syntax:
    """The same answer as by_library(), mostly without asking."""
    local, at, domain = address.partition("@")
    # A domain as long as that isn't worth its room in the cache.
    if not at or len(domain) > _MAX_LENGTH or _PLAIN_LOCAL.fullmatch(local) is None:
        return by_library(address)
    malformed, ending, ascii_domain, longest = _by_domain(domain)
    if len(local) > longest:
        return by_library(address)
    if malformed is not None:
        return malformed
    if not local.islower() and local.lower() in _CASELESS:
        local = local.lower()
    return _new(Syntax, (None, local + ending, ascii_domain))


def parts(address: str) -> tuple[str | None, str, str]:
    """What parse() says without the normal form, which takes less time still: the reason, or else
    None, the local part as it is written, and the domain.
    """
    local, at, domain = address.partition("@")
    if at and len(domain) <= _MAX_LENGTH and _PLAIN_LOCAL.fullmatch(local) is not None:
        malformed, _, ascii_domain, longest = _by_domain(domain)
        if malformed is None and len(local) <= longest:
            return None, local, ascii_domain
    reason, _, parsed = parse(address)
    return reason, address.rpartition("@")[0], parsed or ""


def normalized(address: str) -> str:
    """The normal form of an address, empty if it is malformed."""
    return parse(address).normalized or ""


def normal_forms(addresses: list[str]) -> list[str]:
    """The normal form of each, as of normalized(); of many plain ones at once, in a quarter of
    the time.
    """
    forms = _plain_forms(addresses)
    if forms is not None:
        return forms
    if len(addresses) <= _FEW:
        return [normalized(address) for address in addresses]
    step = -(-len(addresses) // 8)
    parts = [addresses[start : start + step] for start in range(0, len(addresses), step)]
    return [form for part in parts for form in normal_forms(part)]


# Addresses too few to look for plain ones together.
_FEW = 32
# What plain local parts, one on each line, are of.
_PLAIN = f"{_ATOM_CHARACTERS}.\n".encode()
# Domains in normal form with which the longest plain local part makes no address too long.
_normal_domains: set[str] = set()


def _plain_forms(addresses: list[str]) -> list[str] | None:
    """The normal forms, if all local parts are plain and in normal form; or else None."""
    text = "@\n".join(addresses)
    count = len(addresses)
    pieces = text.split("@")
    locals_, domains = pieces[::2], pieces[1::2]
    locals_text = "".join(locals_)
    # Each address has one @-sign if every other piece begins with the line end that is put between
    # addresses. There is no other line end, so that each of these is of one local part.
    if len(pieces) != 2 * count or not text.count("\n") == locals_text.count("\n") == count - 1:
        return None
    dotted = f"\n{locals_text}\n"
    if (
        locals_text.encode().translate(None, _PLAIN)
        or any(wrong in dotted for wrong in ("..", "\n.", ".\n", "\n\n"))
        or max(map(len, locals_)) > _MAX_LOCAL
        or not (locals_text.islower() or _CASELESS.isdisjoint(locals_text.lower().split("\n")))
    ):
        return None
    if _are_normal(domains):
        return addresses
    return [
        address if domain in _normal_domains else normalized(address)
        for address, domain in zip(addresses, domains, strict=True)
    ]


def _are_normal(domains: list[str]) -> bool:
    """Whether all are among _normal_domains, when those that belong there have been added."""
    if _normal_domains.issuperset(domains):
        return True
    if len(_normal_domains) > 1 << 16:
        _normal_domains.clear()
    for domain in set(domains).difference(_normal_domains):
        if len(domain) <= _MAX_LENGTH:
            malformed, ending, _, longest = _by_domain(domain)
            if malformed is None and ending == f"@{domain}" and longest == _MAX_LOCAL:
                _normal_domains.add(domain)
    return _normal_domains.issuperset(domains)
