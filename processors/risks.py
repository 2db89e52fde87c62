"""Risky addresses: likely typos and odd characters.

The results depend on the address alone, so that other processes come to the same results later.
"""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category

from rapidfuzz.distance import OSA

from processors import syntax
from processors.providers import is_free

# Mistyped domains and the domains meant. Most of them have a mail server, run by people who wait
# for just these mistakes. A domain that anybody may really use is not listed, such as mail.com,
# email.com, ymail.com, gmx.com and hotmail.co.
TYPOS = {
    typo: domain
    for domain, typos in {
        "gmail.com": "gmial.com gmal.com gmai.com gmil.com gnail.com gamil.com gmaill.com"
        " ggmail.com gmali.com gmaik.com gmsil.com gmaul.com gmaol.com gimail.com gmeil.com"
        " gmaii.com gmaio.com gmaiil.com gmaiol.com gmailo.com gmaail.com gmmail.com gmqil.com"
        " gmzil.com gmael.com gemail.com gmail.cm gmail.om gmail.co",
        "googlemail.com": "googlemial.com googelmail.com googlemai.com googlmail.com",
        "hotmail.com": "hotmial.com hotmal.com hotmai.com hotmil.com homtail.com hotamil.com"
        " hormail.com hotmaill.com htomail.com hotnail.com otmail.com hotmali.com hotmaul.com"
        " hotmaio.com hotmaii.com hotmsil.com hottmail.com hotmmail.com hotmailo.com hptmail.com"
        " hoymail.com hotail.com homail.com hotmail.cm hotmail.om",
        "yahoo.com": "yaho.com yahooo.com yhoo.com yahho.com yhaoo.com yaoo.com yahoi.com"
        " yahool.com yahop.com uahoo.com yahoo.co yahoo.cm yahoo.om",
        "outlook.com": "outlok.com outloook.com outllok.com oulook.com otulook.com outook.com"
        " outloo.com outlool.com outlookk.com outlokk.com oitlook.com putlook.com outlook.cm"
        " outlook.om",
        "icloud.com": "iclod.com iclould.com icoud.com icluod.com icloude.com iclud.com"
        " icloud.cm icloud.om",
        "gmx.de": "gmx.ed",
        "t-online.de": "t-onlne.de t-onlin.de t-onlien.de t-online.ed",
    }.items()
    for typo in typos.split()
}
# Endings that no domain has, one slip away from the ending meant. Countries have .co, .cm and .om,
# so these are no slips at any name.
_ENDINGS = {
    **dict.fromkeys(("con", "cmo", "ocm", "vom", "xom", "cim", "cpm", "comm", "coom"), "com"),
    **dict.fromkeys(("nte", "ner", "nett"), "net"),
    **dict.fromkeys(("ogr", "orgg"), "org"),
    "dee": "de",
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


def meant(domain: str) -> str:
    """Return the domain that a likely typo stands for; empty if the domain is none.

    A domain with two slips is none, because nobody can tell what it stands for.
    """
    if domain in TYPOS:
        return TYPOS[domain]
    name, _, ending = domain.rpartition(".")
    other = f"{name}.{_ENDINGS[ending]}" if ending in _ENDINGS else ""
    return "" if other in TYPOS else other


@lru_cache(maxsize=1 << 14)
def _similar(domain: str) -> str:
    """Return the popular domain that differs by one slip of the keyboard; empty for none."""
    if domain in POPULAR or is_free(domain):
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
    other = meant(domain) or ("" if reason == "likely_typo" else _similar(domain))
    return f"{normalized.rpartition('@')[0]}@{other}" if other else ""
