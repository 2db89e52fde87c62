import pytest
from disposable_email_domains import blocklist

from processors import risks
from processors.risks import POPULAR, TYPOS, ListError, suggestion


def test_disposable_domains_are_known_with_all_below_them():
    assert risks.is_disposable("mailinator.com")
    assert risks.is_disposable("a.b.mailinator.com")
    assert not risks.is_disposable("mailinator.example.com")
    assert not risks.is_disposable("com")
    assert risks.is_disposable("x.example.org", {"example.org"})


def test_no_real_provider_is_flagged():
    for domain in (*POPULAR, "email.com", "hotmail.co", "gmx.org", "me.com", "mac.com", "pm.me"):
        assert domain not in TYPOS
        assert not risks.is_disposable(domain)
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


def test_a_list_of_ones_own_has_a_domain_a_line(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("# ours\nExample.NET\n\n müller.de # too\n", encoding="utf-8")
    assert risks.read_list(path) == {"example.net", "xn--mller-kva.de"}


def test_a_list_that_cannot_be_used_is_named_with_the_line(tmp_path):
    path = tmp_path / "own.txt"
    with pytest.raises(ListError, match="can't be read"):
        risks.read_list(path)
    path.write_text("example.net\nno domain\n")
    with pytest.raises(ListError, match="line 2: 'no domain' is not a domain"):
        risks.read_list(path)


def test_the_packages_list_is_one_of_domains():
    assert len(blocklist) > 3000
    assert all(domain == domain.lower() and "." in domain for domain in blocklist)
