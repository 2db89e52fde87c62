"""Who guesses passwords has to wait, and nobody else because of that."""

import threading
import time
from types import SimpleNamespace

import pytest

from harness.polling import eventually
from harness.site import ALICE, PASSWORD, basic
from web.access import familiar, users
from web.access import sign_in as access


@pytest.fixture
def clock(monkeypatch):
    """The clock by which people wait, which stands still: a slow machine would end their waits."""
    clock = SimpleNamespace(now=time.monotonic())
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(access, "time", clock)
    return clock


def test_failed_attempts_slow_down_an_account_and_an_address(closed, monkeypatch, caplog, clock):
    monkeypatch.setattr(access, "FREE_ATTEMPTS", 3)
    # Alice signs in first, and is remembered.
    assert closed.get("/api/health", Authorization=ALICE).status == 200
    for _ in range(3):
        assert closed.get("/api/health", Authorization=basic("böb", "guess guess")).status == 401
    slowed = closed.get("/api/health", Authorization=basic("böb", "naïve password"))
    assert (slowed.status, slowed.json["code"]) == (429, "too_many_attempts")
    assert slowed.headers["Retry-After"] == "1"
    # Another account at this address waits, too; a user who is remembered does not.
    other = closed.get("/api/health", Authorization=basic("carol", "guess guess"))
    assert other.status == 429
    assert closed.get("/api/health", Authorization=ALICE).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "access"]
    assert lines == ["sign-in failed user=böb address=127.0.0.1"] * 3
    assert "guess" not in caplog.text
    clock.now += 1
    assert closed.get("/api/health", Authorization=basic("böb", "naïve password")).status == 200


def test_a_name_that_nobody_has_is_not_logged(closed, caplog):
    closed.get("/api/health", Authorization=basic("my-secret-password", "alice"))
    assert 'sign-in failed user="?"' in caplog.text
    assert "my-secret" not in caplog.text


def test_waits_double_up_to_a_minute_and_are_forgotten(monkeypatch, clock):
    attempts, waits = access.Attempts(), []
    for _ in range(14):
        attempts.fail("a")
        waits.append(attempts.wait("a", "b"))
        assert attempts.wait("b") <= 0
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    clock.now += access.FORGET_SECONDS
    attempts.fail("a")
    assert attempts.wait("a") == 0
    monkeypatch.setattr(access, "MAX_ATTEMPTS", 2)
    attempts = access.Attempts()
    for name in "abcd":
        attempts.fail(name)
    assert [*attempts._failed] == ["c", "d"]


@pytest.fixture
def attempt(users_file, serve, clock):
    """Tries a password from an address, and returns the status."""
    site = serve(access__trusted_proxies="127.0.0.1")

    def attempt(address, password, name="alice"):
        authorization = basic(name, password)
        response = site.get("/api/health", Authorization=authorization, X_Forwarded_For=address)
        return response.status

    return attempt


def test_whoever_signed_in_from_a_network_is_not_kept_out_by_others(attempt, monkeypatch):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)  # each request checks the password anew
    assert attempt("192.0.2.1", PASSWORD) == 200
    guesses = [attempt("198.51.100.1", "guess guess") for _ in range(access.FREE_ATTEMPTS + 1)]
    assert guesses == [401] * access.FREE_ATTEMPTS + [429]
    assert attempt("192.0.2.1", PASSWORD) == 200
    # That does not make up for failures from another address.
    assert attempt("198.51.100.1", "guess guess") == 429
    # From elsewhere, whoever it is waits; so does anybody who guesses from a familiar network.
    assert attempt("192.0.2.2", PASSWORD) == 429
    guesses = [attempt("192.0.2.1", "guess guess") for _ in range(access.FREE_ATTEMPTS + 1)]
    assert guesses == [401] * access.FREE_ATTEMPTS + [429]
    assert attempt("192.0.2.1", PASSWORD) == 429


def test_from_one_network_a_colleagues_failures_are_not_counted_against_others(
    attempt, monkeypatch
):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    assert attempt("192.0.2.1", PASSWORD) == 200
    for _ in range(access.FREE_ATTEMPTS):
        assert attempt("192.0.2.1", "forgotten", "böb") == 401
    assert attempt("192.0.2.1", "forgotten", "böb") == 429
    assert attempt("192.0.2.1", PASSWORD) == 200


@pytest.fixture
def held(monkeypatch):
    """Holds each check of the password "guess guess".

    Yields two events: one that is set when a check is held, and one to set to let them go on.
    """
    checking, go_on = threading.Event(), threading.Event()
    matches = users.matches

    def slowly(password, known):
        if password == "guess guess":
            checking.set()
            assert go_on.wait(60)
        return matches(password, known)

    monkeypatch.setattr(users, "matches", slowly)
    yield checking, go_on
    go_on.set()


def test_whoever_is_known_does_not_queue_behind_strangers(attempt, monkeypatch, held):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    monkeypatch.setattr(access, "CHECK_SECONDS", 0.2)
    checking, go_on = held
    assert attempt("192.0.2.1", PASSWORD) == 200
    stranger = threading.Thread(target=attempt, args=("198.51.100.1", "guess guess"))
    stranger.start()
    try:
        assert checking.wait(60)
        assert attempt("198.51.100.2", "another guess") == 503
        assert attempt("192.0.2.1", PASSWORD) == 200
    finally:
        go_on.set()
        stranger.join()


def test_strangers_of_many_networks_leave_threads_for_others(users_file, serve, monkeypatch, held):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    monkeypatch.setattr(access, "CHECK_SECONDS", 60)
    _, go_on = held
    site = serve(
        access__trusted_proxies="127.0.0.1", server__request_threads=4, server__max_streams=1
    )

    def ask(address, authorization):
        return site.get("/api/health", Authorization=authorization, X_Forwarded_For=address)

    assert ask("192.0.2.1", ALICE).status == 200
    answers = []
    strangers = [
        threading.Thread(
            target=lambda number=number: answers.append(
                ask(f"2001:db8:{number}::1", basic("alice", "guess guess"))
            )
        )
        for number in range(8)
    ]
    try:
        for stranger in strangers:
            stranger.start()
        # Half of the request threads are theirs.
        eventually(lambda: len(answers) == 6)
        for answer in answers:
            assert (answer.status, answer.json["code"]) == (503, "too_many_sign_ins")
            assert int(answer.headers["Retry-After"]) >= 1
        assert ask("192.0.2.1", ALICE).status == 200
    finally:
        go_on.set()
        for stranger in strangers:
            stranger.join()
    assert sorted(answer.status for answer in answers) == [401] * 2 + [503] * 6


def test_a_network_is_known_for_the_password_that_was_right_there(attempt, users_file, monkeypatch):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    for address in ("192.0.2.1", "192.0.2.2"):
        assert attempt(address, PASSWORD) == 200
    users.add(users_file, "carol", PASSWORD)  # which makes no other user's networks unfamiliar
    for _ in range(access.FREE_ATTEMPTS):
        assert attempt("198.51.100.1", "guess guess") == 401
    assert attempt("192.0.2.1", PASSWORD) == 200
    users.add(users_file, "alice", "another password")
    # Whoever had the old one guesses at the new one as a stranger.
    assert attempt("192.0.2.2", PASSWORD) == 429
    users_file.write_text("\n".join(users_file.read_text().splitlines()[1:]))
    assert attempt("192.0.2.1", PASSWORD) == 429
    users.add(users_file, "alice", PASSWORD)
    assert attempt("192.0.2.1", PASSWORD) == 429


def test_networks_are_known_until_long_after_their_last_use_and_so_many(attempt, monkeypatch):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    monkeypatch.setattr(familiar, "MAX_FAMILIAR", 2)
    now, monotonic = time.time(), time.monotonic()

    def let_days_pass(days):
        clock = SimpleNamespace(
            monotonic=lambda: monotonic + days * 86400, time=lambda: now + days * 86400
        )
        monkeypatch.setattr(access, "time", clock)
        monkeypatch.setattr(familiar, "time", clock)

    for day, address in enumerate(("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3")):
        let_days_pass(day)
        assert attempt(address, PASSWORD) == 200
    for _ in range(access.FREE_ATTEMPTS):
        assert attempt("198.51.100.1", "guess guess") == 401
    assert attempt("192.0.2.2", PASSWORD) == 429
    for days in (29, 58):
        let_days_pass(days)
        assert attempt("192.0.2.1", PASSWORD) == 200
    for _ in range(access.FREE_ATTEMPTS):
        assert attempt("198.51.100.1", "guess guess") == 401
    assert attempt("192.0.2.3", PASSWORD) == 429
    assert attempt("192.0.2.1", PASSWORD) == 200


def test_an_ipv6_address_stands_for_its_network():
    assert access._network("::ffff:192.0.2.1") == access._network("192.0.2.1")
    assert access._network("::ffff:192.0.2.1") != access._network("::ffff:192.0.2.2")
    assert access._network("fe80::1%eth0") == access._network("fe80::2%eth1")
    assert access._network("2001:db8:1:2:3:4:5:6") == access._network("2001:db8:1:2::9")
    assert access._network("2001:db8:1:3::9") != access._network("2001:db8:1:2::9")
    assert access._network("192.0.2.1") != access._network("192.0.2.2")
