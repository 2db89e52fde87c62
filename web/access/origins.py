"""Which pages may make a browser change something here: our own, and those of allowed origins."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from web.problems import Problem

_SAFE = ("GET", "HEAD", "OPTIONS")


def refuse_others(environ: dict[str, Any], allowed: Collection[str]) -> None:
    """Raises Problem for a change that another origin's page asks for.

    A browser says where the page is from: by Sec-Fetch-Site, to servers that it trusts (HTTPS, or
    this machine), and by Origin. Who says neither is no browser. An allowed origin may use the API.
    """
    if environ["REQUEST_METHOD"] in _SAFE:
        return
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin in allowed and environ["PATH_INFO"].startswith("/api/"):
        return
    if site is not None:
        # Then Origin need not be compared, for a proxy may have changed Host.
        same = site in ("same-origin", "none")
    else:
        same = origin is None or _is_ours(origin, environ)
    if not same:
        raise Problem(
            403,
            "cross_origin",
            "A page of another origin may not change anything here. Its origin can be allowed by"
            " [server] cors_origins.",
        )


def _is_ours(origin: str, environ: dict[str, Any]) -> bool:
    """Whether the origin is at the host that was asked, or that a trusted proxy was asked for."""
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    hosts = {environ.get("HTTP_HOST"), environ.get("HTTP_X_FORWARDED_HOST")} - {None, ""}
    return host in hosts
