"""Folders for bundled servers, and processes that use one."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.bundled import leave
from harness.config import ROOT
from harness.polling import eventually
from harness.servers import made_folder, running
from servers.bundled import SERVERS

USER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from servers.keeper import BundledServer
server = BundledServer(sys.argv[2], Path(sys.argv[3]))
print(server.url, flush=True)
sys.stdin.readline()
server.release()
"""


def left(folder):
    """Give the folder to a test, and remove it when nothing runs in it any more."""
    yield folder
    eventually(lambda: not any(running(kind, folder) for kind in SERVERS))
    shutil.rmtree(folder)


@pytest.fixture
def folder():
    # Not pytest's own folder, whose path is too long for a socket's.
    yield from left(Path(tempfile.mkdtemp(prefix="email-batch-")))


@pytest.fixture
def made():
    """A folder with a PostgreSQL that was used before."""
    yield from left(made_folder())


@pytest.fixture
def use():
    """Start a process that uses a bundled server until it reads a line; wait until it does."""
    users = []

    def start(kind, folder, wait=True):
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(ROOT), kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        if wait:
            assert user.stdout.readline().strip()
        return user

    yield start
    for user in users:
        leave(user)
