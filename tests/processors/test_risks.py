import pytest
from rapidfuzz.distance import OSA

from harness import providers
from processors.check import check_one
from processors.risks import POPULAR, TYPOS, meant, suggestion

# Slips that several public lists of typos have, among them those of mailcheck.js.
COMMON = {
    "gmail.com": "gmaii.com gmial.com gmai.com gmal.com gamil.com gnail.com gmaill.com"
    " gmali.com gmil.com gmaio.com gemail.com gmail.co gmail.cm gmail.om gmail.con gmail.cmo"
    " gmail.vom gmail.comm gmail.cim gmail.ocm gmail.xom",
    "hotmail.com": "otmail.com hotmial.com hotmal.com hotmai.com hotmil.com hotnail.com"
    " hotmaill.com homail.com hotail.com hottmail.com hormail.com hotmail.con hotmail.cmo"
    " hotmail.cm",
    "yahoo.com": "yahoo.co yaho.com yahooo.com yhoo.com yhaoo.com yaoo.com yahho.com yahoo.con"
    " yahoo.cmo yahoo.cm yahoo.om yahoo.vom",
    "outlook.com": "outloo.com outlok.com outloook.com oulook.com otulook.com putlook.com"
    " outlook.con outlook.cmo",
    "icloud.com": "iclod.com icloud.con icloud.cmo icoud.com iclould.com",
    "aol.com": "aol.con aol.cmo",
    "live.com": "live.con live.vom",
    "comcast.net": "comcast.ner comcast.nte",
    "a-firm.com": "a-firm.con a-firm.cmo a-firm.vom",
    "mail.a-firm.com": "mail.a-firm.con",
    "a-club.org": "a-club.ogr",
}


@pytest.mark.parametrize(
    ("typo", "domain"),
    [(typo, domain) for domain, typos in COMMON.items() for typo in typos.split()],
)
def test_common_slips_are_known(typo, domain):
    assert check_one(f"anna@{typo}").reason == "likely_typo"
    assert suggestion(f"Anna@{typo}", "likely_typo") == f"Anna@{domain}"
    assert suggestion(f"Anna@{typo}", "no_such_domain") == f"Anna@{domain}"


def test_no_real_provider_is_a_typo_whatever_the_dns_says():
    for domain in providers.ALL:
        assert not meant(domain)
        assert suggestion(f"a@{domain}", "likely_typo") == ""
    for domain in (*POPULAR, *providers.FREE):
        assert suggestion(f"a@{domain}", "no_such_domain") == ""


def test_no_real_domain_one_slip_away_from_a_provider_is_a_typo():
    near = [domain for domain in providers.NEAR if domain not in providers.ALL]
    assert len(near) > 50
    assert [domain for domain in near if meant(domain)] == []


@pytest.mark.parametrize(
    "domain", ["bbc.co", "firm.cm", "firm.om", "firm.cam", "firm.ne", "firm.ed"]
)
def test_endings_that_exist_or_may_stand_for_several_are_no_typos(domain):
    assert not meant(domain)


@pytest.mark.parametrize("domain", ["gmial.con", "hotmial.cmo", "yahooo.con", "gmaii.co"])
def test_two_slips_stand_for_nothing(domain):
    assert not meant(domain)
    assert suggestion(f"a@{domain}", "no_such_domain") == ""


def test_what_typos_stand_for_is_popular_and_one_slip_away():
    assert set(TYPOS.values()) <= set(POPULAR)
    assert not set(TYPOS) & set(POPULAR)
    assert [typo for typo, domain in TYPOS.items() if OSA.distance(typo, domain) != 1] == []


@pytest.mark.parametrize(
    ("address", "reason", "suggested"),
    [
        ("Anna.B@gmial.com", "likely_typo", "Anna.B@gmail.com"),
        ("anna@GMIAL.com", "no_such_domain", "anna@gmail.com"),
        ("anna@gmajl.com", "no_such_domain", "anna@gmail.com"),
        ("anna@hotmial.fr", "no_mail_server", "anna@hotmail.fr"),
        ("anna@outlok.de", "null_mx", "anna@outlook.de"),
        ("anna@Firm.CON", "likely_typo", "anna@firm.com"),
        ("anna@gmajl.com", None, ""),
        ("anna@gmial.com", "dns_timeout", ""),
        ("anna@example.net", "no_such_domain", ""),
        ("anna@example.net", "likely_typo", ""),
        ("anna@gmail.com", "no_such_domain", ""),
        ("anna@hotmail.be", "no_such_domain", ""),
        ("anna@@gmial.com", "no_such_domain", ""),
    ],
)
def test_suggestions(address, reason, suggested):
    assert suggestion(address, reason) == suggested
