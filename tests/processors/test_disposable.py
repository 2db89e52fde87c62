import pytest
from disposable_email_domains import blocklist
from MailChecker import MailChecker

from harness import providers
from processors import disposable
from processors.disposable import ListError, is_disposable, read_list
from processors.providers import FREE


def test_disposable_domains_are_known_with_all_below_them():
    assert is_disposable("mailinator.com")
    assert is_disposable("a.b.mailinator.com")
    assert not is_disposable("mailinator.example.com")
    assert not is_disposable("com")
    assert is_disposable("x.example.org", {"example.org"})


@pytest.mark.parametrize(
    "domain",
    [
        *("10minutemail.com", "guerrillamail.com", "yopmail.com", "trashmail.com", "temp-mail.org"),
        *("sharklasers.com", "maildrop.cc", "wegwerfmail.de", "spambog.de", "jetable.org"),
        *("getnada.com", "mohmal.com", "emailondeck.com", "moakt.com", "0-00.usa.cc"),
    ],
)
def test_well_known_ones_are_disposable(domain):
    assert is_disposable(domain)


def test_no_real_provider_is_disposable():
    assert len(set(providers.ALL)) > 300
    assert [domain for domain in providers.ALL if is_disposable(domain)] == []
    assert [domain for domain in providers.ALL if is_disposable(f"mx.{domain}")] == []


@pytest.mark.parametrize(
    "domain",
    [
        *("anna.msk.ru", "firm.za.com", "school.zp.ua", "home.ddns.net"),
        *("anna.mozmail.com", "addy.io", "slmail.me", "nus.edu.sg", "test.de"),
    ],
)
def test_real_domains_that_the_packages_list_are_left_out(domain):
    assert not is_disposable(domain)


def test_each_domain_of_the_packages_lists_is_disposable_but_those():
    listed = blocklist | MailChecker.blacklist
    assert {domain for domain in listed if not is_disposable(domain)} <= disposable._REAL


def test_a_team_may_list_what_is_left_out():
    assert is_disposable("a.duck.com", {"duck.com"})


def test_each_domain_that_is_left_out_is_on_the_packages_list():
    assert disposable._REAL - MailChecker.blacklist <= FREE
    assert disposable._REAL & blocklist == set()


def test_the_packages_lists_are_of_domains():
    assert len(blocklist) > 3000
    assert len(MailChecker.blacklist) > 50_000
    for domain in (*blocklist, *MailChecker.blacklist):
        assert domain == domain.lower()
        assert "." in domain


def test_a_list_of_ones_own_has_a_domain_a_line(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("# ours\nExample.NET\n\n müller.de # too\n", encoding="utf-8")
    assert read_list(path) == {"example.net", "xn--mller-kva.de"}


def test_a_list_that_cannot_be_used_is_named_with_the_line(tmp_path):
    path = tmp_path / "own.txt"
    with pytest.raises(ListError, match="can't be read"):
        read_list(path)
    path.write_text("example.net\nno domain\n")
    with pytest.raises(ListError, match="line 2: 'no domain' is not a domain"):
        read_list(path)
