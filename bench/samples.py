"""The lists that are uploaded: invented, the same for the same size, each address once.

5 % of the rows are odd: malformed in several ways, or with a name around the address. A few are
risky.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from email_validator import EmailNotValidError, validate_email

SEED = 20_240_229
ODD_SHARE = 0.05
# One row in so many has a role account, such as info@.
ROLE_EVERY = 500
# Rows that are joined at once, so that no list of a million strings is in memory.
PIECE = 50_000
BOUNDARY = "a-boundary-of-the-benchmark"
# The columns beside the addresses, as the field `columns` of an upload names them.
COLUMNS = "name,city"
_FORM_END = f"\r\n--{BOUNDARY}--\r\n".encode()
# The batch id of a floor's rows. The tables are empty then; the product's ids come later.
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
# Malformed addresses, each made of a unique local part and a domain.
_MALFORMED = (
    "{local}.{domain}",
    "{local}@@{domain}",
    "{local}..x@{domain}",
    ".{local}@{domain}",
    "{local} x@{domain}",
    "{local}@intranet",
    "{local}@",
    "{local}@-bad.com",
    "{local}@a-name-that-is-longer-than-any-part-of-a-domain-may-be-in-the-dns.com",
)
_ODD = (*_MALFORMED, "Somebody <{local}@{domain}>")


@dataclass(frozen=True)
class Sample:
    """A list of addresses as the body of an upload, and its expected outcome.

    `malformed` of the `rows` addresses are malformed. `copy_text` has the same rows in COPY's form
    for the columns batch_id, id, email and row_number; empty unless requested.
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
    """Return a list of this many rows, the same each time."""
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
    body += _FORM_END
    return Sample(rows, malformed, last, bytes(body), bytes(text))


def at_other_domains(sample: Sample) -> Sample:
    """Return the same list at other domains; the few well-known ones stay.

    Its `last` and `copy_text` are empty.
    """
    body = sample.body.replace(b"@firm", b"@shop")
    return Sample(sample.rows, sample.malformed, "", body, b"")


def at_domains(rows: int, domains: Sequence[str]) -> Sample:
    """Return a list of well-formed addresses at all of these domains, in no order."""
    places = [number % len(domains) for number in range(rows)]
    random.Random(SEED).shuffle(places)
    addresses = [
        f"{_FIRST[n % len(_FIRST)]}.{_LAST[n % len(_LAST)]}{n}@{domains[place]}"
        for n, place in enumerate(places, start=1)
    ]
    text = "".join(
        f"{address},Somebody,{_CITIES[n % len(_CITIES)]}\n" for n, address in enumerate(addresses)
    )
    body = _form_head(rows) + text.encode() + _FORM_END
    return Sample(rows, 0, addresses[-1], body, b"")


def _form_head(rows: int) -> bytes:
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="list-{rows}.csv"'
        f"\r\nContent-Type: text/csv\r\n\r\nemail,{COLUMNS}\n"
    ).encode()


def _people(rows: int) -> Iterator[tuple[str, str, bool]]:
    """Yield (address, the other columns, whether the address is malformed)."""
    chance = random.Random(SEED).random
    roles = odd = 0
    for number in range(1, rows + 1):
        first = _FIRST[int(chance() * len(_FIRST))]
        last = _LAST[int(chance() * len(_LAST))]
        domain = DOMAINS[int(chance() * len(DOMAINS))]
        rest = f"{first.title()} {last.title()},{_CITIES[number % len(_CITIES)]}"
        if number % ROLE_EVERY == ROLE_EVERY // 2:
            turn, place = divmod(roles, len(DOMAINS))
            roles += 1
            # A list longer than all pairs of roles and domains gets numbered roles.
            role = _ROLES[turn] if turn < len(_ROLES) else f"info{turn}"
            yield f"{role}@{DOMAINS[place]}", rest, False
        elif chance() < ODD_SHARE:
            way = _ODD[odd % len(_ODD)]
            odd += 1
            address = way.format(local=f"{first}.{last}{number}", domain=domain)
            yield address, rest, way in _MALFORMED
        else:
            yield f"{first}.{last}{number}@{domain}", rest, False


def _assert_malformed() -> None:
    """Assert that the check finds the malformed addresses malformed."""
    for way in _MALFORMED:
        address = way.format(local="anna.haas7", domain=DOMAINS[-1])
        try:
            validate_email(address, check_deliverability=False)
        except EmailNotValidError:
            continue
        raise AssertionError(f"{address} is not malformed")
