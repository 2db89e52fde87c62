"""Who signs in by name and password sees everything, and what they do is kept."""

import json

import pytest

from harness.books import query
from harness.files import csv_of
from harness.site import ALICE, PASSWORD, basic, sign_in
from web.access import sign_in as access
from web.access import users
from web.access.sign_in import Access


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
    assert cancelled.pop("why") is None
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
    assert retried.pop("text") == "Checked again by alice: 1 email (invalid)"
    assert retried.pop("why") is None
    assert retried == {"action": "retried", "by": "alice", "which": "failed", "emails": 1}
    page = alice.get("/batches/1").body.decode()
    assert "<span>Checked again by alice: 1 email (invalid)</span>" in page
