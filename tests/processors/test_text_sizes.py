"""How many lines the check takes at once, with and without lookups."""

from harness.polling import eventually
from processors import AT_ONCE
from processors import check as check_module
from processors.check import Check
from processors.domains import receiving
from processors.domains.lookups import Lookups


def test_takes_more_lines_at_once_until_some_take_long(monkeypatch):
    check = Check()
    sizes = []
    for seconds in (60.0, 60.0, 60.0, -1.0, 60.0):
        monkeypatch.setattr(check_module, "_QUICK", seconds)
        check.of_lines("anna@example.com\n" * 6_000)
        sizes.append(check.at_once // AT_ONCE)
    assert sizes == [2, 4, 4, 1, 2]


def test_takes_no_more_lines_at_once_after_a_short_text(monkeypatch):
    monkeypatch.setattr(check_module, "_QUICK", 60.0)
    check = Check()
    check.of_lines("anna@example.com")
    assert check.at_once == AT_ONCE


def test_texts_stay_small_while_many_domains_are_wanted(lookups, monkeypatch):
    monkeypatch.setattr(check_module, "_QUICK", 60.0)
    monkeypatch.setattr(Lookups, "at_once", 50)
    check = Check(lookups=lookups)
    sizes = [check.at_once]
    for address in ("anna", "anna@d{}.example.net", "anna@e{}.example.net", "anna", "info@f{}.net"):
        check.of_lines("\n".join(address.format(number) for number in range(51)) + "\n" * 3_000)
        sizes.append(check.at_once)
    least = sizes[0]
    assert sizes == [least, 2 * least, least, least, 2 * least, least]


def test_texts_are_small_before_many_domains_are_waited_for(lookups, monkeypatch):
    monkeypatch.setattr(check_module, "_QUICK", 60.0)
    monkeypatch.setattr(Lookups, "at_once", 1)
    check = Check(lookups=lookups)
    least = check.at_once
    check.of_lines("anna\n" * 100)
    assert check.at_once > least
    sizes = []
    monkeypatch.setattr(lookups, "_wait_for", lambda *_: sizes.append(check.at_once))
    check.of_lines("a@one.example.net\na@two.example.net")
    assert sizes == [least]


def test_texts_are_small_while_many_domains_are_asked_again(nameserver, lookups, monkeypatch):
    monkeypatch.setattr(check_module, "_QUICK", 60.0)
    monkeypatch.setattr(Lookups, "at_once", 1)
    # The cache rounds times up to a second, so with 0 they might not be asked again at once.
    monkeypatch.setattr(receiving, "ASK_AGAIN_SECONDS", -1.0)
    domains = ["one.example.net", "two.example.net"]
    for domain in domains:
        nameserver.code(domain, "SERVFAIL")
    lookups.find(domains)
    eventually(lambda: None not in lookups.known(domains).values())
    check = Check(lookups=lookups)
    least = check.at_once
    check.of_lines("a@one.example.net\na@two.example.net" + "\n" * 100)
    assert check.at_once == least
