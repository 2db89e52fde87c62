"""A further connection beside that of a thread's session, for what must be on the disk at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from peewee import OperationalError

from postgres.database import POOL_TIMEOUT, UNREACHABLE, limited_to, pool
from postgres.prepared import Prepared

# A role's or a server's own setting must not make a commit return before it is on the disk.
_ON_DISK = "SET LOCAL synchronous_commit = on;"


class NoFurtherError(OperationalError):
    """There is no answer on a further connection: perhaps threads hold all, and wait for it."""

    def __init__(self) -> None:
        super().__init__(
            f"no answer on the journal's connection within {POOL_TIMEOUT} s; work that must not be"
            " repeated needs one connection more than the worker has threads, also of a PgBouncer"
        )


Rows = list[tuple[Any, ...]]
# Runs a statement in a transaction, and returns its rows. A Prepared must be of exactly one
# statement.
Run = Callable[[str | Prepared, Mapping[str, Any]], Rows]


@contextlib.contextmanager
def connection() -> Iterator[Run]:
    """Take a further connection; yield a function that uses it.

    Each call of the function is a transaction that is on the disk when it returns. Raises
    UNREACHABLE, as does the function: NoFurtherError if a call takes over POOL_TIMEOUT, as behind a
    PgBouncer with too few connections.
    """
    further = pool._connect()

    def send(statement: str, parameters: Mapping[str, Any]) -> Rows:
        with further.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: Rows = cursor.fetchall()
            return rows

    def run(statement: str | Prepared, parameters: Mapping[str, Any]) -> Rows:
        with limited_to(further, POOL_TIMEOUT) as current:
            try:
                further.prepare(reads=False)
                head = f"{further.limits}{_ON_DISK}"
                if isinstance(statement, str):
                    return send(f"{head}{statement}", parameters)
                (execute,) = statement.execute.values()
                return statement.run(
                    further, lambda prepare: send(f"{prepare}{head}{execute}", parameters)
                )
            except UNREACHABLE:
                if not current.is_cut:
                    raise
        # Not from the error above, which session() would take for the server's own.
        raise NoFurtherError

    try:
        yield run
    finally:
        pool._close(further)
