"""What a Redis says that does not do what it is asked is told, and not again and again."""

import contextlib
import re
import threading

import pytest
import redis
from redis import Redis

from harness.polling import eventually
from harness.servers import bundled_servers
from relay import trials
from relay.doorbell import Doorbell
from relay.hub import Hub


@pytest.fixture(scope="module")
def url():
    """A Redis of these tests' own."""
    with bundled_servers("redis") as (server,):
        yield server.url


@pytest.mark.parametrize(
    "command",
    ["publish", "eval", "brpop", "psubscribe", "lpush", "smembers", "unlink", "llen", "get"],
)
def test_a_forbidden_command_is_told_as_what_it_is_and_not_again_and_again(url, command):
    """By a user of Redis who may do all else."""
    admin = Doorbell(url, "email-queue")
    doorbell = Doorbell(f"unix://someone:secret@{url.removeprefix('unix://')}", "email-queue")
    trials.prepare(doorbell, "batch:status:")
    Hub(doorbell, "batch:status:")

    def allow(*more):
        rights = [
            "~email-queue*",
            "resetchannels",
            "&batch:status:*",
            "+@all",
            "-@admin",
            "-@dangerous",
        ]
        admin.client.execute_command(
            "ACL", "SETUSER", "someone", "reset", "on", ">secret", *rights, *more
        )

    try:
        allow(f"-{command}")
        doorbell.use(lambda: doorbell.client.config_get("port"))
        assert doorbell.away
        doorbell.probe()
        assert doorbell.away
        assert re.search("permission|can't run this command", doorbell.refusal)
        allow()
        doorbell.probe()
        assert not doorbell.away
        assert doorbell.refusal is None
    finally:
        doorbell.close()
        admin.close()


@contextlib.contextmanager
def loading(client):
    # While it loads, it answers after each 2 MB.
    client.mset({f"key:{number}": "x" * 50_000 for number in range(400)})
    client.config_set("rdbcompression", "no")
    client.config_set("key-load-delay", 10_000)  # microseconds
    path, done = client.connection_pool.connection_kwargs["path"], threading.Event()

    def reload():
        with Redis(unix_socket_path=path) as patient:
            while not done.is_set():
                patient.execute_command("DEBUG", "RELOAD")

    loader = threading.Thread(target=reload)
    loader.start()
    try:
        yield
    finally:
        done.set()
        loader.join()


def test_what_redis_says_while_it_loads_is_told_until_it_is_right(url):
    with (
        contextlib.closing(Doorbell(url, "email-queue")) as admin,
        contextlib.closing(Doorbell(url, "email-queue")) as doorbell,
    ):
        trials.prepare(doorbell, "batch:status:")
        doorbell.check()
        assert not doorbell.away
        with loading(admin.client):
            # Between two reloads it answers, and what it said before is told no more.
            eventually(
                lambda: doorbell.probe() or doorbell.check() or "loading" in str(doorbell.refusal)
            )
        eventually(lambda: doorbell.probe() or not doorbell.away)
        assert doorbell.refusal is None


def test_faults_that_take_turns_are_told_once_each(no_redis, caplog):
    loading = redis.BusyLoadingError("Redis is loading the dataset in memory")
    faults = [redis.ConnectionError("refused"), loading] * 5

    def fail():
        raise faults.pop()

    no_redis.trials[:] = [fail]
    no_redis.check()
    assert no_redis.refusal == str(loading)
    while faults:
        no_redis.probe()
    assert no_redis.refusal is None
    assert len(caplog.records) == 2
