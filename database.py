"""Reaching PostgreSQL: the pool of connections, and how long anybody waits for an answer.

Every use of the database stands in a session(). A PostgreSQL that is gone, stopped or cut off must
never make a request hang, so nobody waits without a limit: a connection attempt ends after
CONNECT_TIMEOUT, those who queue behind a failed one fail with it, and a session that outlasts its
time has its connection cut, by which its statement ends too. So the limits that a server may have
for its roles are lifted.

A server that answers may still be the wrong one: a standby, or one that is being shut down. What it
says is UNREACHABLE too, and no connection from before is used again.
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

# Seconds. A connection attempt is given up after the first; one that the pool has no room for,
# after the second; a session, unless it asks for more, after the third.
CONNECT_TIMEOUT = 3
POOL_TIMEOUT = 3
SESSION_SECONDS = 3.0
# Seconds after a failed connection attempt within which the next ones fail at once.
REFUSE_SECONDS = 0.5
# Seconds between two looks at the sessions that are open.
WATCH_SECONDS = 0.1
# An unplugged machine is noticed within about a minute; within ten seconds (10,000 ms), if data is
# on the way to it. PostgreSQL is told the same of us: by itself it would wait for a quarter of an
# hour for who takes no more of an answer, and for two hours for who sends no more of a COPY.
TCP_LIMITS = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Milliseconds after which a server process at work looks whether its client is still there. By
# itself it would work on for one that was cut or killed, to the end of the statement.
CHECK_CLIENT_MS = 1_000

# How the names of all our sessions begin.
APPLICATION = "email-batch"

# What is raised when the database is out of reach, restarts, has no room for us, can only be read,
# ends what lasts too long for it, or when its tables are still being made.
UNREACHABLE = (
    OperationalError,
    InterfaceError,
    MaxConnectionsExceeded,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)

# PostgreSQL's codes for tables and columns that are not there.
_OUTDATED = (errorcodes.UNDEFINED_TABLE, errorcodes.UNDEFINED_COLUMN)
# For what lasted longer than it allows: a statement, waiting for a lock, a transaction that idles,
# or a transaction (25P04, of PostgreSQL 17).
_LIMITS = (
    errorcodes.QUERY_CANCELED,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    "25P04",
)
# How those begin that tell of the server rather than of what it was asked: connections that break,
# no writing, conflicts with recovery, states that don't allow something, and shutting down.
_WRONG_SERVER = ("08", "25006", "40001", "55000", "57P")


def code_of(error: BaseException) -> str | None:
    """PostgreSQL's code (SQLSTATE) for an error, None if it isn't PostgreSQL's."""
    # Peewee's errors have the driver's as `orig`.
    code: str | None = getattr(getattr(error, "orig", error), "pgcode", None)
    return code


def is_full(error: BaseException) -> bool:
    """Whether it says that PostgreSQL's disk is full, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.DISK_FULL


def is_read_only(error: BaseException) -> bool:
    """Whether it says that the server takes no writes, a case of UNREACHABLE."""
    return code_of(error) == errorcodes.READ_ONLY_SQL_TRANSACTION


def is_limit(error: BaseException) -> bool:
    """Whether the server ended what lasted longer than it allows, a case of UNREACHABLE."""
    return code_of(error) in _LIMITS


class ReadOnlyError(OperationalError):
    """The server takes no writes: it is a standby, or it was told so."""

    pgcode = errorcodes.READ_ONLY_SQL_TRANSACTION

    def __init__(self) -> None:
        super().__init__("the server can only be read just now, as a standby can")


class _Adapter(Psycopg2Adapter):
    """Connects and tests connections for the pool, which does both under a lock of all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._refuse_until = 0.0
        self._failure = ""
        # Connections that were begun before it grew are used no more.
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
        """Use none of the connections again that there are."""
        self._generation += 1

    def is_connection_reusable(self, conn: Any) -> bool:
        return conn.generation == self._generation and bool(super().is_connection_reusable(conn))

    def is_connection_closed(self, conn: Any) -> bool:
        # Peewee would ask the server, and wait for an answer that may never come. What the server
        # has closed shows by itself: there is its last word to be read.
        if conn.closed or conn.generation != self._generation:
            return True
        poll = select.poll()
        try:
            poll.register(conn.fileno(), select.POLLIN)
        except psycopg2.Error:  # it broke, and the driver has closed its socket already
            return True
        return bool(poll.poll(0))


def _limits(version: int, *, can_check: bool) -> str:
    """Statements that a transaction begins with: they lift a role's limits, and set ours."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if version >= 170_000:
        names.append("transaction_timeout")
    values = dict.fromkeys(names, 0)
    if version >= 140_000 and can_check:
        values["client_connection_check_interval"] = CHECK_CLIENT_MS
    return "".join(f"SET LOCAL {name} = {value};" for name, value in values.items())


class _Pool(PooledPostgresqlDatabase):  # type: ignore[misc]
    psycopg2_adapter = _Adapter
    # Whether it is used for reading alone.
    reads = False

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run statements; those outside a transaction, as one, with limits of its own.

        Each transaction sets the limits itself, at little cost: what a connection to a PgBouncer
        was told may have been told to another server process than that which the transaction gets.
        """
        connection = self.connection()
        if connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            sql = connection.limits + sql
        return super().execute_sql(sql, params)

    def begin(self, isolation_level: None = None) -> None:
        self.execute_sql("BEGIN")


def begin() -> str:
    """Statements that begin a transaction of this session, behind others."""
    return f"BEGIN;{pool.connection().limits}"


class _Connection(connection):
    """Its server is yet to be told our limits, and to be asked whether it is the right one."""

    told = False
    generation = 0
    # What each transaction begins with.
    limits = ""

    def tell(self) -> None:
        """Tell them, if that is due, for the rest of the connection. Raises ReadOnlyError."""
        if self.told:
            return
        over_tcp = not self.info.host.startswith("/")
        # Pooled connections idle as long as they like.
        idle = "SET idle_session_timeout = 0;" if self.server_version >= 140_000 else ""
        with self.cursor() as cursor:
            cursor.execute(idle + _TELL + (_TELL_TCP if over_tcp else ""), TCP_LIMITS)
            (read_only, can_check, *_) = cursor.fetchone() or ()
        if read_only and not pool.reads:
            raise ReadOnlyError
        self.limits = _limits(self.server_version, can_check=can_check)
        self.told = True


# On some systems PostgreSQL can't look whether its client is there, and refuses to be told to.
_TELL = "SELECT current_setting('transaction_read_only')::boolean, version() ~ 'linux'"
# The names are libpq's; one of them is not PostgreSQL's.
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
        # A descriptor of our own, because the driver closes its own whenever it likes.
        self._descriptor = os.dup(pool.connection().fileno())
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self.deadline = time.monotonic() + seconds

    def cut(self) -> None:
        """End the connection at once, from any thread; who waits on it gets UNREACHABLE.

        PostgreSQL ends its statement within CHECK_CLIENT_MS or so.
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
            with self._lock:  # so that none is closed meanwhile
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
            # The driver counts these among a program's own mistakes.
            _judge(error)
            raise _unreachable(error) from error
        finally:
            _watchdog.remove(current)
            current.close()


def _judge(error: BaseException) -> None:
    """See whether it means that the server is the wrong one."""
    if (code_of(error) or "").startswith(_WRONG_SERVER):
        pool._adapter.distrust()


def _unreachable(error: BaseException) -> OperationalError:
    if is_read_only(error):
        return ReadOnlyError()
    return OperationalError(getattr(error, "orig", error), *error.args)


def require_writable() -> None:
    """Raises ReadOnlyError if the server takes no writes."""
    if pool.execute_sql("SELECT current_setting('transaction_read_only')").fetchone()[0] == "on":
        raise ReadOnlyError


def _first(error: BaseException) -> BaseException:
    """What the server said last, rather than that a rollback after it found nobody there."""
    first = error
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, UNREACHABLE):
            first = error
    return first


def init(url: str, *, connections: int, name: str = "", reads: bool = False) -> None:
    """Point the pool at the PostgreSQL database `url`; nothing is sent yet.

    `connections` is the most that this process holds at once, and `name` says in pg_stat_activity
    whose they are. Unless it only `reads`, a server that takes no writes is none.
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
    """How many connections this process has in use, and how many it keeps for later."""
    return len(pool._in_use), len(pool._connections)


def disconnect() -> None:
    """Close every connection of this process, if init() was called at all."""
    if not pool.deferred:
        pool.close_all()


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A transaction of which PostgreSQL ends each statement that lasts longer than this.

    Unlike a session that is cut, that tells a slow statement from a server that is away: it raises
    a case of UNREACHABLE that is_limit() knows.
    """
    with pool.atomic():
        pool.execute_sql(
            "SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}ms",)
        )
        yield


@contextlib.contextmanager
def own_transactions() -> Iterator[None]:
    """Statements in here begin and commit by themselves; what is open in the end is rolled back."""
    with pool.manual_commit():
        try:
            yield
        finally:
            if pool.connection().get_transaction_status() != TRANSACTION_STATUS_IDLE:
                pool.rollback()


def server_version() -> int:
    """The major version of the PostgreSQL at the other end."""
    (version,) = pool.execute_sql("SELECT current_setting('server_version_num')").fetchone()
    return int(version) // 10_000


def transaction_id() -> int:
    """The present transaction's number, for was_committed()."""
    return int(pool.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0])


def was_committed(transaction: int) -> bool:
    """What became of a transaction whose commit got no answer, waiting until that is settled.

    Raises UNREACHABLE.
    """
    while True:
        (state,) = pool.execute_sql(
            "SELECT pg_xact_status(%s::text::xid8)", (transaction,)
        ).fetchone()
        if state != "in progress":
            return bool(state == "committed")
        threading.Event().wait(WATCH_SECONDS)
