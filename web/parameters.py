"""The parameters of the query string, checked."""

from __future__ import annotations

import re
from collections.abc import Collection

from bottle import request

from web.problems import Problem


def number_from_query(name: str, default: int | None, most: int, *, least: int = 1) -> int | None:
    """A whole number from the query string. Raises Problem for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise Problem(
            400,
            "bad_parameter",
            f"{name} must be a whole number from {least} to {most}.",
            parameter=name,
        )
    return int(text)


def choice_from_query(name: str, choices: Collection[str]) -> str | None:
    """One of the choices from the query string, None if there is none. Raises Problem."""
    text: str = request.query.getunicode(name) or ""
    if not text:
        return None
    if text not in choices:
        raise Problem(
            400, "bad_parameter", f"{name} must be one of {', '.join(choices)}.", parameter=name
        )
    return text


def text_from_query(name: str, most: int) -> str:
    """A text from the query string, empty if there is none. Raises Problem if it is too long."""
    text: str = request.query.getunicode(name) or ""
    if len(text) > most or "\0" in text:
        raise Problem(
            400,
            "bad_parameter",
            f"{name} must have {most} characters at most, and none of them NUL.",
            parameter=name,
        )
    return text
