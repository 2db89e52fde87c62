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

import processors
from postgres import database, schema
from postgres.database import UNREACHABLE, pool, session
from postgres.schema import NEWEST
from processors import ProcessorError
from relay import presence
from relay.doorbell import Doorbell
from runtime import logs
from runtime.paths import ROOT
from runtime.settings import VERSION, Settings, SettingsError
from servers import connect
from servers.confinement import EmbeddedError
from web.access.sign_in import Access, is_loopback
from web.access.users import Users

OK, WARNING, PROBLEM = "ok", "warning", "problem"
# The oldest that knows all that is asked of it: pg_current_xact_id() and xid8; LPOS.
OLDEST_POSTGRES = 13
OLDEST_REDIS = (6, 0, 6)
# Seconds that clocks may differ, and that an answer may take, without a word.
CLOCK_SECONDS = 2.0
SLOW_SECONDS = 0.05
# Times that a server is asked, to know how long it takes.
ASKED = 5

REQUIREMENTS = ROOT / "requirements.txt"


@dataclass(frozen=True)
class Finding:
    """What was found of a part, and what to do; `level` is ok, warning or problem."""

    level: str
    part: str
    text: str
    advice: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that can be looked at, one after the other; takes some seconds at most."""
    for part, check in _CHECKS.items():
        try:
            yield from check(settings)
        except Exception as error:
            said = f"it can't be looked at: {type(error).__name__}: {_said(error)}."
            yield Finding(PROBLEM, part, said)


def _configuration(settings: Settings) -> Iterator[Finding]:
    if settings.path.stat().st_mode & 0o002:
        said = f"everybody on this machine can change {settings.path}."
        yield Finding(WARNING, "configuration", said, f"Say chmod o-w {settings.path.name}.")
    else:
        yield Finding(OK, "configuration", f"{settings.path} is complete.")
    yield from _access(settings)


def _access(settings: Settings) -> Iterator[Finding]:
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


def _versions(_: Settings) -> Iterator[Finding]:
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
    name, options = settings.worker.processor, settings.processor_options
    sys.path.append(str(settings.path.parent))
    try:
        # Whether the DNS answers is looked at by itself.
        processors.load(name, {**options, "dns": "off"} if name == "check" else options)
    except ProcessorError as error:
        yield Finding(PROBLEM, "processor", f"{error}.", "See [worker] processor.")
    else:
        yield Finding(OK, "processor", f"{name} can be loaded.")
    if name == "check":
        yield _dns(settings)


def _dns(settings: Settings) -> Finding:
    if settings.check.dns == "off":
        return Finding(OK, "DNS", "it is not asked: [check] dns = off.")
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
        return Finding(level, "DNS", f"{wrong}; nameservers: {asked}.", advice)
    seconds = time.monotonic() - begun
    return Finding(OK, "DNS", f"{asked} answers sensibly, in {seconds * 1000:.0f} ms.")


def _postgres(settings: Settings) -> Iterator[Finding]:
    try:
        with connect.postgres_url(settings) as url:
            database.init(url, connections=2, name="check", reads=True)
            try:
                with session(10):
                    yield from _of_postgres(settings)
            finally:
                database.disconnect()
    except EmbeddedError as error:
        yield Finding(PROBLEM, "PostgreSQL", f"{error}.")
    except UNREACHABLE as error:
        advice = "See [database] url, or DATABASE_URL, and whether the server runs."
        yield Finding(PROBLEM, "PostgreSQL", f"it can't be reached: {_said(error)}.", advice)


def _of_postgres(settings: Settings) -> Iterator[Finding]:
    version, encoding, may_create, read_only = _row(
        "SELECT current_setting('server_version'), current_setting('server_encoding'),"
        " has_schema_privilege(current_schema(), 'CREATE'),"
        " current_setting('transaction_read_only')::boolean"
    )
    seconds, offset = _timed(lambda: float(_row("SELECT extract(epoch FROM clock_timestamp())")[0]))
    yield _answering("PostgreSQL", f"version {version}", seconds)
    if database.server_version() < OLDEST_POSTGRES:
        yield Finding(
            PROBLEM, "PostgreSQL", f"{OLDEST_POSTGRES} or newer is needed.", "Upgrade it."
        )
    if encoding != "UTF8":
        advice = "Make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        yield Finding(PROBLEM, "PostgreSQL", f"its encoding is {encoding}, not UTF8.", advice)
    if read_only:
        advice = "Name the server that it follows, or see default_transaction_read_only."
        yield Finding(PROBLEM, "PostgreSQL", "it can be read only, as a standby can.", advice)
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
    app, worker = settings.server.connections, settings.worker.connections
    left = most - reserved - app
    said = (
        f"{used} of {most} are in use; the app takes up to {app} of them, each worker process up to"
        f" {worker}: there is room for {max(0, left // worker)} beside the app."
    )
    if worker > left:
        advice = f"Set max_connections to {app + worker + reserved} or more."
        return Finding(PROBLEM, "connections", said, advice)
    return Finding(OK, "connections", said)


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        with connect.redis_url(settings) as url:
            doorbell = Doorbell(url, settings.redis.queue_key)
            try:
                yield from _of_redis(settings.redis.queue_key, doorbell.client)
            finally:
                doorbell.close()
    except EmbeddedError as error:
        yield Finding(PROBLEM, "Redis", f"{error}.")
    except redis.RedisError as error:
        advice = "See [redis] url, or REDIS_URL, and whether the server runs."
        said = f"it can't be used: {_said(error)}."
        yield Finding(PROBLEM, "Redis", said, f"{advice} Until then pages move once a second.")


def _of_redis(queue_key: str, client: redis.Redis) -> Iterator[Finding]:
    def clock() -> float:
        seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6)

    seconds, offset = _timed(clock)
    try:
        info: Any = client.info()
    except redis.exceptions.NoPermissionError:  # who needs no more rights than app and workers
        said = "it doesn't tell this user its version and settings, and"
        yield _answering("Redis", said, seconds)
    else:
        yield from _redis_settings(info, seconds)
    client.set(f"{queue_key}:probe", "", ex=10)
    yield _clock("Redis", offset)
    roll = presence.workers(client, queue_key)
    if roll.alive:
        names = ", ".join(f"{worker.host}:{worker.pid}" for worker in roll.alive)
        yield Finding(OK, "workers", f"{len(roll.alive)} alive: {names}.")
    else:
        yield Finding(WARNING, "workers", "none is alive, so batches wait.", "Start worker.py.")


def _redis_settings(info: dict[str, Any], seconds: float) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    yield _answering("Redis", f"{name} {version}", seconds)
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        yield Finding(PROBLEM, "Redis", f"{oldest} or newer is needed.", "Upgrade it.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory"):
        advice = "Set maxmemory-policy noeviction."
        yield Finding(WARNING, "Redis", f"it may drop the list: maxmemory-policy {policy}.", advice)


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


def _answering(part: str, said: str, seconds: float) -> Finding:
    said = f"{said} answers in {seconds * 1000:.1f} ms."
    if seconds > SLOW_SECONDS:
        advice = "Bring it nearer: each turn asks it some ten times."
        return Finding(WARNING, part, said, advice)
    return Finding(OK, part, said)


def _clock(name: str, offset: float) -> Finding:
    if abs(offset) < CLOCK_SECONDS:
        return Finding(OK, "clock", f"{name}'s differs from this machine's by {offset:+.3f} s.")
    said = f"{name}'s clock differs from this machine's by {offset:+.1f} s."
    advice = "Nothing is lost by that, but logs don't match: keep clocks right by NTP (chrony)."
    return Finding(WARNING, "clock", said, advice)


def _said(error: BaseException) -> str:
    """What an error says, to go on in a sentence."""
    return logs.said(error).rstrip(".")


# By the part that is named if a check can't be made.
_CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "configuration": _configuration,
    "versions": _versions,
    "disk": _disks,
    "processor": _processor,
    "PostgreSQL": _postgres,
    "Redis": _redis,
}
