"""Statements that PostgreSQL parses and plans once a connection, and not each time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg2
from peewee import DatabaseError
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from postgres.connections import Connection
from postgres.database import code_of, pool

T = TypeVar("T")

_PARAMETER = re.compile(r"%\((\w+)\)s")
# PostgreSQL's codes for a statement that isn't prepared, and for one that a migration has changed.
_MISSING = (errorcodes.INVALID_SQL_STATEMENT_NAME, errorcodes.FEATURE_NOT_SUPPORTED)


class Prepared:
    """Statements that are prepared together on each connection that executes one of them.

    `execute` has by name what executes a statement in a message, with its parameters as %(name)s.
    """

    def __init__(self, types: Mapping[str, str], **statements: str) -> None:
        """Take statements by name, each with a parameter at least, and the types of parameters."""
        # A PgBouncer keeps connections, so a name must stand for exactly these statements, and for
        # none of another version of the product.
        digest = hashlib.sha256(repr((types, statements)).encode()).hexdigest()
        self.name = f"email_batch_{digest[:16]}"
        self._statements = statements
        self.execute: dict[str, str] = {}
        self._prepare = ""
        for key, sql in statements.items():
            names = [*dict.fromkeys(_PARAMETER.findall(sql))]
            told = ", ".join(types[name] for name in names)
            given = ", ".join(f"%({name})s::{types[name]}" for name in names)
            body = sql
            for place, name in enumerate(names, 1):
                body = body.replace(f"%({name})s", f"${place}")
            # In reverse order: where the first one is prepared, all are.
            self._prepare = f"PREPARE {self.name}_{key} ({told}) AS {body};\n{self._prepare}"
            self.execute[key] = f"EXECUTE {self.name}_{key} ({given})"

    def run(self, connection: Connection, send: Callable[[str], T]) -> T:
        """Return what `send` returns. It sends a message that executes statements of these.

        send: is given what the message must begin with. The first of the statements must be
            executed before anything that a further attempt would repeat.

        Behind a PgBouncer, each transaction may have another connection to the server. Then its
        answer tells what was prepared there, and the message is sent again.
        """
        prepare = self._prepare
        while True:
            known = self.name in connection.prepared
            try:
                answer = send("" if known else prepare)
                connection.prepared.add(self.name)
                return answer
            except (DatabaseError, psycopg2.DatabaseError) as error:
                if known and code_of(error) in _MISSING:
                    connection.prepared.clear()
                    prepare = f"DEALLOCATE ALL;\n{self._prepare}"
                elif not known and code_of(error) == errorcodes.DUPLICATE_PREPARED_STATEMENT:
                    connection.prepared.add(self.name)
                else:
                    raise
            if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")

    def fetch_all(self, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute a statement in this thread's session, and return its rows."""
        connection = pool.connection()
        if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            # An error would end the transaction.
            return list(pool.execute_sql(self._statements[name], parameters).fetchall())
        return self.run(
            connection,
            lambda first: pool.execute_sql(f"{first}{self.execute[name]}", parameters).fetchall(),
        )
