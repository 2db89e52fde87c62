"""The check as a whole, with a nameserver of the tests' own."""

import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dns.resolver
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import processors
from harness.effort import least_seconds
from harness.polling import eventually
from harness.processors import listed
from processors import (
    PROCESSED,
    ProcessorError,
    computing,
    failed,
    later,
    process_lines,
    risky,
    short_texts,
)
from processors import check as check_module
from processors.check import Check, check, check_one
from processors.domains import exchange
from processors.domains import lookups as lookups_module
from processors.domains.lookups import Lookups

# What is looked at in different ways, to be mixed.
MIXED = [
    "anna@example.com",
    "anna@Example.com",
    "bob@example.org",
    "Info@example.com",
    "a@gmial.com",
    "no.reply@example.com",
    "No.Body@example.com",
    "do_not_reply@example.com",
    "NO.REPLY@x.y",
    "info@mailinator.com",
    "anna",
    "info@",
    "@example.com",
    "a..b@example.com",
    "a@b@example.com",
    "j\u00fcrgen@example.de",
    "info@m\u00fcller.de",
    "x" * 64 + "@example.com",
    "x" * 65 + "@example.com",
    "x" * 60 + "@" + "y." * 98 + "com",
    "info@" + "y." * 200 + "com",
    "",
]

ANYTHING = st.builds(
    "{}{}{}".format,
    st.text(st.sampled_from("aB0.-+'é \t@"), max_size=70)
    | st.sampled_from(["info", "No-Reply", "no.reply", "Do.not.Reply", "no_Reply", "nO.re"]),
    st.sampled_from(["@", "", "@@"]),
    st.text(st.sampled_from("aB0.-é @"), max_size=12).map("{}.com".format)
    | st.sampled_from(["gmial.com", "x.test", "", "example.com"]),
)

OPTIONS = {
    "dns": "off",
    "nameservers": [],
    "timeout_seconds": 30.0,
    "concurrency": 100,
    "disposable_domains": "",
}


@pytest.fixture
def make(nameserver):
    made = []

    def make(**options):
        made.append(processors.load("check", {**OPTIONS, **options}))
        return made[-1]

    yield make
    for processor in made:
        if processor.lookups:
            processor.lookups.close()


@pytest.mark.parametrize(
    ("address", "outcome"),
    [
        ("anna@example.com", PROCESSED),
        ("anna@@example.com", failed("bad_domain")),
        ("Info@example.com", risky("role_account")),
        ("info@mailinator.com", risky("disposable")),
        ("info@gmial.com", risky("likely_typo")),
    ],
)
def test_without_lookups(address, outcome):
    assert check_one(address) == outcome
    assert list(check([address])) == [outcome]


def test_yields_one_outcome_for_each_address_lazily():
    def addresses():
        yield "anna@example.com"
        yield "anna"
        raise AssertionError("asked for more than was taken")

    outcomes = check(addresses())
    assert [next(outcomes), next(outcomes)] == [PROCESSED, failed("no_at_sign")]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(MIXED) | ANYTHING, min_size=1, max_size=60))
def test_lines_come_out_as_one_by_one(addresses):
    found = Check().of_lines("\n".join(addresses))
    expected = [check_one(address) for address in addresses]
    assert [found.get(line, PROCESSED) for line in range(len(addresses))] == expected
    assert PROCESSED not in found.values()


def test_a_line_is_its_own_whatever_stands_in_those_around_it():
    check = Check()
    for before, line, after in itertools.product(MIXED, MIXED, MIXED):
        found = check.of_lines(f"{before}\n{line}\n{after}")
        assert found.get(1, PROCESSED) == check_one(line)


def test_domains_with_the_same_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(short_texts, "_hashes", lambda keys: np.zeros(len(keys), np.uint64))
    check = Check()
    domains = ("gmial.com", "example.com", "mailinator.com")
    text = "\n".join(f"anna@{domain}" for domain in domains)
    for _ in range(2):
        assert check.of_lines(text) == {0: risky("likely_typo"), 2: risky("disposable")}


def test_endless_addresses_take_next_to_no_time():
    addresses = [f"{number}{'a' * 130_000}@example.com" for number in range(100)]
    addresses += ["a" + "\u0301" * 130_000, "a@" + "b" * 130_000]

    def look() -> None:
        assert set(Check().of_lines("\n".join(addresses)).values()) == {failed("too_long")}
        assert set(check(addresses)) == {failed("too_long")}

    # A tenth; the email-validator package takes a minute.
    assert least_seconds(look) < 2


def settled(check, addresses):
    """Return what is said of the addresses when all lookups have ended, however busy we are."""
    list(check(addresses))
    eventually(lambda: check.lookups.exchange.open == 0, 60)
    return list(check(addresses))


def test_what_is_found_first_is_the_outcome(nameserver, lookups):
    for name in ("good.example.net", "gmial.com", "mailinator.com"):
        nameserver.mx(name)
    for name in ("error.example.net", "gnail.com"):
        nameserver.code(name, "SERVFAIL")
    expected = {
        "anna": failed("no_at_sign"),
        "info@missing.example.net": failed("no_such_domain"),
        "anna@gmai.com": failed("no_such_domain"),
        "info@gmial.com": risky("likely_typo"),
        "anna@gnail.com": risky("likely_typo"),
        "info@mailinator.com": risky("disposable"),
        "info@error.example.net": later("dns_error", 5, 10, 60),
        "info@good.example.net": risky("role_account"),
        "anna@good.example.net": PROCESSED,
    }
    found = settled(Check(lookups=lookups), expected)
    assert dict(zip(expected, found, strict=True)) == expected


def test_a_risky_domain_that_is_late_makes_no_other_be_judged_again(
    nameserver, lookups, monkeypatch
):
    nameserver.mx("good.example.net")
    nameserver.mx("gmial.com")
    nameserver.lie("gmial.com", "silence")
    run = Check(lookups=lookups)
    while run.of_lines("anna@good.example.net"):
        eventually(lambda: lookups.exchange.open == 0, 60)
    assert run.of_lines("a@gmial.com") == {0: risky("likely_typo")}
    judged = []
    of_domain = check_module.of_domain
    monkeypatch.setattr(
        check_module, "of_domain", lambda domain: judged.append(domain) or of_domain(domain)
    )
    run.of_lines("anna@good.example.net")
    assert judged == []


def test_what_is_known_stays_known_while_another_thread_begins_a_new_cache(
    nameserver, lookups, monkeypatch
):
    nameserver.mx("good.example.net")
    nameserver.mx("slow.example.net")
    run = Check(lookups=lookups)
    while run.of_lines("anna@good.example.net"):
        eventually(lambda: lookups.exchange.open == 0, 60)
    one_by_one = []
    parts = check_module.parts
    monkeypatch.setattr(
        check_module, "parts", lambda address: one_by_one.append(address) or parts(address)
    )
    nameserver.gate.clear()
    with ThreadPoolExecutor(1) as executor:
        turn = executor.submit(run.of_lines, "anna@good.example.net\nbob@slow.example.net")
        eventually(lambda: nameserver.asked["slow.example.net", "MX"])
        monkeypatch.setattr(check_module, "_MAX_KNOWN", 0)
        assert run.of_lines("anna@nowhere") == {0: failed("no_top_level_domain")}
        nameserver.gate.set()
        assert 0 not in turn.result(60)
    assert one_by_one == []


def test_others_check_while_a_thread_waits_for_a_nameserver(nameserver, lookups, monkeypatch):
    # With these limits, the thread waits until there is an answer.
    for module, limit in ((exchange, "GOOD_SECONDS"), (lookups_module, "MOST_SECONDS")):
        monkeypatch.setattr(module, limit, 50.0)
    monkeypatch.setattr(computing, "MOST_WAIT", 100.0)
    nameserver.mx("slow.example.net")
    nameserver.gate.clear()
    run = partial(process_lines, Check(lookups=lookups), deadline=math.inf, on_error=print)
    with ThreadPoolExecutor(1) as executor:
        turn = executor.submit(run, text="bob@slow.example.net")
        eventually(lambda: nameserver.asked["slow.example.net", "MX"])
        assert listed(run(text="anna@nowhere")) == [failed("no_top_level_domain")]
        assert not turn.done()
        nameserver.gate.set()
        assert listed(turn.result(60)) == [PROCESSED]


def test_all_addresses_of_a_domain_need_one_lookup_whatever_the_threads(nameserver, lookups):
    nameserver.mx("example.net")
    nameserver.seconds = 0.1
    run = Check(lookups=lookups)
    addresses = [f"user{number}@example.net" for number in range(10_000)]
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(settled(run, addresses))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[PROCESSED] * 10_000] * 4
    assert nameserver.asked == {("example.net", "MX"): 1, ("mx.example.net", "A"): 1}


def test_many_domains_are_looked_up_at_once_and_come_out_in_order(nameserver, lookups):
    for number in range(200):
        if number % 3:
            nameserver.mx(f"d{number}.example.net")
    nameserver.seconds = 0.2
    began = time.monotonic()
    outcomes = settled(Check(lookups=lookups), [f"a@d{n}.example.net" for n in range(200)])
    assert outcomes == [
        PROCESSED if number % 3 else failed("no_such_domain") for number in range(200)
    ]
    # One after the other it would take 40 s.
    assert time.monotonic() - began < 20


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(MIXED), min_size=1, max_size=60))
def test_lines_come_out_as_one_by_one_with_lookups_too(nameserver_for_all, addresses):
    nameserver_for_all.of_lines("\n".join(addresses))  # asks
    expected = settled(nameserver_for_all, addresses)
    found = nameserver_for_all.of_lines("\n".join(addresses))
    assert [found.get(line, PROCESSED) for line in range(len(addresses))] == expected


def test_one_text_of_lines_waits_twice_at_most(lookups, monkeypatch):
    monkeypatch.setattr(Lookups, "at_once", 50)
    calls = []
    find = lookups.find

    def counted(*given, **named):
        calls.append(given)
        return find(*given, **named)

    monkeypatch.setattr(lookups, "find", counted)
    some = [f"{local}@d{n}.example.net" for n in range(200) for local in ("anna", "info")]
    Check(lookups=lookups).of_lines("\n".join(some))
    assert len(calls) == 2


def test_a_domain_that_is_known_may_still_be_too_long_for_a_local_part(nameserver, lookups):
    domain = ".".join(["d" * 61] * 3 + ["example.net"])
    short, long = f"a@{domain}", f"{'a' * 60}@{domain}"
    nameserver.mx(domain)
    run = Check(lookups=lookups)
    assert settled(run, [short, long]) == [PROCESSED, failed("too_long")]
    assert run.of_lines(f"{short}\n{long}") == {1: failed("too_long")}


@pytest.fixture
def nameserver_for_all(lookups):
    return Check(lookups=lookups)


class TestConfigured:
    """`[check]` and what comes of it."""

    def test_off_looks_nothing_up(self, make, nameserver):
        processor = make(nameservers=[nameserver.address])
        assert (processor.lookups, processor.lookups_off) == (None, "[check] dns = off")
        assert not nameserver.asked

    @pytest.mark.parametrize("dns", ["on", "auto"])
    def test_on_and_auto_look_up_when_the_resolver_answers(self, make, nameserver, dns, caplog):
        caplog.set_level("INFO")
        processor = make(dns=dns, nameservers=[nameserver.address])
        assert list(processor(["a@nowhere.example.net"])) == [failed("no_such_domain")]
        assert processor.lookups_off == ""
        assert caplog.messages == [
            f"dns lookups are on nameservers={nameserver.address} concurrency=100"
        ]

    def test_auto_is_off_when_it_does_not_and_says_why(self, make, nameserver, caplog):
        nameserver.invent()
        processor = make(dns="auto", nameservers=[nameserver.address])
        assert list(processor(["a@nowhere.example.net"])) == [PROCESSED]
        (line,) = caplog.messages
        assert "dns lookups are off" in line
        assert "invents answers" in line
        assert "invents answers" in processor.lookups_off

    def test_without_a_nameserver_on_is_an_error_and_auto_is_off(
        self, make, monkeypatch, tmp_path, caplog
    ):
        system = dns.resolver.Resolver
        nowhere = str(tmp_path / "resolv.conf")
        monkeypatch.setattr(dns.resolver, "Resolver", lambda: system(nowhere))
        with pytest.raises(ProcessorError, match=r"\[check\] dns is on, but the system names no"):
            make(dns="on")
        assert make(dns="auto").lookups_off.startswith("the system names no nameserver")
        assert [message.partition(" why=")[0] for message in caplog.messages] == [
            "dns lookups are off"
        ]

    def test_disposable_domains_of_ones_own_are_added(self, make, tmp_path):
        (tmp_path / "own.txt").write_text("example.net\n")
        processor = make(disposable_domains=str(tmp_path / "own.txt"))
        addresses = ["a@x.example.net", "a@mailinator.com", "a@example.com"]
        assert list(processor(addresses)) == [risky("disposable")] * 2 + [PROCESSED]

    def test_a_list_that_is_not_there_is_told(self, make):
        with pytest.raises(ProcessorError, match=r"\[check\] disposable_domains: .*can't be read"):
            make(disposable_domains="nowhere.txt")
