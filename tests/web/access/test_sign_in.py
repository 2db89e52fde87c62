import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from harness.books import query
from harness.config import write_config
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import run_script
from harness.site import ALICE, PASSWORD, basic, sign_in
from runtime.settings import SettingsError
from web.access import familiar, users
from web.access import sign_in as access
from web.access.sign_in import Access

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """A hash costs next to nothing here; what it costs is tested by itself."""
    monkeypatch.setattr(users, "_N", 2)


@pytest.fixture
def users_file(tmp_path):
    path = tmp_path / "users"
    users.add(path, "alice", PASSWORD)
    users.add(path, "böb", "naïve password")
    return path


@pytest.fixture
def closed(users_file, serve):
    """A site where alice and böb may sign in."""
    return serve()


def add_user(folder, name, typed):
    return run_script("app.py", folder, "--add-user", name, typed=typed)


def test_a_user_is_added_by_a_command_and_gets_a_new_password_by_the_same(tmp_path):
    done = add_user(tmp_path, "alice", f"{PASSWORD}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alice may sign in now.\n", "")
    path = tmp_path / "users"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text()
    assert path.read_text().startswith("alice:scrypt:16384:8:5:")
    assert add_user(tmp_path, "alice", "another one\n").stdout == "alice has a new password.\n"
    known = users.Users(path)
    assert known.check("alice", "another one")
    assert not known.check("alice", PASSWORD)


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("al ice", PASSWORD, "letters, digits"),
        ("al:ice", PASSWORD, "letters, digits"),
        ("", PASSWORD, "letters, digits"),
        ("alice", "short", "8 to 256 characters"),
        ("alice", "", "8 to 256 characters"),
    ],
)
def test_no_user_is_added_who_could_not_sign_in_or_too_easily(tmp_path, name, typed, said):
    done = add_user(tmp_path, name, typed)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "users").exists()


def test_passwords_are_the_same_however_their_characters_are_composed(tmp_path):
    users.add(tmp_path / "users", "alice", "Zo\u00eb's password")
    assert users.Users(tmp_path / "users").check("alice", "Zoe\u0308's password")


@pytest.mark.parametrize("path", ["/", "/batches/1", "/static/x/icon.svg", "/nothing"])
def test_nothing_is_shown_without_a_name_and_a_password(closed, path):
    response = closed.get(path)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="Email batches", charset="UTF-8"'
    assert "Sign in with your name and password." in response.body.decode()
    assert "Content-Security-Policy" in response.headers


@pytest.mark.parametrize("path", ["/api/health", "/api/batches", "/api/batches/stream"])
def test_the_api_neither(closed, path):
    response = closed.get(path)
    assert (response.status, response.json["code"]) == (401, "unauthorized")
    assert closed.get(path, Authorization=basic("alice", "wrong password")).status == 401


@pytest.mark.parametrize(
    "authorization",
    ["Basic", "Basic !", "Basic YQ==", "Bearer x", "Basic /w==", basic("a b", "c"), basic("", "")],
)
def test_what_is_no_name_and_password_is_asked_for_anew(closed, authorization):
    assert closed.get("/api/health", Authorization=authorization).status == 401


def test_who_signs_in_sees_everything_and_is_named(closed):
    page = closed.get("/", Authorization=ALICE)
    assert page.status == 200
    assert '<span class="user">alice</span>' in page.body.decode()
    assert closed.get("/api/health", Authorization=basic("böb", "naïve password")).status == 200
    with closed.stream(Authorization=ALICE) as stream:
        assert stream.status == 200
        assert next(stream.all_events())[0] == "health"


def test_a_right_password_is_remembered_for_a_while(closed, users_file, monkeypatch):
    looked = []
    matches = users.matches
    monkeypatch.setattr(users, "matches", lambda *known: looked.append(1) or matches(*known))
    for _ in range(5):
        assert closed.get("/api/health", Authorization=ALICE).status == 200
    assert len(looked) == 1
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)
    users.add(users_file, "carol", PASSWORD)  # the file has changed
    for _ in range(2):
        assert closed.get("/api/health", Authorization=ALICE).status == 200
    assert len(looked) == 3


def test_a_changed_file_counts_at_once_and_an_empty_one_lets_nobody_in(closed, users_file):
    def status(authorization):
        return closed.get("/api/health", Authorization=authorization).status

    assert status(ALICE) == 200
    users.add(users_file, "alice", "another password")
    assert status(ALICE) == 401
    assert status(basic("alice", "another password")) == 200
    users_file.unlink()
    assert status(basic("alice", "another password")) == 401
    assert closed.get("/api/health").status == 401
    users_file.write_text("nonsense")
    assert status(basic("alice", "another password")) == 401


def test_users_who_come_to_a_server_without_any_close_it(site, tmp_path):
    assert site.get("/api/health").status == 200
    users.add(tmp_path / "users", "alice", PASSWORD)
    assert site.get("/api/health").status == 401
    assert site.get("/api/health", Authorization=ALICE).status == 200


def test_failed_attempts_slow_down_an_account_and_an_address(closed, monkeypatch, caplog):
    monkeypatch.setattr(access, "FREE_ATTEMPTS", 3)
    # As the users came in before, from this address and others.
    assert closed.get("/api/health", Authorization=ALICE).status == 200
    for _ in range(3):
        assert closed.get("/api/health", Authorization=basic("böb", "guess guess")).status == 401
    slowed = closed.get("/api/health", Authorization=basic("böb", "naïve password"))
    assert (slowed.status, slowed.json["code"]) == (429, "too_many_attempts")
    assert 1 <= int(slowed.headers["Retry-After"]) <= 2
    # Also with another account from there; but not who is remembered.
    other = closed.get("/api/health", Authorization=basic("carol", "guess guess"))
    assert other.status == 429
    assert closed.get("/api/health", Authorization=ALICE).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "access"]
    assert lines == ["sign-in failed user=böb address=127.0.0.1"] * 3
    assert "guess" not in caplog.text
    eventually(
        lambda: (
            closed.get("/api/health", Authorization=basic("böb", "naïve password")).status == 200
        )
    )


def test_a_name_that_nobody_has_is_not_logged(closed, caplog):
    closed.get("/api/health", Authorization=basic("my-secret-password", "alice"))
    assert 'sign-in failed user="?"' in caplog.text
    assert "my-secret" not in caplog.text


def test_waits_double_up_to_a_minute_and_are_forgotten(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    attempts, waits = access.Attempts(), []
    for _ in range(14):
        attempts.fail("a")
        waits.append(attempts.wait("a", "b"))
        assert attempts.wait("b") <= 0
        now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    now += access.FORGET_SECONDS
    attempts.fail("a")
    assert attempts.wait("a") == 0
    monkeypatch.setattr(access, "MAX_ATTEMPTS", 2)
    attempts = access.Attempts()
    for name in "abcd":
        attempts.fail(name)
    assert [*attempts._failed] == ["c", "d"]


@pytest.fixture
def attempt(users_file, serve):
    """Tries a password from an address, and returns the status."""
    site = serve(access__trusted_proxies="127.0.0.1")

    def attempt(address, password, name="alice"):
        authorization = basic(name, password)
        response = site.get("/api/health", Authorization=authorization, X_Forwarded_For=address)
        return response.status

    return attempt


def test_whoever_signed_in_from_a_network_is_not_kept_out_by_others(attempt, monkeypatch):
    monkeypatch.setattr(access, "REMEMBER_SECONDS", -1)  # each time the password is looked at
    assert attempt("192.0.2.1", PASSWORD) == 200
    guesses = [attempt("198.51.100.1", "guess guess") for _ in range(access.FREE_ATTEMPTS + 1)]
    assert guesses == [401] * access.FREE_ATTEMPTS + [429]
    assert attempt("192.0.2.1", PASSWORD) == 200
    # Nor is what was guessed forgotten by that.
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


def test_what_is_remembered_is_remembered_anew_by_its_use(make_settings, users_file, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    entry = Access(make_settings())
    entry._remembered[b"digest"] = now + access.REMEMBER_SECONDS, entry._users.version
    for _ in range(5):
        now += access.REMEMBER_SECONDS - 1
        assert entry._remembers(b"digest")
    now += access.REMEMBER_SECONDS
    assert not entry._remembers(b"digest")


@pytest.fixture
def held(monkeypatch):
    """Holds each check of the password "guess guess"; the events are whether one is held, and
    whether they may go on."""
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
    users.add(users_file, "carol", PASSWORD)  # nobody is forgotten for another
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


def test_of_users_who_are_added_at_once_none_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(users, "_N", 2)
    names = [f"user{number:02}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: users.add(tmp_path / "users", name, PASSWORD), names))
    assert sorted(users.Users(tmp_path / "users").present()) == names


@pytest.mark.parametrize(
    "path",
    [
        *("/%ffmetrics", "/metrics%ff", "/api/%c3", "/%ed%a0%80", "/%c0%af"),
        *("/api/batches?q=%ff", "/api/batches/1/emails?verdict=%c3", "/?q=%ed%a0%80"),
    ],
)
def test_an_address_that_is_not_utf_8_leads_nowhere(site, path):
    response = site.get(path)
    assert response.status == 400
    if path.startswith("/api/"):
        assert response.json["code"] == ("bad_parameter" if "?" in path else "bad_path")
    assert "not UTF-8" in response.body.decode()


def test_an_ipv6_address_stands_for_its_network():
    assert access._network("::ffff:192.0.2.1") == access._network("192.0.2.1")
    assert access._network("::ffff:192.0.2.1") != access._network("::ffff:192.0.2.2")
    assert access._network("fe80::1%eth0") == access._network("fe80::2%eth1")
    assert access._network("2001:db8:1:2:3:4:5:6") == access._network("2001:db8:1:2::9")
    assert access._network("2001:db8:1:3::9") != access._network("2001:db8:1:2::9")
    assert access._network("192.0.2.1") != access._network("192.0.2.2")


def test_without_users_only_this_machine_is_served(make_settings):
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        Access(make_settings(server__host=host))
    for host in (EVERYWHERE, "::", "192.0.2.1", "example.org"):
        with pytest.raises(
            SettingsError, match=f"who reaches {host} could see all batches. Run python app.py"
        ):
            Access(make_settings(server__host=host))
        Access(make_settings(server__host=host, access__allow_anonymous="yes"))
        Access(
            make_settings(
                server__host=host,
                access__trusted_user_header="X-Remote-User",
                access__trusted_proxies="192.0.2.9",
            )
        )


def test_with_users_any_address_is_served(make_settings, users_file):
    Access(make_settings(server__host=EVERYWHERE))


def test_app_py_says_so_and_ends(tmp_path, run):
    config = str(write_config(tmp_path, server__port=0))
    process = run("app.py", "--config", config, "--host", EVERYWHERE)
    assert process.wait() == 2
    assert "Nobody has to sign in" in process.output
    assert "--add-user NAME" in process.output
    assert len(process.lines) == 1


def test_a_users_file_that_others_can_read_is_refused(tmp_path, users_file, run):
    users_file.chmod(0o640)
    process = run("app.py", "--config", str(write_config(tmp_path, server__port=0)))
    assert process.wait() == 2
    assert process.output == f"{users_file}: other users can read or write it. Run chmod 600 users"


def test_a_users_file_with_nonsense_is_refused(tmp_path, users_file, make_settings):
    users_file.write_text("alice:secret\n")
    with pytest.raises(SettingsError, match="line 1: this is not a user"):
        Access(make_settings())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080"])
def test_this_machines_own_names_lead_to_a_server_without_users(site, host):
    assert site.get("/api/health", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.5",
        "[2001:db8::1]",
        "",
    ],
)
def test_other_names_that_lead_here_do_not(site, host):
    # Such as a name of somebody's that was made to lead to 127.0.0.1 (DNS rebinding).
    response = site.get("/api/health", Host=host)
    assert (response.status, response.json["code"]) == (403, "not_local")


class TestBehindAProxy:
    @pytest.fixture
    def proxied(self, serve):
        return serve(
            access__trusted_user_header="X-Remote-User",
            access__trusted_proxies="127.0.0.1 10.1.0.0/16",
        )

    def test_the_proxy_says_who_it_is(self, proxied):
        page = proxied.get("/", X_Remote_User="böb".encode().decode("latin-1"), Host="a.example")
        assert '<span class="user">böb</span>' in page.body.decode()

    @pytest.mark.parametrize("name", [None, "", "alice, böb", "a b", "<b>", "\xff"])
    def test_without_a_name_nobody_gets_in(self, proxied, name):
        headers = {} if name is None else {"X_Remote_User": name}
        response = proxied.get("/api/health", **headers)
        assert (response.status, response.json["code"]) == (403, "no_user")

    def test_nobody_else_may_say_so(self, serve):
        site = serve(
            access__trusted_user_header="X-Remote-User", access__trusted_proxies="10.1.0.0/16"
        )
        response = site.get("/api/health", X_Remote_User="alice")
        assert (response.status, response.json["code"]) == (403, "untrusted_proxy")

    def test_the_header_counts_only_where_it_is_set_up(self, closed):
        response = closed.get("/api/health", X_Remote_User="alice", Remote_User="alice")
        assert response.status == 401

    def test_clients_are_told_apart_by_what_the_last_untrusted_one_is(self, make_settings):
        entry = Access(make_settings(access__trusted_proxies="127.0.0.1 10.1.0.0/16"))
        assert entry._client("127.0.0.1", "1.1.1.1, 192.0.2.7, 10.1.2.3") == "192.0.2.7"
        assert entry._client("192.0.2.1", "1.1.1.1") == "192.0.2.1"

    @pytest.mark.parametrize(
        ("forwarded", "client"),
        [
            ("", "127.0.0.1"),
            ("192.0.2.7, ", "127.0.0.1"),
            ("unknown", "127.0.0.1"),
            ("192.0.2.7, unknown, 10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ('"192.0.2.7:4711"', "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ('"[2001:db8::7]:4711"', "2001:db8::7"),
            ("fe80::7%eth0", "fe80::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:4711", "192.0.2.7"),
            ("192.0.2.7, ::ffff:10.1.2.3", "192.0.2.7"),
        ],
    )
    def test_however_proxies_write_an_address_it_is_the_same(
        self, make_settings, forwarded, client
    ):
        entry = Access(make_settings(access__trusted_proxies="127.0.0.1 10.1.0.0/16"))
        assert entry._client("127.0.0.1", forwarded) == client
        assert entry._client("::ffff:127.0.0.1", forwarded) == client

    @pytest.mark.parametrize(
        ("proxies", "remote", "trusted"),
        [
            ("10.1.0.0/16", "10.1.2.3", True),
            ("10.1.0.0/16", "::ffff:10.1.2.3", True),
            ("10.1.0.0/16", "::ffff:10.2.2.3", False),
            ("::ffff:10.1.0.0/112", "10.1.2.3", True),
            ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", True),
            ("::ffff:10.1.0.0/112", "10.2.2.3", False),
            ("::ffff:127.0.0.1", "127.0.0.1", True),
            ("fe80::/10", "fe80::1%eth0", True),
            ("::/0", "2001:db8::1", True),
            ("10.1.0.0/16", "", False),
        ],
    )
    def test_a_proxy_is_trusted_however_its_address_is_written(
        self, make_settings, proxies, remote, trusted
    ):
        assert Access(make_settings(access__trusted_proxies=proxies)).is_proxy(remote) is trusted

    def test_what_is_refused_for_its_path_is_logged_with_its_client(self, serve, caplog):
        caplog.set_level("INFO", "request")
        site = serve(access__trusted_proxies="127.0.0.1")
        assert site.get("/%ff", X_Forwarded_For="192.0.2.7").status == 400
        eventually(lambda: "status=400" in caplog.text)
        assert "client=192.0.2.7" in caplog.text

    def test_forwarded_headers_of_others_are_not_believed(self, serve):
        for proxies, expected in (("", "http://127.0.0.1"), ("127.0.0.1", "https://x.example")):
            site = serve(access__trusted_proxies=proxies)
            response = site.get(
                "/?batch=7", X_Forwarded_Host="x.example", X_Forwarded_Proto="https"
            )
            assert response.headers["Location"].startswith(expected)


def test_it_is_kept_and_shown_who_did_what(closed):
    alice, bob = sign_in(closed, ALICE), sign_in(closed, basic("böb", "naïve password"))
    assert alice.upload(csv_of("a@x.de", "no address")).status == 201
    assert alice.get("/api/batches").json["batches"][0]["uploadedBy"] == "alice"
    assert bob.request("POST", "/api/batches/1/cancel").status == 200
    assert bob.request("POST", "/api/batches/1/cancel").status == 200  # nothing more happens
    shown = alice.get("/api/batches/1").json
    assert shown["uploadedBy"] == "alice"
    (cancelled,) = shown["history"]
    at = cancelled.pop("at")
    assert cancelled.pop("text") == "Cancelled by böb"
    assert cancelled == {"action": "cancelled", "by": "böb", "which": None, "emails": None}
    page = alice.get("/batches/1").body.decode()
    assert " UTC</time> by alice" in page
    assert f'<span>Cancelled by böb</span>, <time datetime="{at}">' in page
    assert " by alice" in alice.get("/").body.decode()
    assert alice.request("DELETE", "/api/batches/1").status == 204
    gone = bob.get("/api/batches/1")
    assert gone.status == 404
    assert gone.json["detail"].startswith("Batch 1 was deleted by alice on 20")
    assert bob.get("/api/batches/2").json["detail"] == "There is no batch 2."


def test_who_retried_is_kept_too(closed, make_turns):
    alice = sign_in(closed, ALICE)
    alice.upload(csv_of("a@x.de", "no-address"))
    query("UPDATE email SET status = 'failed', reason = 'no_at_sign' WHERE id = 2 RETURNING 1")
    query("UPDATE email SET status = 'processed' WHERE id = 1 RETURNING 1")
    query("""UPDATE chunk SET done = 2, reasons = '{"no_at_sign": 1}' RETURNING 1""")
    query(
        "UPDATE batch SET status = 'completed', started_at = now(), completed_at = now(),"
        """ processed_count = 2, failed_count = 1, reasons = '{"no_at_sign": 1}' RETURNING 1"""
    )
    body = json.dumps({"which": "failed"}).encode()
    done = alice.request("POST", "/api/batches/1/retry", body, Content_Type="application/json")
    assert done.json["requeued"] == 1
    (retried,) = alice.get("/api/batches/1").json["history"]
    del retried["at"]
    assert retried.pop("text") == "Retried by alice: 1 email (failed)"
    assert retried == {"action": "retried", "by": "alice", "which": "failed", "emails": 1}
    page = alice.get("/batches/1").body.decode()
    assert "<span>Retried by alice: 1 email (failed)</span>" in page


def test_a_name_that_nobody_has_takes_as_long(users_file, monkeypatch):
    hashes = []
    matches = users.matches
    monkeypatch.setattr(users, "matches", lambda *known: hashes.append(1) or matches(*known))
    known = users.Users(users_file)
    assert not known.check("nobody", PASSWORD)
    assert not known.check("alice", "wrong password")
    assert len(hashes) == 2


def test_root_leaves_the_file_its_owner(tmp_path, monkeypatch):
    owners = []
    path = tmp_path / "users"
    users.add(path, "alice", PASSWORD)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, *owner: owners.append(owner))
    users.add(path, "böb", PASSWORD)
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]


def test_a_hash_takes_as_much_as_it_should(monkeypatch):
    monkeypatch.undo()
    known = users.hashed(PASSWORD)
    assert known.startswith("scrypt:16384:8:5:")
    assert users.matches(PASSWORD, known)
    assert not users.matches(PASSWORD + "x", known)
    assert known != users.hashed(PASSWORD)
