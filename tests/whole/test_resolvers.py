"""A worker asks resolvers of several kinds as much as they let it, and no good address is unknown.

What limits it is the resolver: it answers so many questions a second, or each takes its time and
few may be under way. How fast that is, tests/processors/domains/test_pace.py and bench/ say.
"""

import signal
import time
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from harness import far_nameserver, nsd, unbound
from harness.batches import store
from harness.books import assert_books_balance, snapshot
from harness.polling import eventually
from harness.scrape import Numbers
from relay.presence import workers

# Domains of ten kinds, each kind with a mail server of its own.
ZONE = "".join(f"*.z{number} MX 10 mx{number}\nmx{number} A 192.0.2.1\n" for number in range(10))
LIMIT = 400  # answers a second
UNKNOWN = ("dns_timeout", "dns_error", "dns_paused")


def good(count, prefix="d"):
    return [f"a@{prefix}{number}.z{number % 10}.example.net" for number in range(count)]


@pytest.fixture
def start_worker(processes, client):
    """Return a function that starts a worker that asks the given nameservers."""

    def start(*nameservers, **changes):
        asked = {"check__dns": "on", "check__nameservers": " ".join(nameservers)}
        worker = processes("worker.py", **asked, **changes)
        worker.await_line("worker started")
        return worker

    return start


class Checked:
    """A list of addresses that workers are checking."""

    def __init__(self, addresses):
        self.batch_id = store(*addresses, chunk_size=2000).batch_id
        self.began = time.monotonic()

    def seconds_to(self, number, within=110.0):
        """Wait until so many emails have an outcome; return the seconds since the beginning."""
        eventually(lambda: snapshot(self.batch_id).processed >= number, within)
        return time.monotonic() - self.began

    def assert_all_ok(self, within=110.0):
        """Wait for the end, and assert that all are ok."""
        eventually(lambda: snapshot(self.batch_id).status == "completed", within)
        assert_books_balance()
        assert snapshot(self.batch_id).reasons == {}


def hindrance(client):
    """What the worker says holds it up."""
    (worker,) = workers(client, "email-queue").alive
    return worker.hindrance


def dns_numbers(site, count):
    """Return what a worker says that has found `count` domains: queries sent, answered, late."""

    def read():
        numbers = Numbers(site)
        names = ("queries_total", "answers_total", "late_queries_total")
        sent, answered, late = (numbers.of(f"dns_{name}") for name in names)
        is_over = numbers.of("dns_open_questions") == 0 and answered >= count
        return is_over and (sent, answered, late)

    return eventually(read)  # it says so once a second


# What nsd does with the answers above its limit: it drops all, truncates all, or half of them.
@pytest.mark.parametrize("slip", [0, 1, 2])
def test_one_that_answers_each_client_so_many_questions_a_second(start_worker, processes, slip):
    # All of one kind, because nsd counts the answers of each kind by themselves.
    addresses = [f"a@d{number}.z1.example.net" for number in range(2_000)]
    limits = {"rrl_ratelimit": LIMIT, "rrl_whitelist_ratelimit": LIMIT, "rrl_slip": slip}
    site = processes("app.py").site()
    with nsd.start(ZONE, **limits) as nameserver:
        start_worker(nameserver.url)
        Checked(addresses).assert_all_ok()
        # Each is asked once or twice, on a busy machine up to four times; asked as fast as can be,
        # it would be more than five times.
        sent, _, _ = dns_numbers(site, len(addresses))
        assert sent < 5 * len(addresses)


@pytest.mark.parametrize(("latency", "loss", "at_once"), [(0.05, 0.0, 40), (0.2, 0.02, 160)])
def test_one_that_is_far_away_and_loses_some(start_worker, processes, latency, loss, at_once):
    count = 3_000
    site = processes("app.py").site()
    with (
        nsd.start(ZONE) as near,
        far_nameserver.start(near.url, seconds=latency, loss=loss) as nameserver,
    ):
        start_worker(nameserver.url, check__concurrency=at_once)
        Checked(good(count)).assert_all_ok()
        sent, answered, late = dns_numbers(site, count)
        # Those that are lost, or that a busy machine takes for lost, make room for others. The
        # worker counts a lost one for a while, the nameserver doesn't.
        given_up = late + sent - answered
        assert 0.9 * at_once <= nameserver.most_under_way() <= at_once + given_up


def test_one_that_dies_and_comes_back(start_worker, client):
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.02) as nameserver:
        start_worker(nameserver.url, check__concurrency=40)
        checked = Checked(good(5_000))
        checked.seconds_to(1_000)
        nameserver.stop_answering()
        eventually(
            lambda: hindrance(client).startswith(f"No nameserver answers ({nameserver.url})")
        )
        nameserver.answer_again()
        checked.assert_all_ok()
        eventually(lambda: not hindrance(client))


def test_one_of_several_that_dies_for_good(start_worker):
    with ExitStack() as started:
        nears = [started.enter_context(nsd.start(ZONE)) for _ in range(2)]
        fars = [
            started.enter_context(far_nameserver.start(near.url, seconds=0.02)) for near in nears
        ]
        start_worker(*(far.url for far in fars), check__concurrency=40)
        checked = Checked(good(10_000))
        checked.seconds_to(1_000)
        fars[0].stop_answering()
        checked.assert_all_ok(60)


def test_many_domains_without_an_answer_hold_up_nobody(start_worker):
    # 160 queries at once, of 0.2 s each, make 5 s for a list, whether or not the machine is busy.
    # With the dead domains it took 1.3 to 1.5 times as long. With a pace that counts no query as
    # late before the 3 s until it is given up, half of the list took ten times as long.
    count, dead_ones = 4_000, 100
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.2) as nameserver:
        start_worker(nameserver.url, check__concurrency=160)

        def share(number):
            """Return the time with dead domains as a multiple of the time without."""
            without = Checked(good(count, f"d{number}x"))
            seconds = without.seconds_to(count)
            without.assert_all_ok()
            among = good(count, f"e{number}x")
            for dead in range(dead_ones):  # all over the list
                among.insert(41 * dead, f"a@dead{number}x{dead}.z1.example.net")
            return Checked(among).seconds_to(count) / seconds

        # A busy machine disturbs one comparison, never all of them.
        assert any(share(number) < 2.5 for number in range(4))


def test_more_than_a_thousand_of_them_in_a_row_hold_up_nobody_who_comes_later(start_worker):
    dead = [f"a@dead{number}.z1.example.net" for number in range(1_500)]
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.01) as nameserver:
        start_worker(nameserver.url)
        seconds = Checked(good(20_000)).seconds_to(20_000)
        Checked([*good(1_000), *dead]).seconds_to(1_000)
        others = Checked(good(20_000, "e"))
        assert others.seconds_to(20_000) < 3 * seconds + 10


@contextmanager
def recursive():
    """Unbound before an nsd, and before nameservers that nobody runs for `gone.example`."""
    with nsd.start(ZONE) as nameserver, unbound.start({"example.net": nameserver.url}) as resolver:
        yield resolver


def test_a_domain_whose_own_nameservers_are_dead_is_unknown_and_no_other(start_worker):
    with recursive() as resolver:
        addresses = [*good(3_000), *(f"a@d{number}.gone.example" for number in range(10))]
        start_worker(resolver.url, worker__later_rounds=2)
        checked = Checked(addresses)
        eventually(lambda: snapshot(checked.batch_id).status == "completed", 115)
        reasons = snapshot(checked.batch_id).reasons
        assert sum(reasons.values()) == 10
        assert set(reasons) <= set(UNKNOWN)


def test_a_worker_stops_in_time_although_questions_by_tcp_have_no_answer(nameserver, start_worker):
    domains = [f"d{number}.example.net" for number in range(200)]
    for domain in domains:
        nameserver.lie(domain, "truncated")
    nameserver.tcp_gate.clear()
    worker = start_worker(nameserver.address)
    store(*(f"a@{domain}" for domain in domains))
    # 8 are asked at a time, for three seconds each.
    eventually(lambda: all(nameserver.asked[domain, "MX"] for domain in domains))
    worker.send(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_one_with_errors_at_first_is_asked_again_later_also_by_another_worker(
    nameserver, start_worker
):
    domains = [f"grey{number}.example.net" for number in range(100)]
    for domain in domains:
        nameserver.code(domain, "SERVFAIL")
    first = start_worker(nameserver.address)
    checked = Checked([f"a@{domain}" for domain in domains])
    eventually(lambda: snapshot(checked.batch_id).waiting == len(domains))
    first.stop(signal.SIGKILL)
    for domain in domains:
        nameserver.mx(domain)
    second = start_worker(nameserver.address)
    idle = psutil.Process(second.pid).cpu_times()
    checked.assert_all_ok()
    used = psutil.Process(second.pid).cpu_times()
    assert used.user + used.system - idle.user - idle.system < 2
    second.await_line("batch completed")
    assert second.output.count("batch completed") == 1
