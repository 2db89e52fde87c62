"""Shows the numbers and dates of a workbook (XLSX, XLS) by the formats of their cells.

Only plain formats are followed: those that pad whole numbers or put text around them (`00000`,
`000-00-0000`), and dates and times of digits (`dd.mm.yyyy hh:mm`). Formats that round a number, or
that every country writes in another way, are not: the number itself, or the date as ISO 8601 has
it, says more.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from html import unescape
from typing import Any

# Returns the text that a cell shows; None if the number is better shown as it is.
Show = Callable[[float], str | None]

# The most formats that are looked at.
MAX_FORMATS = 4096
# Larger numbers have more digits than a spreadsheet keeps.
_LARGEST = 10**15
# Days of the year 9999 and before.
_DAYS = 2_950_000
_FORMAT = re.compile(rb"<(?:\w+:)?numFmt\s([^<>]*)>")
_STYLE = re.compile(rb"<(?:\w+:)?xf\b([^<>]*)>")
_NUMBER_ID = re.compile(rb'\bnumFmtId="([0-9]{1,9})"')
_CODE = re.compile(rb'\bformatCode="([^"]*)"')
# A quoted text, an escaped character, a token of dates, a digit, or any other character.
_TOKEN = re.compile(r'"[^"]*"|\\.|AM/PM|am/pm|[yY]+|[mM]+|[dD]+|[hH]+|[sS]+|[0#]|.', re.S)
# Characters that stand for themselves in a format without quotes.
_PLAIN = frozenset(" -+/():!^&'~{}=<>$")
# A country that a format begins with; the text between brackets may also be a condition or colour.
_COUNTRY = re.compile(r"^\[\$-[0-9A-Fa-f]+\]")
_DATE = {
    "yyyy": "{0:%Y}",
    "yy": "{0:%y}",
    "mm": "{0:%m}",
    "m": "{0.month}",
    "dd": "{0:%d}",
    "d": "{0.day}",
    "hh": "{0:%H}",
    "h": "{0.hour}",
    "ss": "{0:%S}",
    "s": "{0.second}",
}
_TWELVE = {"hh": "{0:%I}", "h": "{1}"}
_MINUTES = {"mm": "{0:%M}", "m": "{0.minute}"}


def shows(styles: bytes, *, since_1904: bool) -> dict[int, Show]:
    """Return how a cell of each style shows numbers; only styles with a plain format are in it.

    styles: the part xl/styles.xml.
    since_1904: whether days are counted from 1904 on, as old Macs did.
    """
    found: dict[int, Show] = {}
    by_id: dict[bytes, Show] = {}
    for attributes in _FORMAT.findall(styles)[:MAX_FORMATS]:
        number, code = _NUMBER_ID.search(attributes), _CODE.search(attributes)
        if number and code:
            show = of_code(unescape(code[1].decode("utf-8", "replace")), since_1904=since_1904)
            if show:
                by_id[number[1]] = show
    of_cells = styles.partition(b"cellXfs")[2].partition(b"cellXfs")[0]
    for index, attributes in enumerate(_STYLE.findall(of_cells) if by_id else ()):
        number = _NUMBER_ID.search(attributes)
        if number and number[1] in by_id:
            found[index] = by_id[number[1]]
    return found


def of_code(code: str, *, since_1904: bool = False) -> Show | None:
    """Return how a format shows numbers; None if it isn't a plain one."""
    tokens = _TOKEN.findall(_COUNTRY.sub("", code.split(";")[0]))
    if len(tokens) > 100:
        return None
    if any(token.lower() in _DATE for token in tokens):
        return _date(tokens, since_1904)
    return _whole_number(tokens)


def _literal(token: str, more: frozenset[str] = frozenset()) -> str | None:
    """Return the text that a token stands for; None if it means something else."""
    if token[0] == '"' and len(token) > 1:
        return token[1:-1]
    if token[0] == "\\" and len(token) == 2:
        return token[1]
    return token if token in _PLAIN or token in more else None


def _whole_number(tokens: list[str]) -> Show | None:
    """Return how a format of digits and texts shows whole numbers."""
    texts = ["" if _is_digit(token) else _literal(token) for token in tokens]
    digits = [place for place, token in enumerate(tokens) if _is_digit(token)]
    zeros = "".join(tokens[place] for place in digits).lstrip("#")
    if None in texts or not digits or "#" in zeros:
        return None
    if len(zeros) < 2 and len(digits) == len(tokens):
        return None  # shows a number as it is

    def show(number: float) -> str | None:
        if not 0 <= number < _LARGEST or number != int(number):
            return None
        text = str(int(number)).zfill(len(zeros)).rjust(len(digits))
        more = len(text) - len(digits)  # those before the first place
        shown = [*map(str, texts)]
        for nth, place in enumerate(digits):
            shown[place] = text[more + nth if nth else 0 : more + nth + 1].strip()
        return "".join(shown)

    return show


def _is_digit(token: str) -> bool:
    return token in ("0", "#")


def _date(tokens: list[str], since_1904: bool) -> Show | None:
    """Return how a format of a date or time of digits shows days since the beginning of 1900."""
    tokens = [token.lower() if token.isalpha() or token == "AM/PM" else token for token in tokens]  # noqa: S105
    known = [token for token in tokens if _is_date(token)]
    pattern, at = "", 0
    for token in tokens:
        if _is_date(token):
            pattern += _piece(known, at)
            at += 1
        elif (text := _literal(token, frozenset(".,"))) is not None:
            pattern += text.replace("{", "{{").replace("}", "}}")
        else:
            return None
    # Before March 1900, Excel's days are one off; a time has no day.
    least = 61 if any(token[0] in "yd" for token in known) and not since_1904 else 0
    epoch = datetime.datetime(1904, 1, 1) if since_1904 else datetime.datetime(1899, 12, 30)

    def show(number: float) -> str | None:
        if not least <= number < _DAYS:
            return None
        moment = epoch + datetime.timedelta(seconds=round(number * 86_400))
        half = "AM" if moment.hour < 12 else "PM"
        return pattern.format(moment, (moment.hour + 11) % 12 + 1, half)

    return show


def _is_date(token: str) -> bool:
    return token in _DATE or token == "am/pm"  # noqa: S105


def _piece(known: list[str], at: int) -> str:
    """Return the pattern of a token: m stands for minutes behind h and before s."""
    token = known[at]
    if token == "am/pm":  # noqa: S105
        return "{2}"
    if token in _MINUTES:
        before = known[at - 1] if at else ""
        after = known[at + 1] if at + 1 < len(known) else ""
        if before.startswith("h") or after.startswith("s"):
            return _MINUTES[token]
    if token in _TWELVE and "am/pm" in known:
        return _TWELVE[token]
    return _DATE[token]


def plain(cell: Any) -> str:
    """Return the text of a cell without a format, about as a spreadsheet shows it."""
    return _TEXTS.get(type(cell), str)(cell)


def _number(cell: float) -> str:
    return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)


def _moment(cell: datetime.datetime) -> str:
    return str(cell.date() if cell.time() == datetime.time() else cell)


_TEXTS: dict[type, Callable[[Any], str]] = {
    float: _number,
    bool: lambda cell: "TRUE" if cell else "FALSE",
    datetime.datetime: _moment,
}
