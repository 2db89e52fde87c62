# ruff: noqa: E501 (a table of files is easier to read with a file a line)
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support import assert_books_balance, csv_of, emails, query

import intake
from intake import IntakeError, Rows

FILES = {
    "addresses alone": (b"a@x.de\nb@x.de\n", ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "no newline at the end": (b"a@x.de\nb@x.de", ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "header": (b"email\na@x.de\n", ["a@x.de"], Rows(1, 0, 0, 0)),
    "header of another wording": (b" E-Mail Address \na@x.de\n", ["a@x.de"], Rows(1, 0, 0, 0)),
    "header behind blank rows": (b"\n\nEmail\na@x.de\n", ["a@x.de"], Rows(1, 0, 2, 0)),
    "BOM": (b"\xef\xbb\xbfemail\na@x.de\n", ["a@x.de"], Rows(1, 0, 0, 0)),
    "CRLF": (b"email\r\na@x.de\r\nb@x.de\r\n", ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "CR": (b"email\ra@x.de\rb@x.de", ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "several columns, by header": (
        b"name,handle,Email\nAnna,@anna,a@x.de\nBob,@bob,b@x.de\n",
        ["a@x.de", "b@x.de"],
        Rows(2, 0, 0, 0),
    ),
    "several columns, by content": (b"Anna,@anna,a@x.de\nBob,,b@x.de\n", ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "first of two address columns": (b"a@x.de,b@x.de\nc@x.de,d@x.de\n", ["a@x.de", "c@x.de"], Rows(2, 0, 0, 0)),
    "blank rows and cells": (
        b"a@x.de,1\n\n  ,\n,2\n   \nb@x.de,3\n",
        ["a@x.de", "b@x.de"],
        Rows(2, 0, 3, 1),
    ),
    "short rows": (b"name,email\nAnna\nBob,b@x.de\n", ["b@x.de"], Rows(1, 0, 0, 1)),
    "spaces around": ("  a@x.de \t\n\u00a0b@x.de\n".encode(), ["a@x.de", "b@x.de"], Rows(2, 0, 0, 0)),
    "duplicates, whatever their case": (
        b"a@x.de\nA@X.DE\nb@x.de\na@x.de\n",
        ["a@x.de", "b@x.de"],
        Rows(2, 2, 0, 0),
    ),
    "quoted cells": (b'name,email\n"Roe, R.","r@x.de"\n', ["r@x.de"], Rows(1, 0, 0, 0)),
    "a quoted line break": (b'a@x.de\n"b@x.de\nc@x.de"\nd@x.de\n', ["a@x.de", "b@x.de\nc@x.de", "d@x.de"], Rows(3, 0, 0, 0)),
    "malformed addresses are emails": (b"email\nanna\na@@x\n", ["anna", "a@@x"], Rows(2, 0, 0, 0)),
    "what COPY would take for something else": (
        b"email\na\\n@x.de\n\\.\n\"tab\there@x.de\"\n\\N\n",
        ["a\\n@x.de", "\\.", "tab\there@x.de", "\\N"],
        Rows(4, 0, 0, 0),
    ),
    "other scripts": ("jürgen@müller.de\n用户@例子.广告\n".encode(), ["jürgen@müller.de", "用户@例子.广告"], Rows(2, 0, 0, 0)),
}  # fmt: skip


def store(content: bytes, **options):
    options = {"chunk_size": 5000, "max_rows": 1000, **options}
    return intake.store(BytesIO(content), "list.csv", **options)


@pytest.mark.parametrize(("content", "addresses", "rows"), FILES.values(), ids=FILES)
def test_every_row_of_a_file_is_accounted_for(database, content, addresses, rows):
    batch = store(content)
    assert [email for email, _, _ in emails(batch.id)] == addresses
    assert batch.total_emails == rows.emails
    assert query(
        "SELECT total_emails, total_rows, duplicate_rows, blank_rows, rows_without_address, status"
        " FROM batch"
    ) == [(rows.emails, rows.total, rows.duplicates, rows.blank, rows.without_address, "pending")]
    assert_books_balance()


def test_each_email_has_the_line_that_its_row_begins_on(database):
    store(b'email,note\na@x.de,\n\nb@x.de,"two\nlines"\nc@x.de,\n')
    assert query("SELECT email, row_number FROM email ORDER BY id") == [
        ("a@x.de", 2),
        ("b@x.de", 4),
        ("c@x.de", 6),
    ]


ADDRESSES = b"".join(b"user%d@x.de\n" % number for number in range(30_000))
REFUSED = {
    "empty": (b"", "empty_file", 422, None),
    "a BOM alone": (b"\xef\xbb\xbf", "empty_file", 422, None),
    "blank rows alone": (b"\n\n  \n", "no_address", 422, None),
    "a header alone": (b"email\n", "no_address", 422, None),
    "no address": (b"name,town\nAnna,Bonn\n", "no_address", 422, None),
    "NUL bytes": (b"a@x.de\nb\0@x.de\n", "binary_file", 415, 2),
    "NUL bytes far down": (ADDRESSES + b"\0\n", "binary_file", 415, 30_001),
    "a workbook": (b"PK\x03\x04\x14\0\x06\0\x08\0", "binary_file", 415, 1),
    "UTF-16": ("\ufeffa@x.de\n".encode("utf-16-le"), "not_utf8", 422, 1),
    "Latin-1": (b"a@x.de\n\nj\xfcrgen@x.de\n", "not_utf8", 422, 3),
    "Latin-1 far down": (ADDRESSES + b"j\xfcrgen@x.de\n", "not_utf8", 422, 30_001),
    "a long line": (b"a@x.de\n" + b"a" * 1_200_000, "line_too_long", 422, 2),
    "a field of megabytes": (b"a@x.de\n" + b"b@x.de " * 40_000, "bad_csv", 422, 2),
    "an open quote": (b'a@x.de\n"b@x.de\n' + ADDRESSES, "bad_csv", 422, 2),
    "too many rows": (b"a@x.de\n" * 1001, "too_many_rows", 413, 1001),
}


@pytest.mark.parametrize(("content", "code", "status", "line"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_a_batch_is_refused_whole(database, content, code, status, line):
    with pytest.raises(IntakeError) as caught:
        store(content, max_rows=1000 if code == "too_many_rows" else 10**6)
    error = caught.value
    assert (error.code, error.status, error.line) == (code, status, line)
    assert str(error).startswith(f"Line {line:,}: ") if line else "Line" not in str(error)
    assert query("SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM email)") == [(0, 0)]


def test_junk_is_refused_and_never_an_accident(database):
    for seed in range(40):
        junk = bytes((seed * 31 + i * i * 7 + (i >> 3)) % 256 for i in range(4000))
        with pytest.raises(IntakeError):
            store(junk)
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_the_file_stays_open_for_its_owner(database):
    file = BytesIO(b"a@x.de\n")
    intake.store(file, "list.csv", chunk_size=1, max_rows=10)
    assert not file.closed


def test_emails_are_cut_into_chunks_without_gap_or_overlap(database):
    store(csv_of(*(f"user{number}@x.de" for number in range(10))), chunk_size=4)
    assert query("SELECT first_id, last_id, done FROM chunk ORDER BY first_id") == [
        (1, 4, 0),
        (5, 8, 0),
        (9, 10, 0),
    ]


CELLS = st.one_of(
    st.sampled_from(["", " ", "a@x.de", "A@x.de", "b@x.de", "email", "Anna", "x@y", '"', "\\.", "\t"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)  # fmt: skip


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(CELLS, max_size=3).map(",".join), max_size=12), st.booleans())
def test_rows_always_add_up(lines, header):
    content = "\n".join((["email,b,c"] if header else []) + lines).encode()
    counts = Rows()
    try:
        addresses = list(intake.read_addresses(BytesIO(content), counts, 1000))
    except IntakeError as error:
        # A file without any address is the only one of these that can't be a batch.
        assert error.code in {"empty_file", "no_address"}  # noqa: PT017
        return
    assert len(addresses) == counts.emails > 0
    assert len({address.lower() for address, _ in addresses}) == counts.emails
    numbers = [line for _, line in addresses]
    assert numbers == sorted(set(numbers))
    assert all(address == address.strip() != "" for address, _ in addresses)
