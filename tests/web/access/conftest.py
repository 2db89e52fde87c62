"""What the tests of who may send requests share: quick hashes of passwords, and users."""

import pytest

from harness.site import PASSWORD
from web.access import users


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch):
    """A hash costs next to nothing here; test_users.py tests what it really costs."""
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
