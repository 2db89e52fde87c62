"""Lookups, asked of a nameserver of the tests' own that may lie."""

import threading
import time

import pytest

from harness.nameserver import Nameserver
from harness.polling import eventually
from processors import lookups as lookups_module
from processors.lookups import Lookups, LookupsError

# Seconds of a lookup whose answer comes, however busy the machine is; of one that waits in vain.
AMPLE, SHORT = 30.0, 2.0


@pytest.fixture
def make_lookups(nameserver):
    made = []

    def make(*nameservers, seconds=AMPLE, concurrency=100):
        made.append(Lookups(nameservers or [nameserver.address], seconds, concurrency))
        return made[-1]

    yield make
    for lookups in made:
        lookups.close()


def ask(lookups, domain):
    return lookups.begin(domain).result(60)


def names_asked(nameserver):
    return len({name for name, _ in nameserver.asked})


def test_a_domain_that_can_receive_mail_has_a_mail_server_or_an_address(nameserver, make_lookups):
    nameserver.mx("mx.example.net")
    nameserver.host("a.example.net")
    nameserver.host("aaaa.example.net", "AAAA")
    lookups = make_lookups()
    assert [ask(lookups, f"{kind}.example.net") for kind in ("mx", "a", "aaaa")] == [None] * 3
    # What the MX records say is not asked for again.
    assert nameserver.asked["mx.example.net", "A"] == 0


def test_one_that_cannot_is_told_from_the_others(nameserver, make_lookups):
    nameserver.nothing("nothing.example.net")
    nameserver.mx("null.example.net", ".")
    lookups = make_lookups()
    assert ask(lookups, "missing.example.net") == "no_such_domain"
    assert ask(lookups, "nothing.example.net") == "no_mail_server"
    assert ask(lookups, "null.example.net") == "null_mx"


def test_one_whose_servers_are_the_senders_own_machine_cannot(nameserver, make_lookups):
    any_of_ours = "0.0.0.0"  # noqa: S104
    names = ("localhost", "LocalHost.LocalDomain", "mail.localhost", any_of_ours, "127.0.0.1")
    for number, name in enumerate(names):
        nameserver.mx(f"mx{number}.example.net", name)
    nameserver.mx("several.example.net", ".", "localhost")
    nameserver.host("a.example.net", "A", "127.0.0.1", any_of_ours)
    nameserver.host("aaaa.example.net", "AAAA", "::1", "::", "::ffff:7f00:1")
    lookups = make_lookups()
    first = [f"mx{number}" for number in range(len(names))]
    found = {each: ask(lookups, f"{each}.example.net") for each in (*first, "several", "a", "aaaa")}
    assert found == dict.fromkeys(found, "no_mail_server")


def test_one_with_a_mail_server_elsewhere_too_can_receive_mail(nameserver, make_lookups):
    nameserver.mx("mx.example.net", "localhost", ".", "mx.example.org")
    nameserver.mx("number.example.net", "192.0.2.1")
    nameserver.mx("name.example.net", "localhost.example.org")
    nameserver.host("a.example.net", "A", "127.0.0.1", "192.0.2.1")
    lookups = make_lookups()
    domains = [f"{name}.example.net" for name in ("mx", "number", "name", "a")]
    assert [ask(lookups, domain) for domain in domains] == [None] * 4


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_an_error_of_the_nameserver_is_unknown(nameserver, make_lookups, rcode):
    nameserver.code("example.net", rcode)
    assert ask(make_lookups(), "example.net") == "dns_error"


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("silence", "dns_timeout"),
        ("wrong_id", "dns_error"),
        ("other_name", "dns_error"),
        ("garbage", "dns_error"),
    ],
)
def test_silence_and_lies_are_unknown_within_the_time(nameserver, make_lookups, lie, reason):
    nameserver.mx("example.net")
    nameserver.lie("example.net", lie)
    began = time.monotonic()
    assert ask(make_lookups(seconds=SHORT), "example.net") == reason
    assert time.monotonic() - began < 15


def test_the_time_is_that_of_all_queries_together(nameserver, make_lookups):
    nameserver.nothing("example.net")
    nameserver.seconds = 0.3
    began = time.monotonic()
    assert ask(make_lookups(seconds=0.7), "example.net") == "dns_timeout"
    assert time.monotonic() - began < 15


def test_a_truncated_answer_is_asked_for_by_tcp(nameserver, make_lookups):
    nameserver.mx("example.net")
    nameserver.lie("example.net", "truncated")
    assert ask(make_lookups(), "example.net") is None
    assert nameserver.by_tcp["example.net"] == 1


def test_a_second_nameserver_stands_in_for_one_that_errs_and_one_that_is_not_there(make_lookups):
    with Nameserver() as first, Nameserver() as second:
        first.code("example.net", "SERVFAIL")
        for nameserver in (first, second):
            nameserver.mx("example.org")
        second.mx("example.net")
        with Nameserver() as gone:
            pass
        lookups = make_lookups(gone.address, first.address, second.address)
        assert ask(lookups, "example.net") is None
        assert ask(lookups, "example.org") is None


def test_a_domain_is_looked_up_once_for_all_threads(nameserver, make_lookups):
    nameserver.mx("example.net")
    nameserver.seconds = 0.1
    lookups = make_lookups()
    barrier = threading.Barrier(8)
    found = []

    def run():
        barrier.wait(60)
        found.append(ask(lookups, "example.net"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * 8
    assert nameserver.asked == {("example.net", "MX"): 1}


def assert_known_for(seconds, lookups, name):
    """What comes of a lookup is remembered for so long from when it came."""
    began = time.monotonic()
    ask(lookups, name)
    assert began + seconds <= lookups._cache[name].until <= time.monotonic() + seconds


@pytest.mark.parametrize("kind", ["positive", "missing", "nothing"])
def test_what_is_known_holds_as_long_as_the_records_say(nameserver, make_lookups, kind):
    def tell(name, ttl):
        if kind == "positive":
            nameserver.mx(name, ttl=ttl)
        else:
            getattr(nameserver, kind)(name, negative_ttl=ttl)

    tell("short.example.net", 1)
    tell("long.example.net", 100)
    lookups = make_lookups()
    names = ("short.example.net", "long.example.net")
    for name, seconds in zip(names, (1, 100), strict=True):
        assert_known_for(seconds, lookups, name)
    eventually(lambda: lookups.cached("short.example.net") is None)
    for name in names:
        ask(lookups, name)
    assert [nameserver.asked[name, "MX"] for name in names] == [2, 1]


def test_without_a_record_that_says_how_long_it_is_minutes(nameserver, make_lookups):
    lookups = make_lookups(seconds=SHORT)
    nameserver.lie("silent.example.net", "silence")
    assert_known_for(300, lookups, "missing.example.net")
    assert_known_for(60, lookups, "silent.example.net")


def test_the_cache_is_bounded(nameserver, make_lookups, monkeypatch):
    monkeypatch.setattr(lookups_module, "MAX_CACHED", 4)
    monkeypatch.setattr(lookups_module, "FORGOTTEN", 2)
    lookups = make_lookups()
    for number in range(5):
        ask(lookups, f"{number}.example.net")
    known = [lookups.cached(f"{number}.example.net") is not None for number in range(5)]
    assert known == [False, False, True, True, True]


def test_a_resolver_that_looks_broken_is_left_alone_for_a_while(
    nameserver, make_lookups, monkeypatch, caplog
):
    monkeypatch.setattr(lookups_module, "PAUSE_SECONDS", 4)
    nameserver.silent = True
    lookups = make_lookups(seconds=SHORT)
    begun = [lookups.begin(f"{number}.example.net") for number in range(500)]
    found = [lookup.result(60) for lookup in begun]
    # Those that had a place, and a few more.
    assert names_asked(nameserver) < 200
    assert set(found) == {"dns_timeout", "dns_paused"}
    assert ask(lookups, "example.net") == "dns_paused"
    (line,) = [message for message in caplog.messages if "unreachable" in message]
    assert "looks broken" in line
    assert nameserver.address in line
    assert "4 seconds" in line
    assert "dns = off" in line

    nameserver.silent = False
    nameserver.mx("example.net")
    eventually(lambda: ask(lookups, "example.net") is None, 60)
    assert [message for message in caplog.messages if "reachable again" in message]
    assert len(caplog.messages) == 2


def test_domains_of_which_some_do_not_answer_are_no_broken_resolver(nameserver, make_lookups):
    nameserver.mx("example.net")
    lookups = make_lookups(seconds=SHORT)
    for number in range(60):
        if number % 3:
            nameserver.lie(f"{number}.example.net", "silence")
    begun = [lookups.begin(f"{number}.example.net") for number in range(60)]
    assert {lookup.result(60) for lookup in begun} == {"dns_timeout", "no_such_domain"}


def test_others_that_take_up_all_places_do_not_hold_one_up_for_long(nameserver, make_lookups):
    nameserver.silent = True
    lookups = make_lookups(seconds=SHORT, concurrency=1)
    begun = [lookups.begin(f"{number}.example.net") for number in range(10)]
    assert {lookup.result(60) for lookup in begun} == {"dns_timeout"}
    # The others gave up before they had a place.
    assert names_asked(nameserver) < 5
    # That there was no place says nothing of a domain.
    assert lookups.cached("9.example.net") is None


class TestProbe:
    """Whether `auto` means on."""

    @pytest.fixture(autouse=True)
    def _patient(self, monkeypatch):
        monkeypatch.setattr(lookups_module, "PROBE_SECONDS", AMPLE)

    def test_a_resolver_that_answers_sensibly_is_fit(self, make_lookups):
        assert make_lookups().probe() == ""

    def test_one_that_is_silent_is_not(self, nameserver, make_lookups):
        nameserver.silent = True
        assert "doesn't answer (dns_timeout)" in make_lookups(seconds=SHORT).probe()

    def test_one_that_invents_answers_is_not(self, nameserver, make_lookups):
        nameserver.invent()
        assert "invents answers" in make_lookups().probe()

    def test_one_that_does_not_see_the_world_is_not(self, nameserver, make_lookups):
        for name in ("gmail.com", "outlook.com"):
            nameserver.missing(name)
        assert "knows none of gmail.com" in make_lookups().probe()


def test_without_any_nameserver_that_is_said(monkeypatch, tmp_path):
    system = lookups_module.dns.resolver.Resolver
    monkeypatch.setattr(
        lookups_module.dns.resolver, "Resolver", lambda: system(str(tmp_path / "resolv.conf"))
    )
    with pytest.raises(LookupsError, match="the system names no nameserver"):
        Lookups([], 1.0, 1)
