"""Protection against cross-site request forgery, by the headers that browsers send."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from web.problems import Problem, is_api

_SAFE = ("GET", "HEAD", "OPTIONS")


def refuse_others(environ: dict[str, Any], allowed: Collection[str]) -> None:
    """Raise Problem if a page of another origin sent a request that may change something.

    Browsers send the page's origin in Origin and, over HTTPS or to the machine they run on, also
    Sec-Fetch-Site. A client that sends neither is not a browser. `allowed` origins may use the API.
    """
    if environ["REQUEST_METHOD"] in _SAFE:
        return
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin in allowed and is_api(environ["PATH_INFO"]):
        return
    if site is not None:
        # Preferred, because a proxy may have changed the Host that Origin is compared with.
        same = site in ("same-origin", "none")
    else:
        same = origin is None or _is_ours(origin, environ)
    if not same:
        raise Problem(
            403,
            "cross_origin",
            "A page of another origin may not change anything here. To allow its origin, add it to"
            " [server] cors_origins.",
        )


def _is_ours(origin: str, environ: dict[str, Any]) -> bool:
    """Return whether the origin has the host that we, or a trusted proxy, were asked for."""
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    hosts = {environ.get("HTTP_HOST"), environ.get("HTTP_X_FORWARDED_HOST")} - {None, ""}
    return host in hosts
