"""The syntax of addresses and their normal form.

The results are those of the email-validator package, which takes about 40 µs an address. So its
results for domains are cached, and a pattern recognizes plain local parts, which nearly all are;
its results for malformed addresses are cached by shape. All other addresses go to the package. A
property test holds the fast path and the package to the same results.

A local part longer than RFC 5321 allows is `too_long`, as written or in its normal form. So is a
longer address, whatever else is wrong with it, and without a call of the package: Unicode
normalization in it takes time with the square of the length. Within the limit, a call takes 5 ms
at most.
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
from runtime.characters import has_invisible


class Syntax(NamedTuple):
    """The result for an address: a reason if it is malformed, or else the other two.

    `normalized` is its normal form.
    `domain` is its domain in lower-case ASCII (`xn--…` for an international domain).
    """

    reason: str | None
    normalized: str | None
    domain: str | None


# The most characters of an address that are shown and searched.
MAX_CHARACTERS = 512
# An unquoted ASCII local part (RFC 5322, dot-atom). Backtracking would find nothing, so none is
# tried here and below; of groups by (?>…), because Python 3.11.2 errs with possessive groups.
ATOM_CHARACTERS = f"{ascii_letters}{digits}!#$%&'*+-/=?^_`{{|}}~"
_ATOM = f"[{re.escape(ATOM_CHARACTERS)}]++"
_PLAIN_LOCAL = re.compile(rf"{_ATOM}(?>(?:\.{_ATOM})*)")
# The most bytes of a local part (RFC 5321, 4.5.3.1.1), which the package doesn't count.
MAX_LOCAL = 64
# The most domains in the cache of results, 400 bytes each.
_MAX_DOMAINS = 1 << 13
# The most bytes of an address in UTF-8, as written and in its normal form; and of a domain with
# which no plain local part makes an address too long.
_MAX_LENGTH = rfc_constants.EMAIL_MAX_LENGTH
_MAX_DOMAIN = _MAX_LENGTH - MAX_LOCAL - 1
# Twice as fast as Syntax(…).
_new = tuple.__new__
# Local parts that the package puts in lower case.
_CASELESS = frozenset(rfc_constants.CASE_INSENSITIVE_MAILBOX_NAMES)

# The package's errors differ only in their sentences. Each pair is a part of a sentence and the
# reason for it; the first match counts.
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
# All reasons for a malformed address.
MALFORMED = frozenset(code for _, code in _REASONS) | {"bad_syntax", "invisible_characters"}


def _size(text: str) -> int:
    """Return the number of bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _reason(error: EmailNotValidError, address: str) -> str:
    if has_invisible(address):
        return "invisible_characters"
    sentence = str(error)
    reason = next((reason for words, reason in _REASONS if words in sentence), "bad_syntax")
    # An @-sign behind an open quote counts as none for the package.
    return "bad_local_part" if reason == "no_at_sign" and "@" in address else reason


def by_library(address: str) -> Syntax:
    """Return the package's result for an address, unless it or its local part is too long."""
    if _size(address) > _MAX_LENGTH:
        return _TOO_LONG
    try:
        valid = validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        return Syntax(_reason(error, address), None, None)
    if max(_size(valid.local_part), _size(address.rpartition("@")[0])) > MAX_LOCAL:
        return _TOO_LONG
    return Syntax(None, valid.normalized, valid.ascii_domain)


# A host name of at least two labels (RFC 1123), shorter than the limit, that ends with a letter.
# Two hyphens in a row are left to the package, because they may be punycode.
_LABEL = "(?![^.]{64})[a-z0-9](?>(?:-?[a-z0-9])*)"
_PLAIN_DOMAIN = re.compile(rf"(?=.{{1,180}}\Z)(?>(?:{_LABEL}\.)+){_LABEL}(?<=[a-z])")
_RESERVED = frozenset(SPECIAL_USE_DOMAIN_NAMES)
_RESERVED_ENDINGS = frozenset(name.rpartition(".")[2] for name in _RESERVED)


def _is_reserved(domain: str) -> bool:
    """Return whether the domain or one of its parents is for special use."""
    if domain.rpartition(".")[2] not in _RESERVED_ENDINGS:
        return False  # as nearly always
    while domain not in _RESERVED:
        _, dot, domain = domain.partition(".")
        if not dot:
            return False
    return True


def _judge(domain: str) -> tuple[Syntax | None, str, str, int]:
    """Return all that a domain says about an address with a plain local part.

    That is: the result if every such address is malformed; "@" and the domain in normal form; the
    domain in lower-case ASCII; the length of the longest plain local part allowed.
    """
    # No error depends on a plain local part, except that the address is too long, for which the
    # package looks last.
    lowered = domain.lower()
    if domain.isascii() and _PLAIN_DOMAIN.fullmatch(lowered) and not _is_reserved(lowered):
        return None, f"@{lowered}", lowered, min(_MAX_LENGTH - 1 - len(domain), MAX_LOCAL)
    syntax = by_library(f"a@{domain}")
    if syntax.normalized is None or syntax.domain is None:
        return syntax, "", "", MAX_LOCAL
    ending = syntax.normalized[1:]
    forms = (f"@{domain}", ending, f"@{syntax.domain}")
    longest = _MAX_LENGTH - max(len(form.encode()) for form in forms)
    return None, ending, syntax.domain, min(longest, MAX_LOCAL)


_by_domain = lru_cache(maxsize=_MAX_DOMAINS)(_judge)


# In an ASCII address of this length, no part can be too long.
_SHORT = 64
_WORDS = re.compile("[A-Za-z0-9]+")
_HOST = re.compile("[A-Za-z0-9.-]*")

_by_shape = lru_cache(maxsize=1 << 13)(by_library)


def _malformed(address: str) -> Syntax | None:
    """Return the result for a malformed address if its shape shows it; otherwise None.

    The result for a short, malformed ASCII address depends neither on the letters and digits before
    the last @-sign, and their number, nor on a well-formed domain behind it. So the package is
    asked once for each shape.
    """
    if len(address) > _SHORT or not address.isascii():
        return None
    before, at, behind = address.rpartition("@")
    if at:
        host = _HOST.match(behind)[0]  # type: ignore[index]
        # is_roomy(), without its look at the size, which _SHORT limits; this is a hot path.
        malformed, _, _, longest = _by_domain(host)
        if malformed is None and longest == MAX_LOCAL:
            behind = f"a.aa{behind[len(host) :]}"
    else:
        before, behind = behind, ""
    syntax = _by_shape(_WORDS.sub("a", before) + at + behind)
    return None if syntax.reason is None else syntax


def _split(address: str) -> tuple[str, str] | None:
    """Return (plain local part, domain, which may be malformed); None for any other address."""
    # A domain with an @-sign may be any text; it would fill the cache.
    local, at, domain = address.partition("@")
    if not at or "@" in domain or _PLAIN_LOCAL.fullmatch(local) is None:
        return None
    # With a longer domain, the local part decides whether the address is too long.
    if _size(domain) > _MAX_DOMAIN or _size(address) > _MAX_LENGTH:
        return None
    return local, domain


def parse(address: str) -> Syntax:
    """Return the result of by_library(), mostly without a call of the package."""
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
    """Return (None, local part as written, domain), or (reason, "", "") for a malformed address.

    Reason and domain agree with parse(). This takes less time, because no normal form is made.
    """
    split = _split(address)
    if split is None:
        found = _malformed(address) or by_library(address)
    else:
        local, domain = split
        malformed, _, ascii_domain, longest = _by_domain(domain)
        if malformed is None and len(local) <= longest:
            return None, local, ascii_domain
        found = parse(address)
    if found.reason is not None:
        return found.reason, "", ""
    return None, address.rpartition("@")[0], found.domain or ""


def parsed(address: str, reason: str | None) -> Syntax:
    """Return parse() for an email that has this reason, which may say that it is malformed."""
    return Syntax(reason, None, None) if reason in MALFORMED else parse(address)


def domains(addresses: list[str]) -> list[str]:
    """Return the domain of each address, or "" if the normal form depends on more than the domain.

    An address whose domain is_normal() is its own normal form.
    """
    text = as_lines(addresses)
    return [""] * len(addresses) if text is None else _DOMAINS.split(f"\n{text}")[1:]


def is_normal(domain: str) -> bool:
    """Return whether a domain is in normal form, and no plain local part makes it too long."""
    return is_roomy(domain) and _by_domain(domain)[1] == f"@{domain}"


# A plain local part that is short enough, and "@".
_LOCAL = rf"(?![^@]{{{MAX_LOCAL + 1}}}){_ATOM}(?>(?:\.{_ATOM})*)@"
# Matches a line's end, and behind it the local part and "@" of an address whose normal form is
# itself if its domain is normal, or else the whole line. The rest of the line may be anything.
_DOMAINS = re.compile(
    rf"\n(?:(?!(?=[a-z]*+[A-Z][A-Za-z]*+@)(?i:{'|'.join(_CASELESS)})@){_LOCAL}|[^\n]*+)"
)


def is_roomy(domain: str) -> bool:
    """Return whether every plain address with this domain is well-formed, up to MAX_LOCAL."""
    if _size(domain) > _MAX_DOMAIN:
        return False
    malformed, _, _, longest = _by_domain(domain)
    return malformed is None and longest == MAX_LOCAL


def of_domain(domain: str) -> Syntax | None:
    """Return the result, without a normal form, for all plain addresses with this domain.

    Returns None if it depends on the length of the local part.
    The result isn't cached, because the check asks for each domain once.
    """
    if _size(domain) > _MAX_DOMAIN:
        return None
    malformed, _, ascii_domain, longest = _judge(domain)
    if longest < MAX_LOCAL:
        return None
    return malformed or _new(Syntax, (None, None, ascii_domain))
