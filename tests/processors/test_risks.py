import pytest

from processors.risks import POPULAR, TYPOS, suggestion


def test_no_real_provider_is_flagged():
    for domain in (*POPULAR, "email.com", "hotmail.co", "gmx.org", "me.com", "mac.com", "pm.me"):
        assert domain not in TYPOS
    for domain in POPULAR:
        assert suggestion(f"a@{domain}", "no_such_domain") == ""


def test_what_typos_stand_for_is_popular():
    assert set(TYPOS.values()) <= set(POPULAR)
    assert not set(TYPOS) & set(POPULAR)


@pytest.mark.parametrize(
    ("address", "reason", "suggested"),
    [
        ("Anna.B@gmial.com", "likely_typo", "Anna.B@gmail.com"),
        ("anna@GMIAL.com", "no_such_domain", "anna@gmail.com"),
        ("anna@gmajl.com", "no_such_domain", "anna@gmail.com"),
        ("anna@hotmial.fr", "no_mail_server", "anna@hotmail.fr"),
        ("anna@outlok.de", "null_mx", "anna@outlook.de"),
        ("anna@gmajl.com", None, ""),
        ("anna@gmial.com", "dns_timeout", ""),
        ("anna@example.net", "no_such_domain", ""),
        ("anna@gmail.com", "no_such_domain", ""),
        ("anna@@gmial.com", "no_such_domain", ""),
    ],
)
def test_suggestions(address, reason, suggested):
    assert suggestion(address, reason) == suggested
