"""Risky addresses: likely typos and odd characters.

The results depend on the address alone, so that other processes come to the same results later.
"""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category

from rapidfuzz.distance import OSA

from processors import syntax

# Mistyped domains and the domains meant. Most of them have a mail server, run by people who wait
# for just these mistakes. A domain that anybody may really use is not listed, such as mail.com,
# email.com, ymail.com, gmx.com and hotmail.co.
TYPOS = {
    typo: domain
    for domain, typos in {
        "gmail.com": "gmial.com gmal.com gmai.com gmil.com gnail.com gamil.com gmaill.com"
        " ggmail.com gmali.com gmaik.com gmsil.com gmaul.com gmaol.com gimail.com gmeil.com"
        " gmail.con gmail.cmo gmail.comm gmail.cm gmail.om gmail.co gmail.vom gmail.xom",
        "googlemail.com": "googlemial.com googelmail.com googlemai.com googlemail.con",
        "hotmail.com": "hotmial.com hotmal.com hotmai.com hotmil.com homtail.com hotamil.com"
        " hormail.com hotmaill.com htomail.com hotnail.com hotmail.con hotmail.cmo hotmail.comm",
        "yahoo.com": "yaho.com yahooo.com yhoo.com yahho.com yhaoo.com yaoo.com yahoo.con"
        " yahoo.cmo yahoo.comm",
        "outlook.com": "outlok.com outloook.com outllok.com oulook.com otulook.com outook.com"
        " outlook.con outlook.cmo outlook.comm",
        "icloud.com": "iclod.com icloud.con icloud.cmo iclould.com icoud.com icluod.com",
        "live.com": "live.con live.cmo",
        "aol.com": "aol.con aol.cmo",
        "gmx.de": "gmx.ed gmx.dee",
        "t-online.de": "t-onlne.de t-onlin.de t-onlien.de t-online.ed",
    }.items()
    for typo in typos.split()
}

# The domains with the most users, the largest first.
_POPULAR = """
    gmail.com yahoo.com hotmail.com outlook.com icloud.com aol.com live.com msn.com gmx.de
    web.de googlemail.com gmx.net t-online.de freenet.de gmx.at gmx.ch bluewin.ch yahoo.co.uk
    hotmail.co.uk btinternet.com yahoo.fr hotmail.fr orange.fr wanadoo.fr laposte.net yahoo.de
    hotmail.de outlook.de live.de libero.it hotmail.it yahoo.it yahoo.es hotmail.es ymail.com
    protonmail.com proton.me comcast.net verizon.net sbcglobal.net bellsouth.net mail.ru
    yandex.ru yahoo.co.jp yahoo.co.in rediffmail.com yahoo.com.br uol.com.br mail.com gmx.com
    fastmail.com zoho.com
"""
POPULAR = tuple(_POPULAR.split())
# Reasons for which a domain similar to a popular one is probably mistyped.
_UNREACHABLE = ("no_such_domain", "no_mail_server", "null_mx")


def is_odd(local: str) -> bool:
    """Return whether a local part has a sign that hardly any mailbox has, such as “ or •.

    Letters, marks and digits of all scripts are usual, and so is all of ASCII that is allowed.
    """
    return not local.isascii() and any(
        not character.isascii() and category(character)[0] not in "LMN" for character in local
    )


@lru_cache(maxsize=1 << 14)
def _meant(domain: str) -> str:
    """Return the popular domain that differs by one slip of the keyboard; empty for none."""
    if domain in TYPOS:
        return TYPOS[domain]
    if domain in POPULAR:
        return ""
    for popular in POPULAR:
        if OSA.distance(domain, popular, score_cutoff=1) <= 1:
            return popular
    return ""


def suggestion(address: str, reason: str | None) -> str:
    """Return the address that was probably meant, for an email with this reason; empty for none."""
    if reason != "likely_typo" and reason not in _UNREACHABLE:
        return ""
    _, normalized, domain = syntax.parse(address)
    if normalized is None or domain is None:
        return ""
    meant = TYPOS.get(domain, "") if reason == "likely_typo" else _meant(domain)
    return f"{normalized.rpartition('@')[0]}@{meant}" if meant else ""
