"""`python worker.py --selftest`: kill a worker, and see that nothing is lost.

The selftest works on the configured servers, in a schema, a Redis list and channels of its own, and
with a processor of its own: workers in service have nothing to do with it.
"""

from __future__ import annotations

import configparser
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from batches import intake
from models import Batch
from postgres import database, schema
from postgres.database import fetch_value, pool, session
from processors import Outcome
from processors.check import check
from relay.doorbell import Doorbell
from runtime.paths import ROOT
from runtime.settings import BUNDLED, SECTIONS, Settings
from servers import connect
from tabular.formats import Overrides

ROWS = 10_000
# One row in so many is malformed, for the reason that follows.
MALFORMED_EVERY = 20
MALFORMED_REASON = "no_at_sign"
CHUNK_SIZE = 500
# Seconds that a worker may take.
TIMEOUT = 120.0
# Emails between two short pauses, which leave time for a kill.
_PAUSE_EVERY = 20

# PgBouncer ignores or refuses most options of a new connection.
_NO_SCHEMA = (
    "PostgreSQL doesn't take the selftest's work into a schema of its own (search_path), as happens"
    " with PgBouncer in between. Give it the address of PostgreSQL itself, by DATABASE_URL."
)


class SelftestError(Exception):
    """The selftest could not be carried out; the message says why."""


def slow_check(addresses: Iterable[str]) -> Iterator[Outcome]:
    """Check addresses, at most about 10,000 per second and thread."""
    for number, outcome in enumerate(check(addresses), start=1):
        if number % _PAUSE_EVERY == 0:
            time.sleep(0.002)
        yield outcome


def run(settings: Settings, say: Callable[[str], None]) -> bool:
    """Run the selftest, and report by `say`; return whether every row came out once, and right.

    Raises BundledServerError, UNREACHABLE and SelftestError.
    """
    name = f"selftest_{os.getpid()}"
    with (
        connect.postgres(settings, "selftest") as postgres_url,
        connect.server_url("redis", settings.redis.url, settings) as redis_url,
        _folder(settings, name) as folder,
    ):
        url = _with_search_path(postgres_url, name)
        database.init(url, connections=2)
        environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": redis_url}
        _create_schema(name)
        try:
            with session(60):
                schema.migrate()
            return _run(folder, environment, say)
        finally:
            with session(60):
                pool.execute_sql(f"DROP SCHEMA {name} CASCADE")
            _forget(redis_url, f"{settings.redis.queue_key}:{name}")
            say("The batch is removed again.")


def _create_schema(name: str) -> None:
    """Create the schema, in which this process's connections must work. Raises SelftestError."""
    try:
        with session(60):
            if fetch_value("SELECT current_setting('search_path')") != name:
                raise SelftestError(_NO_SCHEMA)
            pool.execute_sql(f"CREATE SCHEMA {name}")
    except database.UNREACHABLE as error:
        if "startup parameter" in str(error):
            raise SelftestError(_NO_SCHEMA) from None
        raise


def _with_search_path(url: str, name: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -csearch_path={name}".strip()
    # Not by urlunsplit(), which would drop the slashes where there is no host between them.
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(query, quote_via=quote)}"


@contextmanager
def _folder(settings: Settings, name: str) -> Iterator[Path]:
    """Yield a folder with a config.ini like the present one, but a list and channels of its own."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(settings.path, encoding="utf-8")
    for section in set(parser.sections()).difference(SECTIONS):
        parser.remove_section(section)  # of the team's own processor
    for section in ("database", "redis"):
        parser[section]["url"] = BUNDLED  # the environment has the real URL, with its password
    parser["redis"]["queue_key"] = f"{settings.redis.queue_key}:{name}"
    parser["redis"]["channel_prefix"] = f"{settings.redis.channel_prefix}{name}:"
    parser["worker"]["processor"] = "admin.selftest:slow_check"
    # The outcomes must not depend on the world outside.
    parser["check"]["dns"] = "off"
    with tempfile.TemporaryDirectory(prefix="email-batch-") as folder:
        with (Path(folder) / "config.ini").open("w", encoding="utf-8") as file:
            parser.write(file)
        yield Path(folder)


def _forget(redis_url: str, queue_key: str) -> None:
    """Delete the selftest's keys from Redis, if it can be reached."""
    keys = f"{glob.escape(queue_key)}:*"
    with closing(Doorbell(redis_url, queue_key)) as doorbell:
        client = doorbell.client
        doorbell.use(lambda: client.delete(queue_key, *client.scan_iter(keys)))


def _run(folder: Path, environment: dict[str, str], say: Callable[[str], None]) -> bool:
    content = "".join(f"{address}\n" for address in _addresses())
    batch = intake.store(
        BytesIO(content.encode()),
        "selftest.csv",
        chunk_size=CHUNK_SIZE,
        max_rows=ROWS,
        overrides=Overrides(header=False),  # the first address is a malformed one
    )
    say(f"{ROWS:,} generated rows are uploaded as a batch of their own.")
    with _worker(folder, environment) as worker:
        processed = _await(batch.id, ROWS // 2, worker)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    say(f"A worker was started, and killed (kill -9) when it had counted {processed:,} of them.")
    with _worker(folder, environment) as worker:
        began = time.monotonic()
        _await(batch.id, ROWS, worker)
        say(f"Another worker did the rest in {time.monotonic() - began:.1f} seconds.")
    return _judge(batch.id, say)


def _addresses() -> Iterator[str]:
    for number in range(ROWS):
        yield f"user{number}" + ("" if number % MALFORMED_EVERY == 0 else "@example.com")


@contextmanager
def _worker(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [str(ROOT / "worker.py"), "--threads", "2", "--config", str(folder / "config.ini")]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, *arguments], env=environment, stderr=log)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()


def _await(batch_id: int, processed: int, worker: subprocess.Popen[bytes]) -> int:
    """Wait until so many emails are counted; return how many are by then."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and worker.poll() is None:
        with session():
            count: int = Batch.get_by_id(batch_id).processed_count
        if count >= processed:
            return count
        time.sleep(0.01)
    why = "ended by itself" if worker.poll() is not None else f"takes over {TIMEOUT:.0f} s"
    raise SelftestError(f"The worker {why}.")


def _judge(batch_id: int, say: Callable[[str], None]) -> bool:
    """Return whether each row has its due outcome, and the batch the right counts."""
    with session(60):
        batch = Batch.get_by_id(batch_id)
        rows = Counter(
            pool.execute_sql(
                "SELECT email, status, reason FROM email WHERE batch_id = %s", (batch_id,)
            ).fetchall()
        )
        redone = fetch_value("SELECT sum(redone) FROM chunk")
    expected = Counter(
        (address, "processed", None) if "@" in address else (address, "failed", MALFORMED_REASON)
        for address in _addresses()
    )
    wrong = (rows - expected).total() + (expected - rows).total()
    malformed = sum("@" not in address for address in _addresses())
    counts = (batch.processed_count, batch.failed_count, batch.status)
    if redone:
        say(f"{redone} turns of the killed worker were undone and repeated.")
    if wrong or counts != (ROWS, malformed, "completed"):
        say(
            f"SOMETHING IS WRONG: {wrong:,} rows have a wrong outcome; {batch.processed_count:,} of"
            f" {ROWS:,} are counted, {batch.failed_count:,} as failed instead of {malformed:,}; the"
            f" batch is {batch.status}."
        )
        return False
    say(
        f"All {ROWS:,} rows came out exactly once: {ROWS - malformed:,} processed, {malformed:,}"
        " failed, as expected, because they are malformed. None is lost, none counted twice."
    )
    return True
