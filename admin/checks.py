"""The checks of `manage.py check`: configuration, versions, disks, processor, servers and workers.

Each check is a function that yields diagnostics. If one fails, the others are still made.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import redis

from admin import processor_checks
from admin.diagnostics import OK, PROBLEM, WARNING, Diagnostic, judged, message
from postgres import database, schema
from postgres.database import UNREACHABLE, fetch_value, pool, session
from postgres.schema import NEWEST
from relay import presence
from relay.doorbell import Doorbell
from relay.presence import Workers
from runtime import phrases
from runtime.paths import ROOT
from runtime.settings import BUNDLED, VERSION, Settings, SettingsError
from servers import connect
from servers.confinement import BundledServerError
from web.access.sign_in import Access, is_loopback
from web.access.users import Users

# The oldest PostgreSQL with pg_current_xact_id() and xid8.
OLDEST_POSTGRES = 13
# The oldest Redis with LPOS.
OLDEST_REDIS = (6, 0, 6)
# Seconds by which clocks may differ.
CLOCK_SECONDS = 2.0
# Seconds that a server's answer may take.
SLOW_SECONDS = 0.05
# Times that a server's answer is measured.
MEASUREMENTS = 5

REQUIREMENTS = ROOT / "requirements.txt"


def run(settings: Settings) -> Iterator[Diagnostic]:
    """Make all checks, one after the other, in a few seconds at most."""
    checks: dict[str, Callable[[Settings], Iterator[Diagnostic]]] = {
        "configuration": _configuration,
        "versions": _versions,
        "disk": _disks,
        "processor": processor_checks.check,
        "PostgreSQL": _postgres,
        "Redis": _redis,
    }
    for part, check in checks.items():
        try:
            yield from check(settings)
        except BundledServerError as error:
            yield Diagnostic(PROBLEM, part, f"{error}.")
        except Exception as error:
            text = f"it can't be checked: {type(error).__name__}: {message(error)}."
            yield Diagnostic(PROBLEM, part, text)


def _configuration(settings: Settings) -> Iterator[Diagnostic]:
    if settings.path.stat().st_mode & 0o002:
        text = f"everybody on this machine can change {settings.path}."
        yield Diagnostic(WARNING, "configuration", text, f"Run chmod o-w {settings.path.name}.")
    else:
        yield Diagnostic(OK, "configuration", _completeness(settings))
    yield from _access(settings)


def _completeness(settings: Settings) -> str:
    if not settings.lacking:
        return f"{settings.path} is complete."
    defaults = [f"[{section}] {key} = {text}" for (section, key), text in settings.lacking.items()]
    return f"{settings.path} lacks settings, which have their defaults: {', '.join(defaults)}."


def _access(settings: Settings) -> Iterator[Diagnostic]:
    access = settings.access
    try:
        Access(settings)
    except SettingsError as error:
        yield Diagnostic(PROBLEM, "access", str(error))
        return
    if header := access.trusted_user_header:
        proxies = " ".join(map(str, access.trusted_proxies))
        text = f"the proxy at {proxies} signs users in, and names them in {header}."
    elif users := Users(settings.users_path).present():
        text = f"{phrases.several(len(users), 'user')} of {settings.users_path} may sign in."
    elif access.allow_anonymous:
        text = f"everybody who reaches {settings.server.host} may come in."
        yield Diagnostic(WARNING, "access", text, "Add users, if that is not what you want.")
        return
    else:
        text = "nobody has to sign in, and only this machine is served."
    yield Diagnostic(OK, "access", text)
    if not is_loopback(settings.server.host) and not access.trusted_proxies:
        advice = "Put a proxy with HTTPS in front, and name it by [access] trusted_proxies."
        yield Diagnostic(WARNING, "access", "passwords go over the network in plain text.", advice)


def _versions(_: Settings) -> Iterator[Diagnostic]:
    yield Diagnostic(OK, "program", f"version {VERSION}, tables up to version {NEWEST}.")
    python = f"{platform.python_version()} at {sys.executable}"
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.M)
    others = list(filter(None, (_difference(*pin) for pin in pins)))
    text = "; ".join([python, ", ".join(others) or f"all {len(pins)} packages are as pinned"])
    advice = f"Run {Path(sys.executable).name} -m pip install -r {REQUIREMENTS.name}."
    yield judged(bool(others), "Python", f"{text}.", advice)


def _difference(name: str, pinned: str) -> str:
    """Return how an installed package differs from the required version; empty if it doesn't."""
    try:
        present = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    return "" if present == pinned else f"{name} is {present} and not {pinned}"


def _disks(settings: Settings) -> Iterator[Diagnostic]:
    folders = {"temporary files": Path(tempfile.gettempdir())}
    if BUNDLED in (settings.database.url, settings.redis.url):
        folders["bundled servers' data"] = settings.bundled_folder
    # An upload needs room while it is received, and its emails and rows while they are stored.
    needed = 4 * settings.upload.max_megabytes * 1_000_000
    for name, folder in folders.items():
        present = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(present).free
        text = f"{free / 1e9:,.1f} GB are free for {name} in {folder}."
        advice = f"Make room: four of the largest uploads take {needed / 1e9:,.1f} GB."
        yield judged(free < needed, "disk", text, advice)


def _postgres(settings: Settings) -> Iterator[Diagnostic]:
    try:
        with connect.postgres(settings, "check", reads=True), session(10):
            yield from _of_postgres(settings)
    except UNREACHABLE as error:
        advice = "See [database] url, or DATABASE_URL, and whether the server runs."
        yield Diagnostic(PROBLEM, "PostgreSQL", f"it can't be reached: {message(error)}.", advice)


def _of_postgres(settings: Settings) -> Iterator[Diagnostic]:
    version, encoding, may_create, read_only = pool.execute_sql(
        "SELECT current_setting('server_version'), current_setting('server_encoding'),"
        " has_schema_privilege(current_schema(), 'CREATE'),"
        " current_setting('transaction_read_only')::boolean"
    ).fetchone()
    clock = "SELECT extract(epoch FROM clock_timestamp())"
    seconds, offset = _timed(lambda: float(fetch_value(clock)))
    yield _answering("PostgreSQL", f"version {version}", seconds)
    if database.server_version() < OLDEST_POSTGRES:
        text = f"{OLDEST_POSTGRES} or newer is needed."
        yield Diagnostic(PROBLEM, "PostgreSQL", text, "Upgrade it.")
    if encoding != "UTF8":
        advice = "Create the database again: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        yield Diagnostic(PROBLEM, "PostgreSQL", f"its encoding is {encoding}, not UTF8.", advice)
    if read_only:
        advice = "Name the server that it follows, or see default_transaction_read_only."
        yield Diagnostic(PROBLEM, "PostgreSQL", "it accepts no writes, like a standby.", advice)
    yield _clock("PostgreSQL", offset)
    yield _tables(bool(may_create))
    yield _connections(settings)


def _tables(may_create: bool) -> Diagnostic:
    present = schema.version()
    if present == NEWEST:
        return Diagnostic(OK, "tables", f"they are of version {present}, the newest.")
    if present is not None and present > NEWEST:
        text = f"they are of version {present}, and this code knows versions up to {NEWEST}."
        return Diagnostic(PROBLEM, "tables", text, "Install the newer version of this code.")
    text = (
        f"they are of version {present}"
        if present
        else "there are none yet, or they have no version"
    )
    if not may_create:
        advice = "Make this user the owner of the database: ALTER DATABASE … OWNER TO …"
        return Diagnostic(
            PROBLEM, "tables", f"{text}, and this user may not create tables.", advice
        )
    text += f"; the next app or worker that starts brings them to {NEWEST}."
    return Diagnostic(WARNING if present else OK, "tables", text)


def _connections(settings: Settings) -> Diagnostic:
    most, reserved, used = map(
        int,
        pool.execute_sql(
            "SELECT current_setting('max_connections'),"
            " current_setting('superuser_reserved_connections'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        ).fetchone(),
    )
    app = settings.server.connections
    worker = settings.worker.connections
    left = most - reserved - app
    text = (
        f"{used} of {most} are in use; the app takes up to {app} of them, each worker process up to"
        f" {worker}: there is room for {max(0, left // worker)} beside the app."
    )
    advice = f"Set max_connections to {app + worker + reserved} or more."
    return judged(worker > left, "connections", text, advice, PROBLEM)


def _redis(settings: Settings) -> Iterator[Diagnostic]:
    try:
        with connect.redis(settings) as doorbell:
            yield from _of_redis(settings, doorbell)
    except redis.RedisError as error:
        advice = "See [redis] url, or REDIS_URL, and whether the server runs."
        text = f"it can't be used: {message(error)}."
        yield Diagnostic(PROBLEM, "Redis", text, f"{advice} Until then pages change once a second.")


def _of_redis(settings: Settings, doorbell: Doorbell) -> Iterator[Diagnostic]:
    client = doorbell.client

    def clock() -> float:
        seconds, microseconds = client.time()
        return float(seconds + microseconds / 1e6)

    seconds, offset = _timed(clock)
    try:
        info: Any = client.info()
    except redis.exceptions.NoPermissionError:  # app and workers don't need that right
        text = "this user may not see its version and settings; it"
        yield _answering("Redis", text, seconds)
    else:
        yield from _redis_settings(info, seconds)
    client.set(f"{doorbell.key}:probe", "", ex=10)
    yield _clock("Redis", offset)
    yield from _workers(settings, presence.workers(client, doorbell.key))


def _workers(settings: Settings, workers: Workers) -> Iterator[Diagnostic]:
    if not workers.alive:
        yield Diagnostic(WARNING, "workers", "none is alive, so batches wait.", "Start worker.py.")
        return
    names = ", ".join(f"{worker.host}:{worker.pid}" for worker in workers.alive)
    yield Diagnostic(OK, "workers", f"{len(workers.alive)} alive: {names}.")
    yield from processor_checks.without_worker(settings, workers)


def _redis_settings(info: dict[str, Any], seconds: float) -> Iterator[Diagnostic]:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    yield _answering("Redis", f"{name} {version}", seconds)
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        yield Diagnostic(PROBLEM, "Redis", f"{oldest} or newer is needed.", "Upgrade it.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory"):
        text = f"it may drop the list: maxmemory-policy {policy}."
        yield Diagnostic(WARNING, "Redis", text, "Set maxmemory-policy noeviction.")


def _timed(clock: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of the fastest answer, and how far that clock is ahead of ours."""

    def measured() -> tuple[float, float]:
        begun, wall = time.monotonic(), time.time()
        there = clock()
        seconds = time.monotonic() - begun
        return seconds, there - (wall + seconds / 2)

    return min(measured() for _ in range(MEASUREMENTS))


def _answering(part: str, text: str, seconds: float) -> Diagnostic:
    text = f"{text} answers in {seconds * 1000:.1f} ms."
    advice = "Bring it nearer: each turn asks it some ten times."
    return judged(seconds > SLOW_SECONDS, part, text, advice)


def _clock(name: str, offset: float) -> Diagnostic:
    text = f"{name}'s clock differs from this machine's by {offset:+.3f} s."
    advice = "Nothing is lost by that, but logs don't match: keep clocks right by NTP (chrony)."
    return judged(abs(offset) >= CLOCK_SECONDS, "clock", text, advice)
