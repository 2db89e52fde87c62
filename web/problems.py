"""Error responses: problem+json (RFC 9457) under /api/, and a page elsewhere."""

from __future__ import annotations

import errno
import json
import re
from http.client import responses
from typing import Any

import bottle

from runtime import descriptors, logs

MEDIA_TYPE = "application/problem+json"
# Seconds for Retry-After: when a client may repeat a request that was refused for now.
RETRY_AFTER = "5"

# The details of errors that have only a status.
DETAILS = {
    400: "The request is malformed.",
    401: "Sign in with your name and password.",
    404: "There is nothing at this address.",
    405: "This address does not accept the request's method.",
    408: "The request came too slowly and was dropped. Please send it again.",
    413: "The upload is larger than this server accepts. Split the file into smaller ones.",
    431: "The request's headers are too long.",
    500: "Something went wrong on the server; its log has the details. Please try again.",
    501: "The request uses a feature of HTTP that this server does not support.",
    503: "The server has no room for further uploads now. Please try again soon.",
    507: "The server's disk is full, and nothing was stored. Please tell its administrator.",
}

# The headings of pages; those of other statuses are their titles.
_HEADINGS = {
    400: "The server can't make sense of this",
    401: "Please sign in",
    403: "This isn't allowed",
    404: "There is no such page",
    409: "This isn't possible now",
    413: "This is too large",
    415: "This can't be read as a list",
    422: "This can't be read as a list",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "The server can't do this now",
    507: "The server has no room left",
}

# The headings of pages of errors that say more than their status.
_OF_CODES = {
    "no_such_column": "The list has no such column",
    "bad_option": "An option can’t be like this",
    "broken_processor": "This processor can’t be used now",
    "unknown_processor": "There is no such processor",
    "unknown_field": _HEADINGS[400],
}

# A page whose forms post to addresses below its own.
_BATCH = re.compile(r"/batches/\d+(?=/)")

# Titles of RFC 9110 that Python has only from 3.13 on.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

# Errors of writing: the disk is full, or a quota or the process's file size limit is reached.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

logger = logs.Logger("problems")
_shortages = logs.RateLimited(logger)

# The value of WWW-Authenticate, which asks a client to sign in (RFC 7617).
CHALLENGE = 'Basic realm="Email batches", charset="UTF-8"'


class Problem(bottle.HTTPError):  # type: ignore[misc]
    """An error response.

    `code` is a stable name of the error.
    `detail` is a sentence that says what is wrong.
    `members` are further members of the JSON object, such as the file's line; None is left out.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(status, detail, **(headers or {}))
        self.code = code
        self.members = {key: value for key, value in members.items() if value is not None}


def try_later(status: int, code: str, detail: str) -> Problem:
    """Return the problem of a request that a client may repeat after RETRY_AFTER seconds."""
    return Problem(status, code, detail, headers={"Retry-After": RETRY_AFTER})


def disk_full(error: BaseException) -> Problem:
    """Log that the disk is full, and return the problem to answer with."""
    logger.error("the disk is full", error=error)
    return Problem(507, "insufficient_storage", DETAILS[507])


def of_system(error: BaseException) -> Problem | None:
    """Log a full disk or a lack of file descriptors, and return the problem to answer with.

    Returns None for any other error.
    """
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return disk_full(error)
    if not descriptors.ran_out(error):
        return None
    _shortages.warning("no file descriptor is left", error=error)
    detail = "The server has as many files and connections open as it may. Please try again soon."
    return try_later(503, "too_many_open_files", detail)


def is_api(path: str) -> bool:
    """Return whether the path is one of the API, whose errors are JSON."""
    return path.startswith("/api/")


def title_of(status: int) -> str:
    """Return the title of a status, as RFC 9110 has it."""
    return _TITLES.get(status) or responses.get(status, "Error")


def heading_of(status: int, code: str | None = None) -> str:
    """Return the heading of the page of an error, as people say it."""
    return _OF_CODES.get(code or "") or _HEADINGS.get(status) or title_of(status)


def _way_back(status: int) -> str:
    """Return the address of the page whose form led to the error of the current request."""
    batch = _BATCH.match(bottle.request.path)
    return batch[0] if batch and status != 404 else "/"


def document(status: int, code: str | None, detail: str | None, **members: object) -> str:
    """Return an error of the current request as problem+json."""
    title = title_of(status)
    return json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": code or title.lower().replace(" ", "_").replace("-", "_"),
            "detail": detail or DETAILS.get(status, f"{title}."),
            "requestId": logs.REQUEST.get(),
            **members,
        }
    )


def render(error: bottle.HTTPError, **page: Any) -> str:
    """Return the body of the response to a request that failed. Bottle's error handler.

    `page` has the variables of the layout that all pages share.
    """
    status = error.status_code
    if isinstance(error, Problem):
        code, detail, members = error.code, str(error.body), error.members
    else:
        code, detail, members = None, None, {}
    if is_api(bottle.request.path):
        bottle.response.content_type = MEDIA_TYPE
        return document(status, code, detail, **members)
    body: str = bottle.template(
        "error",
        status=status,
        title=title_of(status),
        heading=heading_of(status, code),
        back=_way_back(status),
        detail=detail or DETAILS.get(status, ""),
        request_id=logs.REQUEST.get(),
        **page,
    )
    return body
