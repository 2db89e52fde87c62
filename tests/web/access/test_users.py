"""The users' file: who is added to it, and what a password costs."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.config import write_config
from harness.processes import run_script
from harness.site import PASSWORD
from runtime.settings import SettingsError
from web.access import users
from web.access.sign_in import Access


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


def test_of_users_who_are_added_at_once_none_is_lost(tmp_path):
    names = [f"user{number:02}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: users.add(tmp_path / "users", name, PASSWORD), names))
    assert sorted(users.Users(tmp_path / "users").present()) == names


def test_a_users_file_that_others_can_read_is_refused(tmp_path, users_file, run):
    users_file.chmod(0o640)
    process = run("app.py", "--config", str(write_config(tmp_path, server__port=0)))
    assert process.wait() == 2
    assert process.output == f"{users_file}: other users can read or write it. Run chmod 600 users"


def test_a_users_file_with_nonsense_is_refused(tmp_path, users_file, make_settings):
    users_file.write_text("alice:secret\n")
    with pytest.raises(SettingsError, match="line 1: this is not a user"):
        Access(make_settings())


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
    monkeypatch.undo()  # the quick hashes of conftest.py
    known = users.hashed(PASSWORD)
    assert known.startswith("scrypt:16384:8:5:")
    assert users.matches(PASSWORD, known)
    assert not users.matches(PASSWORD + "x", known)
    assert known != users.hashed(PASSWORD)
