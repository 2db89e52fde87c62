"""Clients from URLs. What they do in a failover is in test_servers.py."""

import contextlib
import socket
import time

import pytest
import redis
from redis.connection import Connection, SSLConnection
from redis.sentinel import MasterNotFoundError

from runtime import redis_client


@pytest.fixture
def connect():
    clients = []

    def make(url):
        clients.append(redis_client.connect(url))
        return clients[-1]

    yield make
    for client in clients:
        redis_client.close(client)


def known(client):
    """What connections to the master, and what those to the Sentinels, are made with."""
    pool = client.connection_pool
    return pool, [each.connection_pool for each in pool.sentinel_manager.sentinels]


def test_where_the_sentinels_are_and_what_they_watch_stands_in_the_url(connect):
    pool, sentinels = known(
        connect("redis+sentinel://me:p%40ss@one.example,[::1]:7,10.0.0.3:1/our%20name?db=3")
    )
    places = [(one.connection_kwargs["host"], one.connection_kwargs["port"]) for one in sentinels]
    assert places == [("one.example", 26379), ("::1", 7), ("10.0.0.3", 1)]
    assert pool.service_name == "our name"
    login = {"username": "me", "password": "p@ss", "db": 3}
    assert login.items() <= pool.connection_kwargs.items()
    assert not issubclass(pool.connection_class, SSLConnection)
    for one in sentinels:
        assert one.connection_kwargs["password"] is None
        assert one.connection_class is Connection


def test_tls_is_for_both_and_the_sentinels_may_have_a_password_of_their_own(connect):
    pool, sentinels = known(
        connect(
            "rediss+sentinel://:of-redis@a,b/main?ssl_ca_certs=/ca.pem&ssl_check_hostname=no"
            "&sentinel_username=us&sentinel_password=of%20theirs"
        )
    )
    assert pool.connection_kwargs["password"] == "of-redis"
    tls = {"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    for each in (pool, *sentinels):
        assert issubclass(each.connection_class, SSLConnection)
        assert tls.items() <= each.connection_kwargs.items()
    for one in sentinels:
        login = {"username": "us", "password": "of theirs"}
        assert login.items() <= one.connection_kwargs.items()


def test_a_redis_that_no_sentinel_watches_needs_no_more_than_its_url(connect):
    client = connect("redis://:secret@redis.example:1/2")
    options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("redis.example", 1, 2)
    assert options["socket_timeout"] == redis_client.REDIS_TIMEOUT


def test_when_no_sentinel_answers_it_is_said_soon_and_to_who_asks_next_at_once(
    connect, monkeypatch
):
    monkeypatch.setattr(redis_client, "SENTINEL_TIMEOUT", 0.2)
    with contextlib.ExitStack() as silent:
        servers = [silent.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        places = ",".join(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
        client = connect(f"redis+sentinel://{places}/main")

        def seconds(error):
            began = time.monotonic()
            with pytest.raises(error, match="'main'"):
                client.ping()
            return time.monotonic() - began

        assert 0.6 <= seconds(MasterNotFoundError) < 20
        # A busy machine disturbs some of them.
        assert any(seconds(redis.RedisError) < 0.6 for _ in range(5))
