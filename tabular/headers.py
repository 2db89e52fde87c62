"""Finds the header of a table by its names, of which some say that a column has addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

from tabular.addresses import addresses_in, end_of_complete, is_blank

# The first rows among which the header is looked for, their cells, and the longest name.
HEADER_ROWS = 50
HEADER_CELLS = 5_000
NAME_LENGTH = 200
# The first lines that tell whether a text is a list.
LIST_LINES = 200
# Characters of the longest cell that is counted as an address.
MAX_ADDRESS = 320

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Letters at a dot or an @-sign.
_MEANT = re.compile(r"\S*(?:[^\W\d_][.@]|[.@][^\W\d_])\S*")
_WORDS = re.compile(r"[^\W\d_]+")
# Words for email, in lower case and without hyphens and spaces.
_EMAIL = (
    *("email", "mail", "courriel", "mél", "correo", "correoelectrónico", "correoelectronico"),
    *("eposta", "epost", "epostadress", "epasts", "elpaštas", "sähköposti", "sahkoposti"),
    *("postaelettronica", "drukarpost", "tölvupóstur", "ηλεκτρονικόταχυδρομείο"),
    *("электроннаяпочта", "элпочта", "почта", "електроннапошта", "елпошта", "пошта"),
    *("имейл", "имэйл", "邮箱", "电子邮箱", "电子邮件", "邮件", "電子郵件", "電郵", "信箱"),
    *("メール", "eメール", "電子メール", "이메일", "전자우편", "메일", "อีเมล", "อีเมล์", "ईमेल"),
    *("البريدالإلكتروني", "البريدالالكتروني", "بريدإلكتروني", "ایمیل", "דואל", "דואראלקטרוני"),
)
# Words for address, which a name may have before or behind a word for email.
_ADDRESS_WORDS = (
    *("address", "addresses", "addr", "adresse", "adressen", "adres", "adresi", "adresa", "adress"),
    *("indirizzo", "dirección", "direccion", "direcciónde", "direccionde", "endereço", "endereco"),
    *("endereçode", "enderecode", "osoite", "cím", "cime", "naslov", "id", "s", "value"),
    *("адрес", "адреса", "地址", "アドレス", "주소", "عنوان", "כתובת"),
)
_EXACT = {
    *_EMAIL,
    *(email + word for email in _EMAIL for word in _ADDRESS_WORDS),
    *(word + email for email in _EMAIL for word in _ADDRESS_WORDS if len(word) > 2),
}
# A word of more letters that isn't ASCII is found within others, too; any other one must be a word
# by itself.
_SHORT = 5

Row = Sequence[str]


class Rank(IntEnum):
    """How much a name says that its column has addresses."""

    NOTHING = 0
    PART = 1
    EXACT = 2


def rank(name: str) -> Rank:
    """Return how much a name in a header says that its column has addresses."""
    if len(name) > NAME_LENGTH or "@" in name:
        return Rank.NOTHING
    words = _WORDS.findall(name.casefold())
    joined = "".join(words)
    if joined in _EXACT:
        return Rank.EXACT
    alone = {*words, *map("".join, pairwise(words))}
    for word in _EMAIL:
        if word in alone or (len(word) > _SHORT and not word.isascii() and word in joined):
            return Rank.PART
    return Rank.NOTHING


def is_address(text: str) -> bool:
    """Tell whether a text looks like an address."""
    # The pattern takes time that grows with the square of the length.
    return len(text) <= MAX_ADDRESS and _ADDRESS.fullmatch(text) is not None


def has_address(cell: str) -> bool:
    """Tell whether there is an address in a cell."""
    return "@" in cell and any(map(is_address, addresses_in(cell)))


def is_list(start: str, *, whole: bool) -> bool:
    """Tell whether a text is a list: its lines have addresses only, and some have several.

    A list on a single line, as people paste it, may have malformed ones among them.

    start: the first characters of the text.
    whole: whether `start` is all of the text; if not, its last line may go on.
    """
    several = False
    *lines, last = start.split("\n")
    lines.append(last if whole else last[: end_of_complete(last)])
    is_alone = whole and "\n" not in start.strip()
    for line in lines[:LIST_LINES]:
        addresses = addresses_in(line)
        fits = _is_meant_as_address if is_alone else is_address
        if line.count('"') % 2 or not all(map(fits, addresses)):
            return False
        several = several or sum(map(is_address, addresses)) > 1
    return several


def _is_meant_as_address(text: str) -> bool:
    """Tell whether a text is an address or may be a malformed one, as bob.example.org is."""
    return is_address(text) or (len(text) <= MAX_ADDRESS and _MEANT.fullmatch(text) is not None)


def header_index(sample: Sequence[Row], column: str | None) -> tuple[int, bool]:
    """Return the position of the header, and True if its names show that it is one.

    They do if one is a word for email, or is the column that a person named. Without such names
    return the position of the first row that is no title, comment or blank, and False.

    column: what a person named the column with the addresses by; None if nobody did.
    """
    wanted = column.casefold() if column else None
    rows = _first_rows(sample)
    data = next((n for n, row in enumerate(rows) if any(map(has_address, row))), len(rows))
    for position in range(data - 1, -1, -1):
        row = rows[position]
        if any(rank(name) or (wanted and name.strip().casefold() == wanted) for name in row):
            return position, True
    widest = max(map(_filled, rows), default=0)
    for position, row in enumerate(rows[:data]):
        filled = _filled(row)
        if filled and not (filled == 1 < widest or row[0].startswith("#")):
            return position, False
    return (data if data < len(rows) else 0), False


def _first_rows(sample: Sequence[Row]) -> list[Row]:
    """Return the first rows, fewer if they have very many cells."""
    rows: list[Row] = []
    cells = 0
    for row in sample[:HEADER_ROWS]:
        cells += len(row)
        if rows and cells > HEADER_CELLS:
            break
        rows.append(row)
    return rows


def _filled(row: Row) -> int:
    return sum(not is_blank(cell) for cell in row)
