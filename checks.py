"""What `manage.py check` looks at: whether all is as it should be, and what to do if not.

Each check is a function that gives findings. One that fails keeps none of the others from being
made.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import redis

import bootstrap
import database
import logs
import presence
import processors
import schema
from access import Access, is_loopback
from database import UNREACHABLE, pool, session
from doorbell import Doorbell
from embedded import EmbeddedError
from processors import ProcessorError
from schema import NEWEST
from settings import VERSION, Settings, SettingsError
from users import Users

OK, WARNING, PROBLEM = "ok", "warning", "problem"
# The oldest that knows all that is asked of it: pg_current_xact_id() and xid8; LPOS.
OLDEST_POSTGRES = 13
OLDEST_REDIS = (6, 0, 6)
# Seconds that clocks may differ, and that an answer may take, without a word.
CLOCK_SECONDS = 2.0
SLOW_SECONDS = 0.05
# Times that a server is asked, to know how long it takes.
ASKED = 5

REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")


@dataclass(frozen=True)
class Finding:
    """What was found of a part, and what to do; `level` is ok, warning or problem."""

    level: str
    part: str
    text: str
    advice: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that can be looked at, one after the other; takes some seconds at most."""
    yield from _configuration(settings)
    yield from _versions()
    yield from _disks(settings)
    yield from _processor(settings)
    try:
        with bootstrap.urls(settings) as (database_url, redis_url):
            yield from _postgres(settings, database_url)
            yield from _redis(settings, redis_url)
    except EmbeddedError as error:
        yield Finding(PROBLEM, "bundled servers", f"{error}.")


def _configuration(settings: Settings) -> Iterator[Finding]:
    yield Finding(OK, "configuration", f"{settings.path} is complete.")
    access = settings.access
    try:
        Access(settings)
    except SettingsError as error:
        yield Finding(PROBLEM, "access", str(error))
        return
    if access.trusted_user_header:
        proxies = " ".join(map(str, access.trusted_proxies))
        said = f"whoever the proxy at {proxies} names by {access.trusted_user_header} may come in."
    elif users := Users(settings.users_path).present():
        said = f"{len(users)} in {settings.users_path} may sign in."
    elif access.allow_anonymous:
        said = f"everybody who reaches {settings.server.host} may come in."
        yield Finding(WARNING, "access", said, "Add users, if that is not what you want.")
        return
    else:
        said = "nobody has to sign in, and this machine only is served."
    yield Finding(OK, "access", said)
    if not is_loopback(settings.server.host) and not access.trusted_proxies:
        advice = "Put a proxy with HTTPS in front, and name it by [access] trusted_proxies."
        yield Finding(WARNING, "access", "passwords go over the network readable.", advice)


def _versions() -> Iterator[Finding]:
    yield Finding(OK, "program", f"version {VERSION}, tables up to version {NEWEST}.")
    said = f"{platform.python_version()} at {sys.executable}"
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.M)
    others = [text for name, pinned in pins if (text := _otherwise(name, pinned))]
    if others:
        advice = f"Say {Path(sys.executable).name} -m pip install -r {REQUIREMENTS.name}."
        yield Finding(WARNING, "Python", f"{said}; {', '.join(others)}.", advice)
    else:
        yield Finding(OK, "Python", f"{said}, with the {len(pins)} packages that are pinned.")


def _otherwise(name: str, pinned: str) -> str:
    """How an installed package differs from what is required; empty if it doesn't."""
    try:
        present = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    return "" if present == pinned else f"{name} is {present} and not {pinned}"


def _disks(settings: Settings) -> Iterator[Finding]:
    folders = {"temporary files": Path(tempfile.gettempdir())}
    if "embedded" in (settings.database.url, settings.redis.url):
        folders["bundled servers' data"] = settings.embedded_folder
    # An upload lies there while it is received; its emails and rows while they are stored.
    needed = 4 * settings.upload.max_megabytes * 1_000_000
    for name, folder in folders.items():
        present = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(present).free
        said = f"{free / 1e9:,.1f} GB are free for {name} in {folder}."
        if free < needed:
            advice = f"Make room: four of the largest uploads take {needed / 1e9:,.1f} GB."
            yield Finding(WARNING, "disk", said, advice)
        else:
            yield Finding(OK, "disk", said)


def _processor(settings: Settings) -> Iterator[Finding]:
    name = settings.worker.processor
    if name != "check":
        sys.path.append(str(settings.path.parent))
        try:
            processors.load(name, settings.processor_options)
        except ProcessorError as error:
            yield Finding(PROBLEM, "processor", f"{error}.", "See [worker] processor.")
        else:
            yield Finding(OK, "processor", f"{name} can be loaded.")
        return
    if settings.check.dns == "off":
        yield Finding(OK, "DNS", "it is not asked: [check] dns = off.")
        return
    from processors.lookups import Lookups, LookupsError

    check = settings.check
    begun = time.monotonic()
    try:
        lookups = Lookups(list(check.nameservers), check.timeout_seconds, check.concurrency)
        wrong = lookups.probe()
        lookups.close()
    except LookupsError as error:
        wrong, asked = str(error), "none"
    else:
        asked = lookups.nameservers.replace(",", ", ")
    if wrong:
        advice = "Name other nameservers by [check] nameservers, or set dns = off."
        level = PROBLEM if check.dns == "on" else WARNING
        yield Finding(level, "DNS", f"{wrong}; nameservers: {asked}.", advice)
    else:
        seconds = time.monotonic() - begun
        yield Finding(OK, "DNS", f"{asked} answers sensibly, in {seconds * 1000:.0f} ms.")


def _postgres(settings: Settings, url: str) -> Iterator[Finding]:
    database.init(url, connections=2, name="check")
    try:
        with session(10):
            yield from _of_postgres(settings)
    except UNREACHABLE as error:
        advice = "See [database] url, or DATABASE_URL, and whether the server runs."
        yield Finding(PROBLEM, "PostgreSQL", f"it can't be reached: {logs.said(error)}.", advice)
    finally:
        database.disconnect()


def _of_postgres(settings: Settings) -> Iterator[Finding]:
    version, encoding, may_create = _row(
        "SELECT current_setting('server_version'), current_setting('server_encoding'),"
        " has_schema_privilege(current_schema(), 'CREATE')"
    )
    seconds, offset = _timed(lambda: float(_row("SELECT extract(epoch FROM clock_timestamp())")[0]))
    yield _server("PostgreSQL", version, seconds)
    if database.server_version() < OLDEST_POSTGRES:
        yield Finding(
            PROBLEM, "PostgreSQL", f"{OLDEST_POSTGRES} or newer is needed.", "Upgrade it."
        )
    if encoding != "UTF8":
        advice = "Make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        yield Finding(PROBLEM, "PostgreSQL", f"its encoding is {encoding}, not UTF8.", advice)
    yield _clock("PostgreSQL", offset)
    yield _tables(bool(may_create))
    yield _connections(settings)


def _row(sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = pool.execute_sql(sql).fetchone()
    return row


def _tables(may_create: bool) -> Finding:
    present = schema.version()
    if present == NEWEST:
        return Finding(OK, "tables", f"they are of version {present}, the newest.")
    if present is not None and present > NEWEST:
        said = f"they are of version {present}, and this code knows them up to {NEWEST}."
        return Finding(PROBLEM, "tables", said, "Install the newer version of this code.")
    said = f"they are of version {present}" if present else "they are not there yet, or unnumbered"
    if not may_create:
        advice = "Make its user the owner of the database: ALTER DATABASE … OWNER TO …"
        return Finding(PROBLEM, "tables", f"{said}, and its user may make none.", advice)
    said += f"; the next app or worker that starts brings them to {NEWEST}."
    return Finding(WARNING if present else OK, "tables", said)


def _connections(settings: Settings) -> Finding:
    most, reserved, used = map(
        int,
        _row(
            "SELECT current_setting('max_connections'),"
            " current_setting('superuser_reserved_connections'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        ),
    )
    app = settings.server.request_threads + 5
    worker = 3 * settings.worker.threads + 2
    said = (
        f"{used} of {most} connections are in use; the app takes up to {app}, each worker up to"
        f" {worker}."
    )
    if app + worker > most - reserved:
        advice = f"Set max_connections to {app + worker + reserved} or more."
        return Finding(PROBLEM, "connections", said, advice)
    return Finding(OK, "connections", said)


def _redis(settings: Settings, url: str) -> Iterator[Finding]:
    doorbell = Doorbell(url, settings.redis.queue_key)
    try:
        yield from _of_redis(settings, doorbell)
    except redis.RedisError as error:
        advice = "See [redis] url, or REDIS_URL, and whether the server runs."
        said = f"it can't be used: {logs.said(error)}."
        yield Finding(PROBLEM, "Redis", said, f"{advice} Until then pages move once a second.")
    finally:
        doorbell.close()


def _of_redis(settings: Settings, doorbell: Doorbell) -> Iterator[Finding]:
    client = doorbell.client
    info: Any = client.info()
    version = str(info.get("valkey_version") or info["redis_version"])
    name = "Valkey" if "valkey_version" in info else "Redis"

    def clock() -> float:
        seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6)

    seconds, offset = _timed(clock)
    yield _server(name, version, seconds)
    if tuple(map(int, version.split(".")[:3])) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        yield Finding(PROBLEM, name, f"{oldest} or newer is needed.", "Upgrade it.")
    client.set(f"{settings.redis.queue_key}:probe", "", ex=10)
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory"):
        advice = "Set maxmemory-policy noeviction."
        yield Finding(WARNING, name, f"it may drop the list: maxmemory-policy {policy}.", advice)
    yield _clock(name, offset)
    roll = presence.workers(client, settings.redis.queue_key)
    if roll.alive:
        names = ", ".join(f"{worker.host}:{worker.pid}" for worker in roll.alive)
        yield Finding(OK, "workers", f"{len(roll.alive)} alive: {names}.")
    else:
        yield Finding(WARNING, "workers", "none is alive, so batches wait.", "Start worker.py.")


def _timed(clock: Callable[[], float]) -> tuple[float, float]:
    """The least seconds that an answer took, and how far that clock is ahead of ours."""
    best = None
    for _ in range(ASKED):
        begun, wall = time.monotonic(), time.time()
        there = clock()
        seconds = time.monotonic() - begun
        if best is None or seconds < best[0]:
            best = seconds, there - (wall + seconds / 2)
    assert best is not None  # noqa: S101
    return best


def _server(name: str, version: str, seconds: float) -> Finding:
    said = f"version {version} answers in {seconds * 1000:.1f} ms."
    if seconds > SLOW_SECONDS:
        advice = "Bring it nearer: each turn asks it some ten times."
        return Finding(WARNING, name, said, advice)
    return Finding(OK, name, said)


def _clock(name: str, offset: float) -> Finding:
    if abs(offset) < CLOCK_SECONDS:
        return Finding(OK, "clock", f"{name}'s differs from this machine's by {offset:+.3f} s.")
    said = f"{name}'s clock differs from this machine's by {offset:+.1f} s."
    advice = "Nothing is lost by that, but logs don't match: keep clocks right by NTP (chrony)."
    return Finding(WARNING, "clock", said, advice)
