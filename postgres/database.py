"""The pool of connections to PostgreSQL, and the limit of every wait for an answer.

Every use of the database is within a session(). A PostgreSQL that is gone, stopped or cut off must
never make a request hang. So a connection attempt ends after CONNECT_TIMEOUT, threads that queue
behind a failed attempt fail with it, and a session that outlasts its time has its connection cut,
which also ends its statement. The server's own limits, such as a role's, are lifted.

A server that answers may still be the wrong one: a standby, or a server that is shutting down. Its
errors count as UNREACHABLE too, and no connection made before them is used again.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
from peewee import DatabaseError, InterfaceError, OperationalError
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from postgres.connections import TCP_LIMITS, Adapter, Connection, ReadOnlyError
from runtime import metrics

# The limits in seconds of an attempt to connect, of the wait for a connection of a full pool, and
# of a session by default.
CONNECT_TIMEOUT = 3
POOL_TIMEOUT = 3
SESSION_SECONDS = 3.0
# Seconds between two checks of the open sessions' deadlines.
WATCH_SECONDS = 0.1
# The beginning of every connection's application_name.
APPLICATION = "email-batch"

# The database is out of reach, restarting, out of connections, read-only, has ended a statement by
# a limit, or has tables that are not up to date yet.
UNREACHABLE = (
    OperationalError,
    InterfaceError,
    MaxConnectionsExceeded,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)

# PostgreSQL's codes for tables and columns that don't exist.
_OUTDATED = (errorcodes.UNDEFINED_TABLE, errorcodes.UNDEFINED_COLUMN)
# PostgreSQL's codes for its limits of a statement, of the wait for a lock, of an idle transaction,
# and of a transaction (25P04, since PostgreSQL 17).
_LIMITS = (
    errorcodes.QUERY_CANCELED,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    "25P04",
)
# Prefixes of PostgreSQL's codes for a server that can't be used: broken connections, read-only,
# conflicts with recovery, wrong states, shutting down.
_WRONG_SERVER = ("08", "25006", "40001", "55000", "57P")


def code_of(error: BaseException) -> str | None:
    """Return PostgreSQL's code (SQLSTATE) of an error; None if the error isn't PostgreSQL's."""
    # Peewee's errors have the driver's error as `orig`.
    code: str | None = getattr(getattr(error, "orig", error), "pgcode", None)
    return code


def is_full(error: BaseException) -> bool:
    """Return whether PostgreSQL's disk is full, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.DISK_FULL


def is_read_only(error: BaseException) -> bool:
    """Return whether the server accepts no writes, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.READ_ONLY_SQL_TRANSACTION


def is_busy(error: BaseException) -> bool:
    """Return whether all connections of this process were in use, a case of UNREACHABLE."""
    return isinstance(error, MaxConnectionsExceeded)


def is_limit(error: BaseException) -> bool:
    """Return whether a timeout of the server's has expired, a case of UNREACHABLE."""
    return code_of(error) in _LIMITS


class _Pool(PooledPostgresqlDatabase):  # type: ignore[misc]
    psycopg2_adapter = Adapter
    # Whether a server that accepts no writes may be used.
    reads = False

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run statements; outside a transaction, in a new one that begins with the limits.

        Each transaction sets the limits again, at little cost: behind PgBouncer, it may get another
        server process than the transaction before.
        """
        connection = self.connection()
        if connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            sql = connection.limits + sql
        return super().execute_sql(sql, params)

    def begin(self, isolation_level: None = None) -> None:
        self.execute_sql("BEGIN")


def begin() -> str:
    """Return statements that begin a transaction, to follow others in one message."""
    return f"BEGIN;{pool.connection().limits}"


pool = _Pool(None)
metrics.DATABASE_CONNECTIONS.labels("used").set_function(lambda: len(pool._in_use))
metrics.DATABASE_CONNECTIONS.labels("idle").set_function(lambda: len(pool._connections))


class Session:
    """A thread's use of one connection until a deadline (monotonic)."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self.is_cut = False
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self.deadline = time.monotonic() + seconds

    def cut(self) -> None:
        """Shut the connection down, from any thread; a thread waiting on it gets UNREACHABLE.

        PostgreSQL ends the statement after about CHECK_CLIENT_MS, if it can check its client.
        """
        self.deadline = float("inf")
        self.is_cut = True
        with contextlib.suppress(OSError):
            self._connection.end.shutdown(socket.SHUT_RDWR)


class _Watchdog(threading.Thread):
    """Cuts sessions that outlast their deadline. The thread starts with the first session."""

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)
            if self.ident is None:
                self.start()

    def remove(self, session: Session) -> None:
        with self._lock:
            self._sessions.remove(session)

    def run(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            with self._lock:  # so that no session ends while it is being cut
                for session in self._sessions:
                    if now > session.deadline:
                        session.cut()


_watchdog = _Watchdog()


class _Own(threading.local):
    """The session that this thread has open."""

    session: Session | None = None


_own = _Own()


@contextlib.contextmanager
def session(seconds: float = SESSION_SECONDS) -> Iterator[Session]:
    """Give this thread a connection, which is cut after `seconds` unless the session is extended.

    A session within another one is the same, and lasts up to `seconds` from then on at least.

    Raises UNREACHABLE, at the start or at any use of the connection.
    """
    outer = _own.session
    if outer is not None:
        outer.extend(max(seconds, outer.deadline - time.monotonic()))
        with _judged():
            yield outer
        return
    with pool.connection_context(), limited_to(pool.connection(), seconds) as current, _judged():
        _own.session = current
        try:
            pool.connection().prepare(reads=pool.reads)
            yield current
        finally:
            _own.session = None


@contextlib.contextmanager
def _judged() -> Iterator[None]:
    """Turn errors of an unusable server into UNREACHABLE, and distrust its connections."""
    try:
        yield
    except UNREACHABLE as error:
        first = _first(error)
        _judge(first)
        raise first from None
    except (DatabaseError, psycopg2.DatabaseError) as error:
        # Peewee takes these for errors of the program.
        if code_of(error) in _OUTDATED:
            raise OperationalError(f"the tables are not up to date: {error}") from error
        if is_limit(error):
            raise OperationalError(getattr(error, "orig", error), *error.args) from error
        if is_read_only(error):
            _judge(error)
            raise ReadOnlyError from error
        raise


@contextlib.contextmanager
def limited_to(connection: Connection, seconds: float) -> Iterator[Session]:
    """Cut the connection if the block takes over `seconds`, unless the session is extended."""
    current = Session(connection, seconds)
    _watchdog.add(current)
    try:
        yield current
    finally:
        _watchdog.remove(current)


def _judge(error: BaseException) -> None:
    """Distrust all connections if the error shows that the server can't be used."""
    if (code_of(error) or "").startswith(_WRONG_SERVER):
        pool._adapter.distrust()


def _first(error: BaseException) -> BaseException:
    """Return the server's own error, not the error of a rollback that came after it.

    An error that was raised `from` something is the server's own already: a session within another
    one raises it so, while the rollback's error is handled.
    """
    first = error
    while error.__context__ is not None and not error.__suppress_context__:
        error = error.__context__
        if isinstance(error, UNREACHABLE):
            first = error
    return first


def init(url: str, *, connections: int, name: str = "", reads: bool = False) -> None:
    """Set the pool's database to `url`, without connecting.

    `connections` is the most connections that this process holds at once.
    `name` is shown in pg_stat_activity.
    `reads` says whether a server that accepts no writes may be used; otherwise it is UNREACHABLE.
    """
    pool.reads = reads
    pool.init(
        url,
        max_connections=connections,
        timeout=POOL_TIMEOUT,
        connect_timeout=CONNECT_TIMEOUT,
        client_encoding="UTF8",  # whatever the environment says
        connection_factory=Connection,
        application_name=f"{APPLICATION} {name}".strip(),
        **TCP_LIMITS,
    )


def disconnect() -> None:
    """Close all connections of this process, if init() was called."""
    if not pool.deferred:
        pool.close_all()


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Run a transaction in which PostgreSQL ends each statement that takes over `seconds`.

    Unlike a cut session, this tells a slow statement from a dead server: is_limit() recognizes the
    error, a case of UNREACHABLE.
    """
    with pool.atomic():
        pool.execute_sql(
            "SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}ms",)
        )
        yield


@contextlib.contextmanager
def own_transactions() -> Iterator[None]:
    """Leave BEGIN and COMMIT to the caller; roll back a transaction still open at the end."""
    with pool.manual_commit():
        try:
            yield
        finally:
            if pool.connection().get_transaction_status() != TRANSACTION_STATUS_IDLE:
                pool.rollback()


def fetch_all(sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run statements, and return the rows of the last one."""
    rows: list[tuple[Any, ...]] = pool.execute_sql(sql, parameters).fetchall()
    return rows


def fetch_one(sql: str, parameters: Any = None) -> tuple[Any, ...] | None:
    """Run statements, and return the first row of the last one; None if it has none."""
    row: tuple[Any, ...] | None = pool.execute_sql(sql, parameters).fetchone()
    return row


def fetch_value(sql: str, parameters: Any = None) -> Any:
    """Run statements, and return the first column of what fetch_one() returns; None without it."""
    row = fetch_one(sql, parameters)
    return row and row[0]


def server_version() -> int:
    """Return the major version of the PostgreSQL server."""
    return int(fetch_value("SELECT current_setting('server_version_num')")) // 10_000


def was_committed(transaction: int) -> bool:
    """Return whether a transaction, whose commit got no answer, was committed. Raises UNREACHABLE.

    transaction: its pg_current_xact_id().

    Waits while the transaction is in progress.
    """
    sql = "SELECT pg_xact_status(%s::text::xid8)"
    while (state := fetch_value(sql, (transaction,))) == "in progress":
        time.sleep(WATCH_SECONDS)
    return bool(state == "committed")
