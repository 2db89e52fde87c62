"""Bottle's hooks: checks before each handler, and responses to the errors that handlers raise."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote_to_bytes

import bottle
from bottle import request, response

from postgres import database
from runtime import logs
from web import problems
from web.access import origins
from web.problems import Problem
from web.services import Services

logger = logs.Logger("app")


class Hooks:
    """The hooks of all routes. One object serves all request threads."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def admit(self) -> None:
        """Admit the current request, or raise Problem. Runs before each handler."""
        response.set_header("Cache-Control", "no-store")  # handlers of static files replace this
        self._services.access.admit()
        _refuse_broken_address(request.environ["bottle.raw_path"], request.query_string)
        origins.refuse_others(request.environ, self._services.settings.server.cors_origins)

    def answer_problems(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Log any error of the handler and raise a Problem in its place; a Bottle plugin."""

        @wraps(callback)
        def answer(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except bottle.HTTPResponse:
                raise
            except database.UNREACHABLE as error:
                raise self._unreachable(error) from error
            except Exception as error:
                if problem := problems.of_system(error):
                    raise problem from error
                logger.exception("request failed", path=request.path)
                raise Problem(500, "internal_error", problems.DETAILS[500]) from error

        return answer

    def _unreachable(self, error: BaseException) -> Problem:
        if database.is_full(error):
            return problems.disk_full(error)
        if problem := problems.of_system(error):
            return problem
        if database.is_limit(error):
            logger.error("the database's limit was reached", error=error)
            detail = (
                f"The database server ended a statement of this request: {logs.said(error)}. Trying"
                " again will not help until the server's administrator has raised that limit."
            )
            return Problem(503, "database_timeout", detail)
        if database.is_busy(error) and not self._services.postgres.lasting:
            logger.warning("a request got no connection in time", path=request.path)
            detail = "The server has too much to do at the moment. Please try again soon."
            return problems.try_later(503, "busy", detail)
        self._services.postgres.begin(error)
        detail = "The database can't be reached. Please try again soon."
        if database.is_read_only(error):
            detail = "The database can only be read at the moment. Please try again soon."
        return problems.try_later(503, "database_unreachable", detail)


def _refuse_broken_address(path: str, query: str) -> None:
    """Raise Problem for an address that is not UTF-8, because Bottle drops such bytes.

    Otherwise a path with such bytes in /metrics would reach /metrics past a proxy that blocks it,
    and a search for nothing but such bytes would find everything.
    """
    for code, text in (
        ("bad_path", path.encode("latin-1")),  # WSGI has the path's bytes as Latin-1
        ("bad_parameter", unquote_to_bytes(query)),
    ):
        try:
            text.decode()
        except UnicodeDecodeError:
            detail = "The address has bytes that are not UTF-8."
            raise Problem(400, code, detail) from None
