"""Lookups, asked of a nameserver of the tests' own that may lie."""

import threading
import time

import pytest

from harness import far_nameserver
from harness.nameserver import Nameserver
from harness.polling import eventually
from processors.domains import lookups as lookups_module
from processors.domains import receiving
from processors.domains.lookups import Lookups, LookupsError

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


def find(lookups, domains):
    """Return what is found of the domains when no question is open any more."""
    found = {}

    def is_settled():
        if lookups.exchange.open:
            return False
        found.update((domain, result) for domain, (result, _) in lookups.find(domains).items())
        # Between an answer and the questions that follow from it, none is open.
        return "late" not in found.values()

    lookups.find(domains)
    eventually(is_settled, 60)
    return found


def ask(lookups, domain):
    return find(lookups, [domain])[domain]


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
    assert nameserver.asked["mx.mx.example.net", "A"] == 1


def test_one_that_cannot_is_told_from_the_others(nameserver, make_lookups):
    nameserver.nothing("nothing.example.net")
    nameserver.mx("null.example.net", ".")
    lookups = make_lookups()
    assert ask(lookups, "missing.example.net") == "no_such_domain"
    assert ask(lookups, "nothing.example.net") == "no_mail_server"
    assert ask(lookups, "null.example.net") == "null_mx"


def test_one_whose_servers_are_the_senders_own_machine_cannot(nameserver, make_lookups):
    any_of_ours = "0.0.0.0"  # noqa: S104
    names = (
        *("localhost", "LocalHost.LocalDomain", "mail.localhost", any_of_ours, "192.0.2.1", "mx"),
        "a!b.example.org",
    )
    for number, name in enumerate(names):
        nameserver.mx(f"mx{number}.example.net", name)
    nameserver.mx("several.example.net", ".", "localhost")
    nameserver.host("sink.example.org", "A", "127.0.0.1", any_of_ours)
    nameserver.mx("parked.example.net", "sink.example.org")
    nameserver.mx("gone.example.net", "missing.example.org", "empty.example.org")
    nameserver.missing("missing.example.org")
    nameserver.nothing("empty.example.org")
    nameserver.host("a.example.net", "A", "127.0.0.1", any_of_ours)
    nameserver.host("aaaa.example.net", "AAAA", "::1", "::", "::ffff:7f00:1")
    lookups = make_lookups()
    first = [f"mx{number}" for number in range(len(names))]
    found = {
        each: ask(lookups, f"{each}.example.net")
        for each in (*first, "several", "parked", "gone", "a", "aaaa")
    }
    assert found == dict.fromkeys(found, "no_mail_server")


def test_one_with_a_mail_server_elsewhere_too_can_receive_mail(nameserver, make_lookups):
    nameserver.mx("mx.example.net", "localhost", ".", "gone.example.org", "mx.example.org")
    nameserver.missing("gone.example.org")
    nameserver.mx("name.example.net", "localhost.example.org")
    nameserver.host("private.example.org", "A", "10.0.0.1")
    nameserver.mx("private.example.net", "private.example.org")
    nameserver.host("a.example.net", "A", "127.0.0.1", "192.0.2.1")
    lookups = make_lookups()
    domains = [f"{name}.example.net" for name in ("mx", "name", "private", "a")]
    assert [ask(lookups, domain) for domain in domains] == [None] * 4


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_an_error_of_the_nameserver_is_unknown(nameserver, make_lookups, rcode):
    nameserver.code("example.net", rcode)
    assert ask(make_lookups(), "example.net") == "dns_error"


def test_errors_that_come_late_leave_the_window_empty(nameserver, make_lookups):
    names = [f"{number}.example.net" for number in range(20)]
    for name in names:
        nameserver.code(name, "SERVFAIL")
    with far_nameserver.start(nameserver.address, seconds=0.7) as far:
        lookups = make_lookups(far.url)
        assert find(lookups, names) == dict.fromkeys(names, "dns_error")
        (asked,) = lookups.exchange.nameservers
        assert asked.counts.late > 0
        assert asked.pace.flying == 0


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("silence", "dns_timeout"),
        ("wrong_id", "dns_timeout"),
        ("other_name", "dns_error"),
        ("garbage", "dns_timeout"),
    ],
)
def test_silence_and_lies_are_unknown_within_the_time(nameserver, make_lookups, lie, reason):
    nameserver.mx("example.net")
    nameserver.lie("example.net", lie)
    began = time.monotonic()
    assert ask(make_lookups(seconds=SHORT), "example.net") == reason
    assert time.monotonic() - began < 15


def test_a_domain_whose_mail_server_is_not_known_just_now_is_unknown(nameserver, make_lookups):
    nameserver.mx("example.net", "gone.example.org", "error.example.org")
    nameserver.missing("gone.example.org")
    nameserver.code("error.example.org", "SERVFAIL")
    assert ask(make_lookups(), "example.net") == "dns_error"


def test_a_mail_server_is_looked_up_once_for_all_domains(nameserver, make_lookups):
    domains = [f"d{number}.example.net" for number in range(50)]
    for domain in domains:
        nameserver.mx(domain, "mx.example.org")
    assert find(make_lookups(), domains) == dict.fromkeys(domains)
    assert nameserver.asked["mx.example.org", "A"] == 1


def test_a_truncated_answer_is_asked_for_by_tcp(nameserver, make_lookups):
    nameserver.mx("example.net")
    nameserver.lie("example.net", "truncated")
    assert ask(make_lookups(), "example.net") is None
    assert nameserver.by_tcp["example.net"] == 1


def test_of_thousands_of_mail_servers_only_the_first_are_asked_for(nameserver, make_lookups):
    servers = [f"mx{number}.example.org" for number in range(2000)]
    domains = [f"{number}.example.net" for number in range(3)]
    for domain in domains:
        nameserver.mx(domain, *servers)
        nameserver.lie(domain, "truncated")  # it is too large for UDP
    for server in servers:
        nameserver.missing(server)
    lookups = make_lookups()
    # The servers are known from the first domain on.
    assert [ask(lookups, domain) for domain in domains] == ["dns_error"] * 3
    assert names_asked(nameserver) == 3 + receiving.MOST_SERVERS


def test_a_second_nameserver_stands_in_for_one_that_errs_and_one_that_is_not_there(make_lookups):
    with Nameserver() as first, Nameserver() as second:
        first.code("example.net", "SERVFAIL")
        first.host("mx.example.net")
        for nameserver in (first, second):
            nameserver.mx("example.org")
        second.mx("example.net")
        with Nameserver() as gone:
            pass
        lookups = make_lookups(gone.address, first.address, second.address)
        assert ask(lookups, "example.net") is None
        assert ask(lookups, "example.org") is None


def test_one_that_refuses_all_questions_leaves_them_to_the_others(make_lookups):
    with Nameserver() as first, Nameserver() as second, Nameserver() as slow:
        refusing = first, second
        for nameserver in refusing:
            nameserver.code("", "REFUSED")
        domains = [f"d{number}.example.net" for number in range(300)]
        for domain in domains:
            slow.mx(domain, "mx.example.net")
        slow.seconds = 0.02
        lookups = make_lookups(*(each.address for each in (*refusing, slow)), concurrency=10)
        assert {*find(lookups, domains).values()} == {None}
        assert sum(each.asked.total() for each in refusing) < len(domains)


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
    assert nameserver.asked == {("example.net", "MX"): 1, ("mx.example.net", "A"): 1}


def assert_known_for(seconds, lookups, name):
    """Look a name up; what is found must be valid for so many seconds from then."""
    began = time.monotonic()
    ask(lookups, name)
    _, until = lookups.find([name])[name]
    assert began + seconds <= until <= time.monotonic() + seconds + 1


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
    assert_known_for(100, lookups, names[1])
    lookups.find(names)
    # A question may have been sent twice on a busy machine, so not the number of all counts.
    before = [nameserver.asked[name, "MX"] for name in names]
    eventually(lambda: lookups._cache.get("short.example.net", time.monotonic()) is None)
    lookups.find(names)
    again = [nameserver.asked[name, "MX"] for name in names]
    assert again[0] > before[0] >= 1
    assert again[1] == before[1] >= 1


def test_without_a_record_that_says_how_long_it_is_minutes(nameserver, make_lookups):
    lookups = make_lookups(seconds=SHORT)
    nameserver.lie("silent.example.net", "silence")
    assert_known_for(300, lookups, "missing.example.net")
    assert_known_for(600, lookups, "silent.example.net")


def test_in_an_outage_domains_wait_and_are_found_once_it_is_over(
    nameserver, make_lookups, monkeypatch, caplog
):
    monkeypatch.setattr(lookups_module, "MOST_SECONDS", 1.0)
    nameserver.silent = True
    lookups = make_lookups(seconds=0.5)
    domains = [f"{number}.example.net" for number in range(500)]
    for domain in domains:
        nameserver.mx(domain)
    eventually(lambda: {result for result, _ in lookups.find(domains).values()} == {"dns_paused"})
    # Those that had a place, and a few more.
    assert names_asked(nameserver) < 200
    eventually(lambda: [message for message in caplog.messages if "unreachable" in message])
    (line,) = [message for message in caplog.messages if "unreachable" in message]
    assert "no answer. Until there is one, addresses" in line
    assert nameserver.address in line
    assert "dns = off" in line
    assert lookups.outage.startswith(f"No nameserver answers ({nameserver.address}), so")

    nameserver.silent = False
    eventually(lambda: [message for message in caplog.messages if "reachable again" in message], 60)
    assert find(lookups, domains) == dict.fromkeys(domains)
    assert len(caplog.messages) == 2
    assert lookups.outage == ""


def test_nobody_waits_for_domains_that_do_not_answer_when_others_do(nameserver, make_lookups):
    lookups = make_lookups()
    domains = [f"{number}.example.net" for number in range(60)]
    for number, domain in enumerate(domains):
        if number % 3:
            nameserver.lie(domain, "silence")
    found = lookups.find(domains)
    assert [result for result, _ in map(found.get, domains)] == [
        "late" if number % 3 else "no_such_domain" for number in range(60)
    ]
    assert lookups.exchange.open == 40


@pytest.mark.parametrize("name", ["example.net", "mx.example.net"])
def test_a_domain_without_a_sensible_answer_is_asked_again_when_it_is_wanted(
    nameserver, make_lookups, monkeypatch, name
):
    monkeypatch.setattr(receiving, "ASK_AGAIN_SECONDS", 1.0)
    nameserver.mx("example.net")
    nameserver.code(name, "SERVFAIL")
    lookups = make_lookups()
    assert ask(lookups, "example.net") == "dns_error"
    nameserver.mx("example.net")
    nameserver.host("mx.example.net")
    # The cache rounds up to a second.
    monkeypatch.setattr(receiving, "ASK_AGAIN_SECONDS", -1.0)
    eventually(
        lambda: lookups.mail_servers.found.get("mx.example.net", (None, 0))[1] < time.monotonic()
    )
    assert lookups.find(["example.net"])["example.net"][0] is None


def test_one_that_was_silent_is_asked_again_too(nameserver, make_lookups, monkeypatch):
    monkeypatch.setattr(receiving, "ASK_AGAIN_SECONDS", 0.0)
    nameserver.lie("example.net", "silence")
    lookups = make_lookups(seconds=0.5)
    # On a busy machine it may be late before that.
    eventually(lambda: ask(lookups, "example.net") == "dns_timeout")
    nameserver.lie("example.net", "")
    nameserver.mx("example.net")
    eventually(lambda: lookups.find(["example.net"])["example.net"][0] is None)


def test_an_error_that_nobody_foresaw_does_not_end_the_thread(nameserver, make_lookups, caplog):
    nameserver.mx("example.net")
    lookups = make_lookups()
    lookups.exchange.run(lambda: 1 / 0)
    assert ask(lookups, "example.net") is None
    assert caplog.messages == ["a step of the DNS thread failed; it goes on"]


def test_an_answer_that_breaks_what_uses_it_makes_its_domain_unknown(
    nameserver, make_lookups, monkeypatch, caplog
):
    nameserver.mx("example.net")
    monkeypatch.setattr(receiving, "_is_host", lambda name: 1 / 0)
    assert ask(make_lookups(), "example.net") == "dns_error"
    assert caplog.messages == ["an answer of the DNS could not be used"]


def test_no_more_questions_are_open_than_there_is_room_for(nameserver, make_lookups, monkeypatch):
    monkeypatch.setattr(lookups_module, "MOST_OPEN", 10)
    monkeypatch.setattr(lookups_module, "MOST_SECONDS", 0.2)
    nameserver.silent = True
    lookups = make_lookups()
    lookups.find([f"{number}.example.net" for number in range(10)])
    assert lookups.find(["example.net"])["example.net"][0] in ("late", "dns_paused")
    assert lookups.exchange.open == 10


class TestProbe:
    """Whether `auto` means on."""

    def test_a_resolver_that_answers_sensibly_is_fit(self, make_lookups):
        assert make_lookups().probe() == ""

    def test_one_that_is_silent_is_not(self, nameserver, make_lookups):
        nameserver.silent = True
        assert "the resolver doesn't answer in time" in make_lookups(seconds=SHORT).probe()

    def test_one_that_answers_with_errors_is_not(self, nameserver, make_lookups):
        nameserver.code("", "REFUSED")
        assert "answers only with errors" in make_lookups(seconds=SHORT).probe()

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
