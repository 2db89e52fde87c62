"""What the tests of who may send requests share: cheap passwords, and users."""

import pytest

from harness.site import PASSWORD
from web.access import users


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
