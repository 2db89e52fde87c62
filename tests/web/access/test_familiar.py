"""Who signed in from where is known for thirty days, whatever is started anew meanwhile."""

import stat

import pytest

from harness.site import ALICE, PASSWORD, basic
from web.access import familiar, users
from web.access import sign_in as access
from web.access.familiar import FAMILIAR_SECONDS, WRITE_SECONDS, Familiar

HERE = "192.0.2.1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users.familiar"


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_000_000_000.0

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(familiar, "time", clock)
    return clock


def test_a_restart_of_the_app_locks_nobody_out(serve, tmp_path):
    users.add(tmp_path / "users", "alice", PASSWORD)

    def sign_in(site, address, authorization=ALICE):
        return site.get("/", Authorization=authorization, X_Forwarded_For=address).status

    assert sign_in(serve(access__trusted_proxies="127.0.0.1"), HERE) == 200
    site = serve(access__trusted_proxies="127.0.0.1")
    for _ in range(access.FREE_ATTEMPTS):
        assert sign_in(site, "198.51.100.1", basic("alice", "guess guess")) == 401
    assert sign_in(site, "192.0.2.2") == 429
    assert sign_in(site, HERE) == 200


def test_it_is_renewed_by_use_and_ends_thirty_days_after_the_last(path, clock):
    known = Familiar(path)
    for _ in range(40):
        known.add("alice", HERE, "hash")
        clock.now += WRITE_SECONDS
        assert Familiar(path).knows("alice", HERE, "hash")
    clock.now += FAMILIAR_SECONDS
    assert not known.knows("alice", HERE, "hash")
    assert not Familiar(path).knows("alice", HERE, "hash")


def test_it_is_of_one_user_one_network_and_one_password(path):
    Familiar(path).add("alice", HERE, "hash")
    known = Familiar(path)
    assert known.knows("alice", HERE, "hash")
    assert not known.knows("bob", HERE, "hash")
    assert not known.knows("alice", "192.0.2.2", "hash")
    assert not known.knows("alice", HERE, "another hash")
    assert "hash" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_apps_keep_what_either_knows_and_the_oldest_go_first(path, clock, monkeypatch):
    monkeypatch.setattr(familiar, "MAX_FAMILIAR", 3)
    apps = Familiar(path), Familiar(path)
    for number in range(5):
        apps[number % 2].add("alice", f"192.0.2.{number}", "hash")
        clock.now += 1
    known = [Familiar(path).knows("alice", f"192.0.2.{number}", "hash") for number in range(5)]
    assert known == [False, False, True, True, True]


def test_what_another_app_wrote_later_is_not_undone(path, clock):
    one, another = Familiar(path), Familiar(path)
    one.add("alice", HERE, "old hash")
    clock.now += 1
    another.add("alice", HERE, "new hash")
    one.add("bob", HERE, "hash")
    for known in (one, Familiar(path)):
        assert known.knows("alice", HERE, "new hash")
        assert known.knows("bob", HERE, "hash")


def test_the_file_keeps_nothing_that_has_ended_or_is_older_than_what_is_known(path, clock):
    known = Familiar(path)
    known.add("alice", HERE, "old hash")
    before = path.read_text()
    known.add("bob", HERE, "hash")
    clock.now += WRITE_SECONDS
    known.add("alice", HERE, "new hash")
    path.write_text(before)  # as if it could not have been written since
    known.add("carol", HERE, "hash")
    assert Familiar(path).knows("alice", HERE, "new hash")
    assert Familiar(path).knows("bob", HERE, "hash")
    clock.now += FAMILIAR_SECONDS
    known.add("carol", HERE, "hash")
    assert "bob" not in path.read_text()
    clock.now -= FAMILIAR_SECONDS
    assert not known.knows("carol", HERE, "hash")
    known.add("carol", HERE, "hash")
    assert Familiar(path).knows("carol", HERE, "hash")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"nonsense\n[1]\n{}\n[1, 2, 3, 4]\n[[], {}, null, 1]\n[1, 2, 1%b, 4]\n" % (b"0" * 400),
    ],
)
def test_a_broken_file_is_as_none(path, content):
    path.write_bytes(content)
    known = Familiar(path)
    assert not known.knows("alice", HERE, "hash")
    known.add("alice", HERE, "hash")
    assert Familiar(path).knows("alice", HERE, "hash")


def test_a_folder_that_cannot_be_written_costs_the_memory_only(tmp_path, caplog):
    known = Familiar(tmp_path / "nowhere" / "users.familiar")
    for user in ("alice", "bob"):
        known.add(user, HERE, "hash")
        assert known.knows(user, HERE, "hash")
    assert caplog.text.count("can't be written") == 1
