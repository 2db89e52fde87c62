"""Domains for throw-away addresses: those of two packages, and of a list of the team's own."""

from __future__ import annotations

import runpy
import sys
from array import array
from bisect import bisect_left
from collections.abc import Container
from pathlib import Path

from processors import syntax
from processors.providers import FREE

# Domains on mailchecker's list that are not for throw-away addresses, beside the free providers.
# First other mail providers; firms, persons and a university with addresses of their own.
_OWNED = """
    8848.net afternic.com animail.net bluebottle.com brainonfire.net deal-maker.com email.org
    feedspot.com firemail.cc hush.ai lavabit.com lsmu.com movemail.com nus.edu.sg test.com test.de
    ubuntu.org yandex.net yifan.net
"""
# Relays, which forward to the mailbox of one person for as long as that person wants.
_RELAYS = """
    8shield.net addy.io aleeas.com anonaddy.com anonaddy.me duck.com forwardemail.net improvmx.com
    mozmail.com passfwd.com passinbox.com passmail.com passmail.net relay.firefox.com
    simplelogin.co simplelogin.com slmail.me slmails.com
"""
# Public suffixes, below which anybody may register a domain (https://publicsuffix.org).
_SUFFIXES = """
    3utilities.com cloudns.asia cloudns.cc cloudns.cx ddns.net ddnsfree.com dns-cloud.net
    dnsabr.com dynu.net f5.si gleeze.com hopto.org kirt.er kozow.com msk.ru nom.za pp.ua sytes.net
    za.com zp.ua
"""
_REAL = FREE.union(f"{_OWNED} {_RELAYS} {_SUFFIXES}".split())


def _hashes() -> array[int]:
    """Return the hashes of the domains on the packages' lists, sorted.

    Of mailchecker's, those in _REAL are left out. The hashes take 0.6 MB, and the lists 9 MB, so
    neither module is kept: whoever imports it gets a copy of his own. mailchecker is run and not
    imported, because its list must be emptied.
    """
    from disposable_email_domains import blocklist

    del sys.modules["disposable_email_domains"]
    listed = runpy.run_module("MailChecker")["MailChecker"].blacklist
    hashes = array("q", sorted({*map(hash, listed - _REAL), *map(hash, blocklist)}))
    listed.clear()  # classes are parts of cycles, so it would stay until garbage is collected
    return hashes


# The chance that an unlisted domain has one of these 64-bit hashes is one in 300 trillion.
_HASHES = _hashes()


class ListError(Exception):
    """The team's own list of disposable domains can't be used; the message says why."""


def is_disposable(domain: str, own: Container[str] = ()) -> bool:
    """Return whether the domain or one of its parents is on a package's list or in `own`."""
    while "." in domain:
        if domain in own:
            return True
        key = hash(domain)
        place = bisect_left(_HASHES, key)
        if place < len(_HASHES) and _HASHES[place] == key:
            return True
        domain = domain.partition(".")[2]
    return False


def read_list(path: Path) -> frozenset[str]:
    """Return the domains in a file, one a line, without empty lines and comments (#).

    Raises ListError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ListError(f"{path} can't be read: {error}") from error
    domains = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            domain = syntax.parse(f"a@{text}").domain
            if domain is None:
                raise ListError(f"{path}, line {number}: {text!r} is not a domain")
            domains.add(domain)
    return frozenset(domains)
