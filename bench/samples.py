"""The lists that are uploaded: made up, the same for the same size, each address once.

Of the rows 5 % are malformed, in several ways; a few are risky. Nothing is looked up anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from email_validator import EmailNotValidError, validate_email

SEED = 20_240_229
MALFORMED_SHARE = 0.05
# One row in so many is a role's, such as info@.
ROLE_EVERY = 500
# Rows that are put together at once, so that no list of a million strings is held.
PIECE = 50_000
BOUNDARY = "a-boundary-of-the-benchmark"
# The batch that a floor's rows have. Tables are empty before, and the product's ids come later.
FLOOR_BATCH = 1

_FIRST, _LAST, _CITIES, _ROLES, _WELL_KNOWN, _ENDINGS = (
    line.split()
    for line in """
anna ben clara david emma felix greta hugo ida jonas klara leo mia noah olga paul
schmidt meyer rossi dubois novak silva larsen jones kowalski garcia popov haas
Berlin Paris Roma Praha Lisboa Oslo London Gdansk Sevilla Wien Graz Aachen
info office sales support billing
gmail.com gmx.de web.de outlook.com yahoo.com gmial.com mailinator.com
.de .com .org .net .fr .it .es .at .ch .eu
""".strip().split("\n")
)
DOMAINS = [
    *_WELL_KNOWN,
    *(f"firm{n:04}{_ENDINGS[n % len(_ENDINGS)]}" for n in range(5000 - len(_WELL_KNOWN))),
]
# Ways to be malformed, of a local part that nobody else has and a domain.
_MALFORMED = (
    "{local}.{domain}",
    "{local}@@{domain}",
    "{local}..x@{domain}",
    ".{local}@{domain}",
    "{local} x@{domain}",
    "{local}@intranet",
    "{local}@",
    "{local}@-bad.com",
    "Somebody <{local}@{domain}>",
    "{local}@a-name-that-is-longer-than-any-part-of-a-domain-may-be-in-the-dns.com",
)


@dataclass(frozen=True)
class Sample:
    """A list of `rows` addresses as the body of an upload, and what must come of it.

    `malformed` of them fail a check of their syntax. `copy_text` has the same rows as COPY takes
    them for the columns batch_id, id, email and row_number; empty unless it was asked for.
    """

    rows: int
    malformed: int
    last: str
    body: bytes = field(repr=False)
    copy_text: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={BOUNDARY}"


def make(rows: int, *, copy_text: bool = False) -> Sample:
    """A list of this many rows; the same each time."""
    _assert_malformed()
    body, text = bytearray(_form_head(rows)), bytearray()
    malformed, number, last = 0, 0, ""
    people = _people(rows)
    while piece := list(islice(people, PIECE)):
        malformed += sum(bad for _, _, bad in piece)
        body += "".join(f"{address},{rest}\n" for address, rest, _ in piece).encode()
        if copy_text:
            text += "".join(
                # The header is the file's first line.
                f"{FLOOR_BATCH}\t{n}\t{address}\t{n + 1}\n"
                for n, (address, _, _) in enumerate(piece, start=number + 1)
            ).encode()
        number += len(piece)
        last = piece[-1][0]
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    return Sample(rows, malformed, last, bytes(body), bytes(text))


def _form_head(rows: int) -> bytes:
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="list-{rows}.csv"'
        "\r\nContent-Type: text/csv\r\n\r\nemail,name,city\n"
    ).encode()


def _people(rows: int) -> Iterator[tuple[str, str, bool]]:
    """Address, the other columns, and whether the address is malformed."""
    chance = random.Random(SEED).random
    roles = malformed = 0
    for number in range(1, rows + 1):
        first = _FIRST[int(chance() * len(_FIRST))]
        last = _LAST[int(chance() * len(_LAST))]
        domain = DOMAINS[int(chance() * len(DOMAINS))]
        rest = f"{first.title()} {last.title()},{_CITIES[number % len(_CITIES)]}"
        if number % ROLE_EVERY == ROLE_EVERY // 2:
            turn, place = divmod(roles, len(DOMAINS))
            roles += 1
            # Of a list that is longer than there are roles and domains, they are told apart.
            role = _ROLES[turn] if turn < len(_ROLES) else f"info{turn}"
            yield f"{role}@{DOMAINS[place]}", rest, False
        elif chance() < MALFORMED_SHARE:
            way = _MALFORMED[malformed % len(_MALFORMED)]
            malformed += 1
            yield way.format(local=f"{first}.{last}{number}", domain=domain), rest, True
        else:
            yield f"{first}.{last}{number}@{domain}", rest, False


def _assert_malformed() -> None:
    """What counts as malformed here must be so for the package that decides it."""
    for way in _MALFORMED:
        address = way.format(local="anna.haas7", domain=DOMAINS[-1])
        try:
            validate_email(address, check_deliverability=False)
        except EmailNotValidError:
            continue
        raise AssertionError(f"{address} is not malformed")
