"""Make connections to PostgreSQL, prepare them, and test whether they can be used again."""

from __future__ import annotations

import os
import select
import socket
import time
import weakref
from typing import Any

import psycopg2
from peewee import OperationalError, Psycopg2Adapter
from psycopg2 import errorcodes
from psycopg2.extensions import connection

# For so many seconds after a failed attempt to connect, further attempts fail at once.
REFUSE_SECONDS = 0.5
# With these, an unplugged server is noticed within about a minute, or within ten seconds
# (10,000 ms) if data is on the way to it. PostgreSQL gets the same limits for its side: by default,
# it waits a quarter of an hour for a client that stops reading, and two hours for a client that
# stops sending a COPY.
TCP_LIMITS = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Milliseconds between two checks of a busy server process that its client is still connected. By
# default, it completes the statement of a client that was cut or killed.
CHECK_CLIENT_MS = 1_000


class ReadOnlyError(OperationalError):
    """The server accepts no writes: it is a standby, or configured as read-only."""

    pgcode = errorcodes.READ_ONLY_SQL_TRANSACTION

    def __init__(self) -> None:
        super().__init__("the server accepts no writes at the moment, like a standby")


class Adapter(Psycopg2Adapter):
    """Makes and tests the pool's connections. The pool calls it under a lock of all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._refuse_until = 0.0
        self._failure = ""
        # Connections of an earlier generation are never used again.
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
        """Keep all present connections from being used again."""
        self._generation += 1

    def is_connection_reusable(self, conn: Any) -> bool:
        return conn.generation == self._generation and bool(super().is_connection_reusable(conn))

    def is_connection_closed(self, conn: Any) -> bool:
        # Peewee would query the server, and wait for an answer that may never come. A connection
        # closed by the server has something to be read.
        if conn.closed or conn.generation != self._generation:
            return True
        poll = select.poll()
        try:
            poll.register(conn.fileno(), select.POLLIN)
        except psycopg2.Error:  # the driver has closed a broken connection's socket
            return True
        return bool(poll.poll(0))


def _limits(version: int, *, can_check: bool) -> str:
    """Return statements for the start of a transaction, which replace the server's limits."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if version >= 170_000:
        names.append("transaction_timeout")
    values = dict.fromkeys(names, 0)
    if version >= 140_000 and can_check:
        values["client_connection_check_interval"] = CHECK_CLIENT_MS
    return "".join(f"SET LOCAL {name} = {value};" for name, value in values.items())


class Connection(connection):
    """A connection that sends its server the limits, and checks it, before the first use.

    `generation` is the adapter's generation in which the connection was made.
    `limits` are the statements that each transaction begins with, once the connection is prepared.
    `prepared` has the names of each Prepared (prepared.py) that is believed to be prepared.
    `end` is a socket with a duplicate of the driver's descriptor, which the driver may close at any
    time. Session.cut() shuts the connection down by `end`; close() closes both.
    """

    generation = 0
    limits = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: set[str] = set()
        self.end = socket.socket(fileno=os.dup(self.fileno()))
        # If the connection is dropped; Python would warn of a socket that wasn't closed.
        weakref.finalize(self, self.end.close)

    def close(self) -> None:
        """Close the connection, and its `end`."""
        try:
            super().close()
        finally:
            self.end.close()

    def prepare(self, *, reads: bool) -> None:
        """Send the limits that last as long as the connection, unless that was done before.

        Raises ReadOnlyError if the server accepts no writes, unless `reads`.
        """
        if self.limits:
            return
        # A connection in the pool may be idle for any time.
        limits = {"idle_session_timeout": 0} if self.server_version >= 140_000 else {}
        if not self.info.host.startswith("/"):  # by TCP, not by a Unix socket
            for name, value in TCP_LIMITS.items():
                limits[f"tcp_{name.removeprefix('tcp_')}"] = value  # libpq's names, PostgreSQL's
        settings = "".join(f"SET {name} = {value};" for name, value in limits.items())
        with self.cursor() as cursor:
            cursor.execute(settings + _PREPARE)
            read_only, can_check = cursor.fetchone() or ()
        if read_only and not reads:
            raise ReadOnlyError
        self.limits = _limits(self.server_version, can_check=can_check)


# PostgreSQL accepts client_connection_check_interval on Linux, but not on every system.
_PREPARE = "SELECT current_setting('transaction_read_only')::boolean, version() ~ 'linux'"
