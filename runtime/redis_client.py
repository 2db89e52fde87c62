"""Redis clients from URLs, of a single Redis or of one that Sentinels monitor.

    redis://[[user]:password@]host[:6379][/0], rediss:// with TLS, unix://path
    redis+sentinel://[[user]:password@]host[:26379],host[:26379],…/name, rediss+sentinel:// with TLS

`name` is the Sentinels' name of the master. Each new connection asks them for its address, so that
all clients follow a failover by themselves. User and password are Redis's; the options
sentinel_username and sentinel_password are the Sentinels'. TLS is used for both.
"""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

# Seconds that a call waits for a connection or an answer, beyond the wait that a command asks for.
REDIS_TIMEOUT = 3.0
# Seconds that a call waits for each Sentinel, and seconds after asking all of them in vain within
# which further calls fail at once.
SENTINEL_TIMEOUT = 1.0
REFUSE_SECONDS = 0.5
SENTINEL_PORT = 26379

_SENTINEL_URL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<user>[^@/?]*@)?(?P<places>[^@/?]+)/(?P<name>[^/?#]+)"
    r"(?:\?(?P<options>.*))?"
)


def connect(url: str) -> redis.Redis:
    """Return a client of the Redis at `url`, which connects at its first call.

    Raises ValueError, TypeError or redis.RedisError if the URL is invalid.
    """
    limits: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT,
        "socket_connect_timeout": REDIS_TIMEOUT,
        # For connections that Redis closed while they were idle. Timeouts are not retried.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        "decode_responses": True,
    }
    if "+sentinel://" in url:
        return _connect_by_sentinels(url, limits)
    return redis.Redis.from_url(url, **limits)


def check(url: str) -> None:
    """Check a URL without connecting. Raises what connect() raises."""
    client = connect(url)
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    close(client)


def close(client: redis.Redis) -> None:
    """Close a client's connections."""
    client.close()
    sentinels = getattr(client.connection_pool, "sentinel_manager", None)
    if sentinels is not None:
        sentinels.close()


def drop_idle(client: redis.Redis) -> None:
    """Close the client's idle connections, so that the next call makes a new one.

    By now, the name, proxy or Sentinels may lead to another server.
    """
    client.connection_pool.disconnect(inuse_connections=False)


class _Sentinels(Sentinel):
    """Sentinels that fail at once where another thread has just asked all of them in vain."""

    _refuse_until = 0.0

    def discover_master(self, service_name: str) -> Any:
        if time.monotonic() < self._refuse_until:
            raise MasterNotFoundError(f"no Sentinel knew a master {service_name!r} just now")
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            self._refuse_until = time.monotonic() + REFUSE_SECONDS
            raise


def _connect_by_sentinels(url: str, limits: dict[str, Any]) -> redis.Redis:
    match = _SENTINEL_URL.fullmatch(url)
    if match is None:
        raise ValueError("not hosts, a slash and the name of a master")
    places = [_place(place) for place in match["places"].split(",")]
    one = f"{match['scheme']}://{match['user'] or ''}localhost?{match['options'] or ''}"
    options = parse_url(one)  # type: ignore[no-untyped-call]
    del options["host"]
    tls = options.pop("connection_class", None) is not None
    login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    sentinels = _Sentinels(
        places,
        sentinel_kwargs={
            **{name: value for name, value in options.items() if name.startswith("ssl_")},
            **login,
            "ssl": tls,
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            "retry": limits["retry"],
        },
    )  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(
        unquote(match["name"]), ssl=tls, **(limits | options)
    )  # type: ignore[no-untyped-call]
    return client


def _place(text: str) -> tuple[str, int]:
    """Return the host and port. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.netloc != text:
        raise ValueError("not a host with a port or without")
    return parts.hostname, parts.port or SENTINEL_PORT
