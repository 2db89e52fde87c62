"""Is this an address by its syntax, and what is its normal form?

The answer is that of the email-validator package. Asking it costs some 40 µs an address, so what it
says of a domain is remembered, and a plain local part, which is nearly every one, is recognized by
a pattern; what it says of a malformed one is remembered for others of its shape; all else goes to
the package. A property test holds both ways to the same answers.

An address that is too long for RFC 5321 is `too_long`, whatever else is wrong with it, and the
package isn't asked: it makes Unicode's normal forms, whose time grows with the square of the
length. An address within the limit takes 5 ms at most.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_letters, digits
from typing import NamedTuple

from email_validator import (
    SPECIAL_USE_DOMAIN_NAMES,
    EmailNotValidError,
    rfc_constants,
    validate_email,
)

from processors import as_lines
from processors.mailboxes import ROLES, pattern_of


class Syntax(NamedTuple):
    """Why an address is malformed; or else its normal form, and its domain as the DNS has it.

    The domain is in lower case and ASCII (`xn--…` for an international one).
    """

    reason: str | None
    normalized: str | None
    domain: str | None


# Characters of an address, or of what stands in its place, that are shown and searched.
MAX_CHARACTERS = 512
# An unquoted ASCII local part (RFC 5322, dot-atom); possessive, as going back would find nothing.
_ATOM_CHARACTERS = f"{ascii_letters}{digits}!#$%&'*+-/=?^_`{{|}}~"
_SET = re.escape(_ATOM_CHARACTERS)
_ATOM = f"[{_SET}]++"
_PLAIN_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*+")
# RFC 5321, 4.5.3.1.1. The package doesn't mind longer ones, but they are unusual.
_MAX_LOCAL = 64
# Domains that are remembered.
_MAX_DOMAINS = 1 << 16
# The most bytes of an address in UTF-8, as it is written and in its normal form; and of a domain
# that leaves room for the longest local part.
_MAX_LENGTH = rfc_constants.EMAIL_MAX_LENGTH
_MAX_DOMAIN = _MAX_LENGTH - _MAX_LOCAL - 1
# Twice as fast as Syntax(…).
_new = tuple.__new__
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
_TOO_LONG = Syntax("too_long", None, None)
# All codes for a malformed address.
MALFORMED = frozenset(code for _, code in _REASONS) | {"bad_syntax"}


def _size(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _reason(error: EmailNotValidError) -> str:
    sentence = str(error)
    for words, reason in _REASONS:
        if words in sentence:
            return reason
    return "bad_syntax"


def by_library(address: str) -> Syntax:
    """What the package says of an address, but for one that is too long."""
    if _size(address) > _MAX_LENGTH:
        return _TOO_LONG
    try:
        valid = validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        return Syntax(_reason(error), None, None)
    return Syntax(None, valid.normalized, valid.ascii_domain)


# A host name of several labels (RFC 1123), not as long as can be, the last of which ends with a
# letter; two hyphens in a row are unusual, and may be punycode.
_LABEL = "(?![^.]{64})[a-z0-9](?:-?[a-z0-9])*+"
_PLAIN_DOMAIN = re.compile(rf"(?=.{{1,180}}\Z)(?:{_LABEL}\.)++{_LABEL}(?<=[a-z])")
_RESERVED = frozenset(SPECIAL_USE_DOMAIN_NAMES)


def _is_reserved(domain: str) -> bool:
    """Whether it, or a domain that it is part of, is for special use."""
    while domain not in _RESERVED:
        _, dot, domain = domain.partition(".")
        if not dot:
            return False
    return True


# Of a domain: what comes of an address with it if that is malformed whatever its plain local part;
# "@" and the domain in normal form; the domain as the DNS has it; the longest plain local part.
_Domain = tuple[Syntax | None, str, str, int]


@lru_cache(maxsize=_MAX_DOMAINS)
def _by_domain(domain: str) -> _Domain:
    # Where the local part ends doesn't depend on what it is, as long as it is plain; nor does any
    # error but that the whole is too long, which the package looks for last.
    lowered = domain.lower()
    if domain.isascii() and _PLAIN_DOMAIN.fullmatch(lowered) and not _is_reserved(lowered):
        return None, f"@{lowered}", lowered, min(_MAX_LENGTH - 1 - len(domain), _MAX_LOCAL)
    syntax = by_library(f"a@{domain}")
    if syntax.normalized is None or syntax.domain is None:
        return syntax, "", "", _MAX_LOCAL
    ending = syntax.normalized[1:]
    forms = (f"@{domain}", ending, f"@{syntax.domain}")
    longest = _MAX_LENGTH - max(len(form.encode()) for form in forms)
    return None, ending, syntax.domain, min(longest, _MAX_LOCAL)


# Of an ASCII address so short, no part can be too long.
_SHORT = 64
_WORDS = re.compile("[A-Za-z0-9]+")
_HOST = re.compile("[A-Za-z0-9.-]*")


@lru_cache(maxsize=1 << 13)
def _by_shape(shape: str) -> Syntax:
    return by_library(shape)


def _malformed(address: str) -> Syntax | None:
    """What is wrong with an address, if that shows by its shape.

    Which letters and digits are before the last @-sign, and how many, makes no difference to what
    is wrong with a short ASCII address, nor which well-formed domain is behind it. So those of one
    shape need to be asked about once.
    """
    if len(address) > _SHORT or not address.isascii():
        return None
    before, at, behind = address.rpartition("@")
    if at:
        host = _HOST.match(behind)[0]  # type: ignore[index]
        if is_roomy(host):
            behind = f"a.aa{behind[len(host) :]}"
    else:
        before, behind = behind, ""
    syntax = _by_shape(_WORDS.sub("a", before) + at + behind)
    return None if syntax.reason is None else syntax


def _split(address: str) -> tuple[str, str] | None:
    """A plain local part, and the domain, which may be malformed; None for any other address."""
    if _size(address) > _MAX_LENGTH:
        return None
    local, at, domain = address.partition("@")
    if (
        at
        # There are as many of these as of domains.
        and "@" not in domain
        # With a longer domain, it depends on the local part whether all is too long.
        and _size(domain) <= _MAX_DOMAIN
        and _PLAIN_LOCAL.fullmatch(local) is not None
    ):
        return local, domain
    return None


def parse(address: str) -> Syntax:
    """The same answer as by_library(), mostly without asking."""
    split = _split(address)
    if split is None:
        return _malformed(address) or by_library(address)
    local, domain = split
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
    split = _split(address)
    if split is None:
        reason, _, found = _malformed(address) or by_library(address)
    else:
        local, domain = split
        malformed, _, ascii_domain, longest = _by_domain(domain)
        if malformed is None and len(local) <= longest:
            return None, local, ascii_domain
        reason, _, found = parse(address)
    return reason, address.rpartition("@")[0], found or ""


def normalized(address: str) -> str:
    """The normal form of an address, empty if it is malformed."""
    return parse(address).normalized or ""


def normal_forms(addresses: list[str]) -> list[str]:
    """The normal form of each, as of normalized(), in a fraction of the time."""
    text = as_lines(addresses)
    if text is None:
        return [*map(normalized, addresses)]
    _, domains = split_lines(text)
    if _are_normal(domains):
        return addresses
    return [
        address if domain in _normal_domains else normalized(address)
        for address, domain in zip(addresses, domains, strict=True)
    ]


# Domains in normal form with which the longest plain local part makes no address too long.
_normal_domains: set[str] = set()


def _are_normal(domains: list[str]) -> bool:
    """Whether all are among _normal_domains, when those that belong there have been added."""
    if _normal_domains.issuperset(domains):
        return True
    if len(_normal_domains) > _MAX_DOMAINS:
        _normal_domains.clear()
    for domain in set(domains).difference(_normal_domains):
        if is_roomy(domain) and _by_domain(domain)[1] == f"@{domain}":
            _normal_domains.add(domain)
    return _normal_domains.issuperset(domains)


# A line's end, and the next line up to the domain if what becomes of the address depends on that
# alone, or else the whole line. Before the domain is a plain local part then, not too long, and
# none that has a meaning; that it has other characters than those is seen soonest.
_MEANS_MORE = f"(?=[A-Za-z-]++@){pattern_of(ROLES | _CASELESS)}@"
_BEFORE_DOMAIN = re.compile(
    rf"\n(?:(?!{_MEANS_MORE})(?![^@]{{{_MAX_LOCAL + 1}}}){_ATOM}(?:\.{_ATOM})*+@(?=[^@\n]++$)"
    r"|([^\n]*+))",
    re.MULTILINE,
)


def split_lines(text: str) -> tuple[list[str | None], list[str]]:
    """Of addresses, one a line, those that are to be looked at whole, and the domains of the rest.

    Both lists have an item for each line: the one None if the domain is all that matters, which
    may be malformed; the other "" if it isn't.
    """
    pieces = _BEFORE_DOMAIN.split(f"\n{text}")
    return pieces[1::2], pieces[2::2]


def is_roomy(domain: str) -> bool:
    """Whether any plain address with this domain is well-formed, however long its local part."""
    if _size(domain) > _MAX_DOMAIN:
        return False
    malformed, _, _, longest = _by_domain(domain)
    return malformed is None and longest == _MAX_LOCAL


def of_domain(domain: str) -> Syntax | None:
    """What comes of any address with this domain and a plain local part, except a normal form.

    None if that depends on how long the local part is.
    """
    if _size(domain) > _MAX_DOMAIN:
        return None
    malformed, _, ascii_domain, longest = _by_domain(domain)
    if longest < _MAX_LOCAL:
        return None
    return malformed or Syntax(None, None, ascii_domain)
