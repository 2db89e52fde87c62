"""Reaching PostgreSQL: the pool of connections, and how long anybody waits for an answer.

Every use of the database is within a session(). A PostgreSQL that is gone, stopped or cut off must
never make a request hang, so every wait has a limit: a connection attempt ends after
CONNECT_TIMEOUT, threads that queue behind a failed attempt fail with it, and a session that
outlasts its time has its connection cut, which also ends its statement. The server's own limits,
of a role for example, aren't needed then, and are lifted.

A server that answers may still be the wrong one: a standby, or one that is being shut down. Its
errors count as UNREACHABLE, too, and no connection made before them is used again.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
from peewee import DatabaseError, InterfaceError, OperationalError, Psycopg2Adapter
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection

# Seconds after which is given up: an attempt to connect; waiting for a connection of a full pool; a
# session that didn't ask for another time.
CONNECT_TIMEOUT = 3
POOL_TIMEOUT = 3
SESSION_SECONDS = 3.0
# Seconds after a failed connection attempt within which the next ones fail at once.
REFUSE_SECONDS = 0.5
# Seconds between two looks whether an open session has outlasted its deadline.
WATCH_SECONDS = 0.1
# With these, an unplugged server is noticed within about a minute, or within ten seconds
# (10,000 ms) if data is on the way to it. PostgreSQL gets the same limits for us: by default it
# would wait a quarter of an hour for a client that stops reading an answer, and two hours for one
# that stops sending a COPY.
TCP_LIMITS = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Milliseconds between two looks of a busy server process whether its client is still connected. By
# default it would finish the statement of a client that was cut or killed.
CHECK_CLIENT_MS = 1_000

# How the application_name of all our connections begins.
APPLICATION = "email-batch"

# Errors that say: the database is out of reach, restarts, has no connection left, is read-only,
# ended what took too long for it, or has tables that are not up to date yet.
UNREACHABLE = (
    OperationalError,
    InterfaceError,
    MaxConnectionsExceeded,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)

# PostgreSQL's codes for tables and columns that don't exist.
_OUTDATED = (errorcodes.UNDEFINED_TABLE, errorcodes.UNDEFINED_COLUMN)
# Its codes for what took longer than it allows: a statement, waiting for a lock, an idle
# transaction, a transaction (25P04, since PostgreSQL 17).
_LIMITS = (
    errorcodes.QUERY_CANCELED,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    "25P04",
)
# Beginnings of codes that mean that this server is the wrong one, whatever it was asked: broken
# connections, read-only, conflicts with recovery, wrong states, and shutting down.
_WRONG_SERVER = ("08", "25006", "40001", "55000", "57P")


def code_of(error: BaseException) -> str | None:
    """PostgreSQL's code (SQLSTATE) of an error; None if the error isn't PostgreSQL's."""
    # An error of Peewee has the driver's error as `orig`.
    code: str | None = getattr(getattr(error, "orig", error), "pgcode", None)
    return code


def is_full(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL's disk is full, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.DISK_FULL


def is_read_only(error: BaseException) -> bool:
    """Whether the error says that the server accepts no writes, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.READ_ONLY_SQL_TRANSACTION


def is_limit(error: BaseException) -> bool:
    """Whether the error says that a timeout of the server's expired, a case of UNREACHABLE."""
    return code_of(error) in _LIMITS


class ReadOnlyError(OperationalError):
    """The server accepts no writes: it is a standby, or was configured as read-only."""

    pgcode = errorcodes.READ_ONLY_SQL_TRANSACTION

    def __init__(self) -> None:
        super().__init__("the server can only be read just now, as a standby can")


class _Adapter(Psycopg2Adapter):
    """Connects and tests connections for the pool, which does both under a lock of all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._refuse_until = 0.0
        self._failure = ""
        # Connections of an earlier generation are not used again.
        self._generation = 0

    def connect(self, db: Any, **params: Any) -> Any:
        if time.monotonic() < self._refuse_until:
            raise psycopg2.OperationalError(self._failure)
        generation = self._generation
        try:
            connection = super().connect(db, **params)  # type: ignore[no-untyped-call]
        except psycopg2.OperationalError as error:
            self._failure = str(error)
            self._refuse_until = time.monotonic() + REFUSE_SECONDS
            raise
        connection.generation = generation
        return connection

    def distrust(self) -> None:
        """Let none of the present connections be used again."""
        self._generation += 1

    def is_connection_reusable(self, conn: Any) -> bool:
        return conn.generation == self._generation and bool(super().is_connection_reusable(conn))

    def is_connection_closed(self, conn: Any) -> bool:
        # Peewee would query the server, and wait for an answer that may never come. A connection
        # that the server has closed shows by itself: it has something to be read.
        if conn.closed or conn.generation != self._generation:
            return True
        poll = select.poll()
        try:
            poll.register(conn.fileno(), select.POLLIN)
        except psycopg2.Error:  # it broke, and the driver has closed its socket already
            return True
        return bool(poll.poll(0))


def _limits(version: int, *, can_check: bool) -> str:
    """Statements that every transaction begins with: they lift the server's limits and set ours."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if version >= 170_000:
        names.append("transaction_timeout")
    values = dict.fromkeys(names, 0)
    if version >= 140_000 and can_check:
        values["client_connection_check_interval"] = CHECK_CLIENT_MS
    return "".join(f"SET LOCAL {name} = {value};" for name, value in values.items())


class _Pool(PooledPostgresqlDatabase):  # type: ignore[misc]
    psycopg2_adapter = _Adapter
    # Whether a server that can only be read, such as a standby, will do.
    reads = False

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run statements; outside a transaction, they form one, which begins with the limits.

        Each transaction sets the limits anew, at little cost: behind PgBouncer, settings made
        before it may belong to another server process than the one that the transaction gets.
        """
        connection = self.connection()
        if connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            sql = connection.limits + sql
        return super().execute_sql(sql, params)

    def begin(self, isolation_level: None = None) -> None:
        self.execute_sql("BEGIN")


def begin() -> str:
    """Return statements that begin a transaction, to be appended to others of this session."""
    return f"BEGIN;{pool.connection().limits}"


class _Connection(connection):
    """A connection that sends our limits to its server, and checks it, before the first use."""

    told = False
    generation = 0
    # The statements that each transaction begins with.
    limits = ""

    def tell(self) -> None:
        """Send the limits that last as long as the connection, once. Raises ReadOnlyError."""
        if self.told:
            return
        over_tcp = not self.info.host.startswith("/")
        # Connections in the pool may idle for any time.
        idle = "SET idle_session_timeout = 0;" if self.server_version >= 140_000 else ""
        with self.cursor() as cursor:
            cursor.execute(idle + _TELL + (_TELL_TCP if over_tcp else ""), TCP_LIMITS)
            (read_only, can_check, *_) = cursor.fetchone() or ()
        if read_only and not pool.reads:
            raise ReadOnlyError
        self.limits = _limits(self.server_version, can_check=can_check)
        self.told = True


# On some systems PostgreSQL can't check whether its client is connected, and refuses the setting.
_TELL = "SELECT current_setting('transaction_read_only')::boolean, version() ~ 'linux'"
# TCP_LIMITS has libpq's names; for three of them PostgreSQL's has tcp_ in front.
_TELL_TCP = """,
  set_config('tcp_keepalives_idle', %(keepalives_idle)s::text, false),
  set_config('tcp_keepalives_interval', %(keepalives_interval)s::text, false),
  set_config('tcp_keepalives_count', %(keepalives_count)s::text, false),
  set_config('tcp_user_timeout', %(tcp_user_timeout)s::text, false)
"""

pool = _Pool(None)


class Session:
    """A thread's use of one connection, up to a deadline (monotonic)."""

    def __init__(self, seconds: float) -> None:
        # A duplicate of the descriptor, because the driver may close its own at any time.
        self._descriptor = os.dup(pool.connection().fileno())
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self.deadline = time.monotonic() + seconds

    def cut(self) -> None:
        """End the connection at once, from any thread; a thread that waits on it gets UNREACHABLE.

        PostgreSQL ends its statement within CHECK_CLIENT_MS or so, if it can check its client.
        """
        self.deadline = float("inf")
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as end:
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        os.close(self._descriptor)


class _Watchdog:
    """Cuts the sessions that outlast their deadline. Its thread starts with the first session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._thread: threading.Thread | None = None

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def remove(self, session: Session) -> None:
        with self._lock:
            self._sessions.remove(session)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(WATCH_SECONDS):
            now = time.monotonic()
            with self._lock:  # so that no session is closed meanwhile
                for session in self._sessions:
                    if now > session.deadline:
                        session.cut()


_watchdog = _Watchdog()


@contextlib.contextmanager
def session(seconds: float = SESSION_SECONDS) -> Iterator[Session]:
    """A connection for this thread, cut after `seconds` unless the session is extended.

    Raises UNREACHABLE, then or at any use of the connection.
    """
    with pool.connection_context():
        current = Session(seconds)
        _watchdog.add(current)
        try:
            pool.connection().tell()
            yield current
        except UNREACHABLE as error:
            first = _first(error)
            _judge(first)
            raise first from None
        except (DatabaseError, psycopg2.DatabaseError) as error:
            code = code_of(error)
            if code in _OUTDATED:
                raise OperationalError(f"its tables are not up to date: {error}") from error
            if code not in (*_LIMITS, errorcodes.READ_ONLY_SQL_TRANSACTION):
                raise
            # The driver takes these for the program's own mistakes.
            _judge(error)
            raise _unreachable(error) from error
        finally:
            _watchdog.remove(current)
            current.close()


def _judge(error: BaseException) -> None:
    """Distrust all connections if the error means that the server is the wrong one."""
    if (code_of(error) or "").startswith(_WRONG_SERVER):
        pool._adapter.distrust()


def _unreachable(error: BaseException) -> OperationalError:
    if is_read_only(error):
        return ReadOnlyError()
    return OperationalError(getattr(error, "orig", error), *error.args)


def require_writable() -> None:
    """Raise ReadOnlyError if the server accepts no writes."""
    if pool.execute_sql("SELECT current_setting('transaction_read_only')").fetchone()[0] == "on":
        raise ReadOnlyError


def _first(error: BaseException) -> BaseException:
    """The error that came first: the server's own, not that of a rollback that found it gone."""
    first = error
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, UNREACHABLE):
            first = error
    return first


def init(url: str, *, connections: int, name: str = "", reads: bool = False) -> None:
    """Point the pool at the PostgreSQL database `url`; nothing is sent yet.

    `connections` is the most that this process holds at once.
    `name` says in pg_stat_activity which program they belong to.
    `reads` is whether a server that can only be read is accepted until a write fails; otherwise it
    counts as UNREACHABLE.
    """
    pool.reads = reads
    pool.init(
        url,
        max_connections=connections,
        timeout=POOL_TIMEOUT,
        connect_timeout=CONNECT_TIMEOUT,
        connection_factory=_Connection,
        application_name=f"{APPLICATION} {name}".strip(),
        **TCP_LIMITS,
    )


def connections() -> tuple[int, int]:
    """Return how many connections this process has in use, and how many are idle in its pool."""
    return len(pool._in_use), len(pool._connections)


def disconnect() -> None:
    """Close every connection of this process, if init() was called at all."""
    if not pool.deferred:
        pool.close_all()


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A transaction in which PostgreSQL ends each statement that takes longer than `seconds`.

    Unlike cutting the session, this tells a slow statement from a dead server: the error is a case
    of UNREACHABLE that is_limit() recognizes.
    """
    with pool.atomic():
        pool.execute_sql(
            "SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}ms",)
        )
        yield


@contextlib.contextmanager
def own_transactions() -> Iterator[None]:
    """Leave BEGIN and COMMIT to the caller; roll back a transaction that is open at the end."""
    with pool.manual_commit():
        try:
            yield
        finally:
            if pool.connection().get_transaction_status() != TRANSACTION_STATUS_IDLE:
                pool.rollback()


def server_version() -> int:
    """The major version of the PostgreSQL server."""
    (version,) = pool.execute_sql("SELECT current_setting('server_version_num')").fetchone()
    return int(version) // 10_000


def transaction_id() -> int:
    """The current transaction's id, for was_committed()."""
    return int(pool.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0])


def was_committed(transaction: int) -> bool:
    """Whether a transaction was committed whose commit got no answer; wait while it is in progress.

    Raises UNREACHABLE.
    """
    while True:
        (state,) = pool.execute_sql(
            "SELECT pg_xact_status(%s::text::xid8)", (transaction,)
        ).fetchone()
        if state != "in progress":
            return bool(state == "committed")
        threading.Event().wait(WATCH_SECONDS)
