"""Checked parameters of the current request's query string."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from bottle import request

from batches.filters import WORDS, Filter
from processors import reasons
from runtime import rate
from runtime.phrases import shorten
from web.problems import Problem

Default = TypeVar("Default", int, None)

# The longest text to search for, in characters: no address is longer (RFC 3696, erratum 1690).
MAX_SEARCHED = 254
# The parameters that filter the emails of a batch, and those that filter all of its rows.
OF_EMAILS = ("verdict", "reason", "status", "q")
FILTERS = (*OF_EMAILS, "kind")


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


def refuse_unknown_parameters(*known: str) -> None:
    """Raise Problem for a parameter that isn't known: ignored, it would change what is stored."""
    for name in request.query:
        if name not in known:
            shown = shorten(name, MAX_SEARCHED)
            takes = f"They are {', '.join(known)}." if known else "Send it as a field of the form."
            detail = f"The address has a parameter {shown!r}, which is unknown. {takes}"
            raise Problem(400, "unknown_parameter", detail, parameter=shown)


def per_minute(text: str) -> int | None:
    """Return the rate that a person has written, None for an empty text. Raises Problem."""
    try:
        return rate.per_minute(text)
    except ValueError as error:
        raise bad_parameter("per_minute", str(error).removeprefix("must ")) from None


def filter_of_emails() -> Filter:
    """Return the filter that the parameters OF_EMAILS make. Raises Problem."""
    reason = request.query.getunicode("reason") or None
    if reason is not None and not reasons.is_code(reason):
        raise bad_parameter("reason", "be the code of a reason, such as no_at_sign")
    return Filter(
        status=choice_from_query("status", WORDS["status"]),
        verdict=choice_from_query("verdict", WORDS["verdict"]),
        reason=reason,
        containing=text_from_query("q", MAX_SEARCHED),
    )


def filter_of_rows(own: Collection[str]) -> Filter:
    """Return the filter that the parameters FILTERS make, or `only`, a word for one of them.

    own: reasons that `only` may name beside those of the catalogue. Raises Problem.
    """
    emails = filter_of_emails()
    kind = choice_from_query("kind", WORDS["kind"])
    only = request.query.getunicode("only") or ""
    if not only and not kind:
        return emails
    word = Filter.named(only, own) if only else Filter(kind=kind)
    if word is None:
        words = ", ".join(word for words in WORDS.values() for word in words)
        raise bad_parameter("only", f"be one of {words}, or a reason, such as no_at_sign")
    if only and (kind or replace(emails, containing="") != Filter()):
        raise bad_parameter("only", "come without verdict, reason, status and kind")
    if word.kind and emails != Filter():
        condition = "come without q, verdict, reason and status if it names rows without an email"
        raise bad_parameter("only" if only else "kind", condition)
    return replace(word, containing=emails.containing)


def bad_parameter(name: str, condition: str) -> Problem:
    """Return the problem of a parameter that must meet the condition, such as `be a number`."""
    return Problem(400, "bad_parameter", f"{name} must {condition}.", parameter=name)
