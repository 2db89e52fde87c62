"""A further connection beside that of a thread's session, for what must be on the disk at once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg2
from peewee import OperationalError
from psycopg2 import errorcodes

from postgres.connections import Connection
from postgres.database import POOL_TIMEOUT, UNREACHABLE, limited_to, pool

# A role's or a server's own setting must not make a commit return before it is on the disk.
_ON_DISK = "SET LOCAL synchronous_commit = on;"


class NoFurtherError(OperationalError):
    """There is no answer on a further connection: perhaps threads hold all, and wait for it."""

    def __init__(self) -> None:
        super().__init__(
            f"no answer on the journal's connection within {POOL_TIMEOUT} s; work that must not be"
            " repeated needs one connection more than the worker has threads, also of a PgBouncer"
        )


@dataclass(frozen=True)
class Prepared:
    """A statement that PostgreSQL parses and plans once a connection.

    types: of its parameters, which are $1, $2 … in `sql`.
    """

    types: tuple[str, ...]
    sql: str

    @cached_property
    def name(self) -> str:
        """The name of exactly this statement.

        A PgBouncer keeps connections, so a name may still stand for the statement of another
        version of the product.
        """
        digest = hashlib.sha256(repr((self.types, self.sql)).encode()).hexdigest()
        return f"email_batch_{digest[:16]}"


# Runs a statement in a transaction, and returns its rows. A prepared one takes its parameters in
# order.
Run = Callable[[str | Prepared, Any], list[tuple[Any, ...]]]


@contextlib.contextmanager
def connection() -> Iterator[Run]:
    """Take a further connection; yield a function that uses it.

    Each call of the function is a transaction that is on the disk when it returns. Raises
    UNREACHABLE, as does the function: NoFurtherError if a call takes over POOL_TIMEOUT, as behind a
    PgBouncer with too few connections.
    """
    further = pool._connect()

    def run(statement: str | Prepared, parameters: Any) -> list[tuple[Any, ...]]:
        with limited_to(further, POOL_TIMEOUT) as current:
            try:
                further.prepare(reads=False)
                head = f"{further.limits}{_ON_DISK}"
                if isinstance(statement, Prepared):
                    return _execute(further, head, statement, parameters)
                with further.cursor() as cursor:
                    cursor.execute(f"{head}{statement}", parameters)
                    rows: list[tuple[Any, ...]] = cursor.fetchall()
                    return rows
            except UNREACHABLE:
                if not current.is_cut:
                    raise
        # Not from the error above, which session() would take for the server's own.
        raise NoFurtherError

    try:
        yield run
    finally:
        pool._close(further)


def _execute(
    connection: Connection, head: str, statement: Prepared, parameters: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Execute the statement, which is prepared first if this connection's server hasn't done so.

    Behind a PgBouncer, each transaction may have another connection to the server; then its answer
    tells what was done there.
    """
    name, types = statement.name, statement.types
    places = ", ".join(f"%s::{each}" for each in types)
    while True:
        known = name in connection.prepared
        first = "" if known else f"PREPARE {name} ({', '.join(types)}) AS {statement.sql};"
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"{first}{head}EXECUTE {name} ({places})", parameters)
                connection.prepared.add(name)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows
        except psycopg2.ProgrammingError as error:
            if error.pgcode == errorcodes.INVALID_SQL_STATEMENT_NAME and known:
                connection.prepared.remove(name)
            elif error.pgcode == errorcodes.DUPLICATE_PREPARED_STATEMENT and not known:
                connection.prepared.add(name)
            else:
                raise
