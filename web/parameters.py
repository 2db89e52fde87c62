"""Checked parameters of the current request's query string."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeVar

from bottle import request

from web.problems import Problem

Default = TypeVar("Default", int, None)


def whole_number(text: str) -> int | None:
    """Return the number in a text of 1 to 19 digits; None for any other text."""
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def number_from_query(name: str, default: Default, most: int, *, least: int = 1) -> int | Default:
    """Return a whole number, or the default if the parameter is missing. Raises Problem."""
    text = request.query.get(name)
    if text is None:
        return default
    number = whole_number(text)
    if number is None or not least <= number <= most:
        raise bad_parameter(name, f"be a whole number from {least} to {most}")
    return number


def choice_from_query(name: str, choices: Collection[str]) -> str | None:
    """Return one of the choices, or None if the parameter is missing or empty. Raises Problem."""
    text: str = request.query.getunicode(name) or ""
    if not text:
        return None
    if text not in choices:
        raise bad_parameter(name, f"be one of {', '.join(choices)}")
    return text


def text_from_query(name: str, most: int) -> str:
    """Return a text of up to `most` characters, empty if it is missing. Raises Problem."""
    text: str = request.query.getunicode(name) or ""
    if len(text) > most or "\0" in text:
        raise bad_parameter(name, f"have at most {most} characters, and no NUL")
    return text


def bad_parameter(name: str, condition: str) -> Problem:
    """Return the problem of a parameter that must meet the condition, such as `be a number`."""
    return Problem(400, "bad_parameter", f"{name} must {condition}.", parameter=name)
