"""Headers of every response: restrictions for browsers, and permissions for origins (CORS)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from web.problems import is_api

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SECURITY_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]

# The answer to a browser that asks what a page of an allowed origin may do.
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "GET, POST, DELETE"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID"),
    ("Access-Control-Max-Age", "600"),
]


def with_headers(app: WsgiApp, origins: tuple[str, ...]) -> WsgiApp:
    """Add the security headers to every response, and headers that let `origins` use the API."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = list(SECURITY_HEADERS)
        if is_api(environ["PATH_INFO"]):
            headers.append(("Vary", "Origin"))
            if environ.get("HTTP_ORIGIN") in origins:
                headers += [
                    ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
                    ("Access-Control-Allow-Credentials", "true"),
                    ("Access-Control-Expose-Headers", "Location, Retry-After"),
                ]
                if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
                    headers += _PREFLIGHT
                    if environ["REQUEST_METHOD"] == "OPTIONS":
                        start_response("204 No Content", headers)
                        return []

        def start(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, given + headers, exc_info)

        return app(environ, start)

    return application
