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
from postgres.database import code_of, fetch_all, pool

T = TypeVar("T")

_PARAMETER = re.compile(r"%\((\w+)\)s")
# PostgreSQL's codes for a statement that isn't prepared, and for a plan that it kept and can't use
# because a migration has changed the type of a column.
_UNUSABLE = (errorcodes.INVALID_SQL_STATEMENT_NAME, errorcodes.FEATURE_NOT_SUPPORTED)
# A plan that is made while a table is small may be kept until it is large. So none may read a table
# from its beginning to its end, as is best for a small one.
BY_INDEX = "SET LOCAL enable_seqscan = off;"


class Prepared:
    """Statements that are prepared together on each connection that executes one of them.

    A message that executes several must do so in their order.

    `statements` maps their names to their texts, and `execute` to the EXECUTE of each, which takes
    the same parameters, as %(name)s.
    """

    def __init__(self, types: Mapping[str, str], **statements: str) -> None:
        """`types` are those of all parameters. Each statement must have a parameter."""
        # A PgBouncer keeps connections, so a name must stand for exactly these statements, and for
        # none of another version of the product.
        digest = hashlib.sha256(repr((types, statements)).encode()).hexdigest()
        self.name = f"email_batch_{digest[:16]}"
        self.statements = statements
        self.execute: dict[str, str] = {}
        steps: list[str] = []
        for key, sql in statements.items():
            name, parameters = f"{self.name}_{key}", [*dict.fromkeys(_PARAMETER.findall(sql))]
            declared = ", ".join(types[each] for each in parameters)
            arguments = ", ".join(f"%({each})s::{types[each]}" for each in parameters)
            body = sql
            for place, each in enumerate(parameters, 1):
                body = body.replace(f"%({each})s", f"${place}")
            steps.append(
                f"IF EXISTS (SELECT FROM pg_prepared_statements WHERE name = '{name}')"
                f" THEN DEALLOCATE {name}; END IF;\n"
                f"EXECUTE $prepare$PREPARE {name} ({declared}) AS {body}$prepare$;\n"
            )
            self.execute[key] = f"EXECUTE {name} ({arguments})"
        # In reverse order: where one is prepared, all after it are. So if any is missing, it is the
        # first one of a message that fails.
        self._prepare = f"DO $do$ BEGIN\n{''.join(reversed(steps))}END $do$;\n"

    def run(self, connection: Connection, send: Callable[[str], T]) -> T:
        """Return what `send` returns.

        send: sends a message that executes some of the statements, and is given what it must begin
            with, among that BY_INDEX for its first transaction. It is called again if PostgreSQL
            can't execute one of them, so the first one must come before anything that mustn't be
            done twice.

        A connection may not have what this process believes to be prepared there: behind a
        PgBouncer, each transaction may be on another connection to the server.
        """
        if self.name in connection.prepared:
            try:
                return send(BY_INDEX)
            except (DatabaseError, psycopg2.DatabaseError) as error:
                if code_of(error) not in _UNUSABLE:
                    raise
            connection.prepared.discard(self.name)
            if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
                with connection.cursor() as cursor:  # the connection may be another than the pool's
                    cursor.execute("ROLLBACK")
        answer = send(f"{self._prepare}{BY_INDEX}")
        connection.prepared.add(self.name)
        return answer

    def fetch_one(self, name: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Execute a statement in this thread's session, and return its first row, if any."""
        rows = self.fetch_all(name, parameters)
        return rows[0] if rows else None

    def fetch_all(self, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute a statement in this thread's session, and return its rows."""
        connection = pool.connection()
        if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            # If it isn't prepared there, the error would end the transaction.
            return fetch_all(self.statements[name], parameters)
        execute = self.execute[name]
        return self.run(connection, lambda head: fetch_all(f"{head}{execute}", parameters))
