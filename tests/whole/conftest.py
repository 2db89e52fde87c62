"""App and worker with a server that a test kills or stops, and with much to do meanwhile."""

import shutil

import pytest

from harness.config import write_config
from harness.outages import OwnServer
from harness.processors import write_slow_processor
from harness.servers import made_folder


@pytest.fixture
def own(request):
    """A server of the test's own, of the kind that is the fixture's parameter.

    The servers that all tests share are left in peace.
    """
    folder = made_folder()
    server = OwnServer(request.param, folder)
    yield server
    server.release()
    shutil.rmtree(folder)


@pytest.fixture
def start(run, servers, own, tmp_path):
    """Start app.py or worker.py with the server of the test's own."""
    kind = "DATABASE_URL" if own.url.startswith("postgresql:") else "REDIS_URL"
    environment = {**servers.environment, kind: own.url}

    def start(script, *arguments, **changes):
        config = write_config(tmp_path, **{"server__port": 0, **changes})
        return run(script, "--config", str(config), *arguments, **environment)

    return start


@pytest.fixture
def many_turns(tmp_path):
    """Settings with which a worker needs many turns for 2000 emails, which take 1 ms each.

    They are for the app as well, which makes the chunks.
    """
    name = write_slow_processor(tmp_path, milliseconds=1)
    return {"worker__processor": name, "worker__turn_seconds": 0.2, "worker__chunk_size": 300}
