"""Errors as people and programs are to see them: a page, or RFC 9457 problem+json under /api/."""

from __future__ import annotations

import errno
import json
from http import HTTPStatus
from typing import Any

import bottle

from runtime import descriptors, logs

MEDIA_TYPE = "application/problem+json"
# Seconds after which a client is asked to try again what was refused for now.
RETRY_AFTER = "5"

# What to say where all that is known is the status.
DETAILS = {
    400: "The request is malformed.",
    401: "Sign in with your name and password.",
    404: "There is nothing at this address.",
    405: "This address does not answer to that method.",
    408: "The request came too slowly, and was given up. Please send it again.",
    413: "The upload is larger than this server accepts. Split the file into smaller ones.",
    431: "The request's headers are too long.",
    500: "Something went wrong on the server; its log says what. Please try again.",
    501: "The request uses a feature of HTTP that this server does not have.",
    503: "The server receives as many uploads as it has room for. Please try again soon.",
    507: "The server's disk is full, and nothing was stored. Please tell who runs it.",
}


# Titles as RFC 9110 has them, which Python has had since 3.13.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

# What a write says that finds no room: on the disk, in a quota, by a limit of the process.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

logger = logs.Logger("problems")
_sparingly = logs.RateLimited(logger)

# How browsers, curl and other programs are told that they have to sign in (RFC 7617).
CHALLENGE = 'Basic realm="Email batches", charset="UTF-8"'


class Problem(bottle.HTTPError):  # type: ignore[misc]
    """An error response with a stable `code` and a sentence that says what is wrong.

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


def disk_full(error: BaseException) -> Problem:
    """The answer to a request for which the disk has no room; it is logged."""
    logger.error("the disk is full", error=error)
    return Problem(507, "insufficient_storage", DETAILS[507])


def of_system(error: BaseException) -> Problem | None:
    """The answer if the operating system has no room for a request, None if it is another error;
    it is logged."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return disk_full(error)
    if not descriptors.ran_out(error):
        return None
    _sparingly.warning("no file descriptor is left", error=error)
    return Problem(
        503,
        "too_many_open_files",
        "The server has as many files and connections open as it may. Please try again soon.",
        headers={"Retry-After": RETRY_AFTER},
    )


def is_api(path: str) -> bool:
    """Return whether errors at this path are told as JSON."""
    return path.startswith("/api/")


def title_of(status: int) -> str:
    """Return the title that belongs to a status, as RFC 9110 has it."""
    try:
        return _TITLES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def document(status: int, code: str | None, detail: str | None, **members: object) -> str:
    """Return the problem+json of an error in the present request."""
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
    """Bottle's error handler: the body of the response to the present request.

    `page` is what the template of all pages needs.
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
        detail=detail or DETAILS.get(status, ""),
        request_id=logs.REQUEST.get(),
        **page,
    )
    return body
