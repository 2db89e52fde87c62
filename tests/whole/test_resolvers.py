"""A worker asks resolvers of several kinds as fast as they let it, and no good address is unknown.

What limits the rate is the resolver, never this machine: it answers so many questions a second, or
each takes its time and few may be under way.
"""

import signal
import threading
import time
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from harness import far_nameserver, nsd, unbound
from harness.batches import store
from harness.books import assert_books_balance, snapshot
from harness.polling import eventually
from relay.presence import workers

# Domains of ten kinds, each kind with a mail server of its own.
ZONE = "".join(f"*.z{number} MX 10 mx{number}\nmx{number} A 192.0.2.1\n" for number in range(10))
LIMIT = 200  # answers a second
UNKNOWN = ("dns_timeout", "dns_error", "dns_paused")


def good(count):
    return [f"a@d{number}.z{number % 10}.example.net" for number in range(count)]


@pytest.fixture
def start_worker(processes, client):
    """Return a function that starts a worker that asks the given nameservers."""

    def start(*nameservers, **changes):
        changes = {f"check__{key}": value for key, value in changes.items()}
        worker = processes(
            "worker.py", check__dns="on", check__nameservers=" ".join(nameservers), **changes
        )
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

    def is_all_ok(self, within=110.0):
        """Wait for the end; return whether all are ok."""
        eventually(lambda: snapshot(self.batch_id).status == "completed", within)
        assert_books_balance()
        return snapshot(self.batch_id).reasons == {}


def hindrance(client):
    """What the worker says holds it up."""
    (worker,) = workers(client, "email-queue").alive
    return worker.hindrance


# What nsd does with the answers above its limit: it drops all, truncates all, or half of them.
@pytest.mark.parametrize("slip", [0, 1, 2])
def test_one_that_answers_each_client_so_many_questions_a_second(start_worker, slip):
    # All of one kind, because nsd counts the answers of each kind by themselves.
    addresses = [f"a@d{number}.z1.example.net" for number in range(6_000)]
    limits = {"rrl_ratelimit": LIMIT, "rrl_whitelist_ratelimit": LIMIT, "rrl_slip": slip}
    with nsd.start(ZONE, **limits) as nameserver:
        start_worker(nameserver.url)
        checked = Checked(addresses)
        # At first it is not known what it lets through; then that is tried again from time to time,
        # which takes some seconds, and a busy machine disturbs.
        times = [checked.seconds_to(number) for number in range(500, 5_600, 250)]
        best = min(later - before for before, later in zip(times, times[6:], strict=False))
        assert 1_500 / best > 0.85 * LIMIT
        assert checked.is_all_ok()


@pytest.mark.parametrize(("latency", "loss"), [(0.05, 0.0), (0.2, 0.02)])
def test_one_that_is_far_away_and_loses_some(start_worker, latency, loss):
    under_way = 40 if latency < 0.1 else 160
    with (
        nsd.start(ZONE) as near,
        far_nameserver.start(near.url, seconds=latency, loss=loss) as nameserver,
    ):
        start_worker(nameserver.url, concurrency=under_way)
        checked = Checked(good(12_000))
        before = checked.seconds_to(2_000)
        seconds = checked.seconds_to(10_000) - before
        assert 8_000 / seconds > 0.85 * (1 - loss) * under_way / latency
        assert checked.is_all_ok()


def test_one_that_dies_for_ten_seconds(start_worker, client):
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.02) as nameserver:
        start_worker(nameserver.url, concurrency=40)
        checked = Checked(good(10_000))
        checked.seconds_to(1_000)
        nameserver.stop_answering()
        back = threading.Timer(10, nameserver.answer_again)
        back.start()
        eventually(
            lambda: hindrance(client).startswith(f"No nameserver answers ({nameserver.url})")
        )
        assert checked.is_all_ok()
        eventually(lambda: not hindrance(client))
        back.join()


def test_one_of_several_that_dies_for_good(start_worker):
    with ExitStack() as started:
        nears = [started.enter_context(nsd.start(ZONE)) for _ in range(2)]
        fars = [
            started.enter_context(far_nameserver.start(near.url, seconds=0.02)) for near in nears
        ]
        start_worker(*(far.url for far in fars), concurrency=40)
        checked = Checked(good(10_000))
        checked.seconds_to(1_000)
        fars[0].stop_answering()
        assert checked.is_all_ok(60)


def test_a_thousand_domains_without_an_answer_hold_up_nobody(start_worker):
    among = good(40_000)
    for number in range(1_000):
        among.insert(41 * number, f"a@dead{number}.z1.example.net")
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.2) as nameserver:
        start_worker(nameserver.url, concurrency=800)
        # Other domains, because those of the second list must not be known yet.
        without = Checked([address.replace("d", "e", 1) for address in good(40_000)])
        seconds = without.seconds_to(40_000)
        assert without.is_all_ok()
        assert Checked(among).seconds_to(40_000) < seconds / 0.8


def test_more_than_a_thousand_of_them_in_a_row_hold_up_nobody_who_comes_later(start_worker):
    dead = [f"a@dead{number}.z1.example.net" for number in range(1_500)]
    with nsd.start(ZONE) as near, far_nameserver.start(near.url, seconds=0.01) as nameserver:
        start_worker(nameserver.url)
        seconds = Checked(good(20_000)).seconds_to(20_000)
        Checked([*good(1_000), *dead]).seconds_to(1_000)
        others = Checked([address.replace("d", "e", 1) for address in good(20_000)])
        assert others.seconds_to(20_000) < 3 * seconds + 10


@contextmanager
def recursive():
    """Unbound before an nsd, and before nameservers that nobody runs for `gone.example`."""
    with nsd.start(ZONE) as nameserver, unbound.start({"example.net": nameserver.url}) as resolver:
        yield resolver


def test_a_domain_whose_own_nameservers_are_dead_is_unknown_and_no_other(start_worker):
    with recursive() as resolver:
        addresses = [*good(3_000), *(f"a@d{number}.gone.example" for number in range(10))]
        start_worker(resolver.url)
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
    second = start_worker(nameserver.address)
    idle = psutil.Process(second.pid).cpu_times()
    later = threading.Timer(20, lambda: [nameserver.mx(domain) for domain in domains])
    later.start()
    later.join()
    used = psutil.Process(second.pid).cpu_times()
    assert used.user + used.system - idle.user - idle.system < 2
    assert checked.is_all_ok()
    assert second.output.count("batch completed") == 1
