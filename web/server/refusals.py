"""Answers to requests that waitress refuses before the application sees them."""

from __future__ import annotations

from waitress.task import ErrorTask

from runtime import logs
from web.problems import (
    CHALLENGE,
    DETAILS,
    MEDIA_TYPE,
    RETRY_AFTER,
    document,
    heading_of,
    is_api,
    title_of,
)
from web.server import request_log
from web.server.answers import HeadWithBody
from web.server.headers import SECURITY_HEADERS

# Further headers by status.
_HEADERS = {401: [("WWW-Authenticate", CHALLENGE)], 503: [("Retry-After", RETRY_AFTER)]}


class Refusal(HeadWithBody, ErrorTask):  # type: ignore[misc]
    """Answers a refused request as the application would: with problem+json or a page."""

    def execute(self) -> None:
        error = self.request.error
        method, path = self.request.asked
        detail = getattr(error, "detail", None)
        logs.REQUEST.set(request_log.new_id())
        if is_api(path):
            media_type, text = MEDIA_TYPE, document(error.code, None, detail)
        else:
            media_type, text = "text/html; charset=utf-8", _plain_page(error.code, detail)
        body = text.encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", media_type),
            (request_log.HEADER, logs.REQUEST.get()),
            *SECURITY_HEADERS,
            *_HEADERS.get(error.code, ()),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        request_log.log(
            method, path, error.code, self.request.received_at, "-", self.channel.addr[0]
        )
        logs.REQUEST.set("")


def _plain_page(status: int, detail: str | None) -> str:
    """Return a page without anything that the client sent."""
    heading = heading_of(status)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f"<h1>{heading}</h1><p>{detail or DETAILS.get(status, '')}</p>"
        f"<p>{status} {title_of(status)}. Request {logs.REQUEST.get()}</p></html>\n"
    )
