# ruff: noqa: E501 (a table of files is easier to read with a file a line)
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batches import accounting, intake, kept_files, stored_rows
from batches.accounting import Rows
from batches.intake import IntakeError, Upload
from harness.batches import store_file as store
from harness.books import assert_books_balance, emails, query
from harness.files import csv_of, rows_of, workbook
from models import Batch
from postgres import copy_in
from postgres.database import disconnect
from tabular import reader, text
from tabular.formats import Format, Overrides
from web import uploads

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
    "first of two address columns": (b"a,a@x.de,b@x.de\nb,c@x.de,d@x.de\n", ["a@x.de", "c@x.de"], Rows(2, 0, 0, 0, 0, 2)),
    "a list of several on a line": (b"a@x.de,b@x.de\nc@x.de;d@x.de\n", ["a@x.de", "b@x.de", "c@x.de", "d@x.de"], Rows(4, 0, 0, 0, 2)),
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
    "a quoted line break": (b'a@x.de\n"b@x.de\nc@x.de"\nd@x.de\n', ["a@x.de", "b@x.de", "c@x.de", "d@x.de"], Rows(4, 0, 0, 0, 1)),
    "malformed addresses are emails": (b"email\nanna\na@@x\n", ["anna", "a@@x"], Rows(2, 0, 0, 0)),
    "what COPY would take for something else": (
        b"email\na\\n@x.de\n\\.\n\"tab\there@x.de\"\n\\N\n",
        ["a\\n@x.de", "\\.", "tab", "here@x.de", "\\N"],
        Rows(5, 0, 0, 0, 1),
    ),
    "other scripts": ("jürgen@müller.de\n用户@例子.广告\n".encode(), ["jürgen@müller.de", "用户@例子.广告"], Rows(2, 0, 0, 0)),
    "NULs in HTML, which PostgreSQL can't store": (
        "<table><tr><td>ti\0tle<tr><td>mail<td>x\0<tr><td>ü\0@x.de<td>1\0<tr><td><td>2\0</table>".encode(),
        ["ü\ufffd@x.de"],
        Rows(1, 0, 0, 2),
    ),
    "NULs in a vCard": (
        b"BEGIN:VCARD\nFN:A\0B\nEMAIL:a@x.de\nEND:VCARD\nBEGIN:VCARD\nFN:C\0D\nEND:VCARD\n",
        ["a@x.de"],
        Rows(1, 0, 0, 1),
    ),
    "cp1252": ("jürgen@x.de\nmüller@x.de\n".encode("cp1252"), ["jürgen@x.de", "müller@x.de"], Rows(2, 0, 0, 0)),
    "UTF-16 without a BOM": ("a@x.de\nmüller@x.de\n".encode("utf-16-be"), ["a@x.de", "müller@x.de"], Rows(2, 0, 0, 0)),
    "UTF-16": ("\ufeffemail;ort\r\nmüller@x.de;Köln\r\n".encode("utf-16-le"), ["müller@x.de"], Rows(1, 0, 0, 0)),
    "a header of any wording in any column": (b"id;Kontakt\n1;a@x.de\n2;\n", ["a@x.de"], Rows(1, 0, 0, 1)),
    "a results file": (
        b"Kontakt,free_provider,status,verdict,reason,explanation,suggestion,normalized,free_provider\n"
        b"'=a@x.de,mine,failed,invalid,bad,no,b@x.de,,false\n'b'@x.de,,processed,valid,,,,b@x.de,true\n",
        ["=a@x.de", "'b'@x.de"],
        Rows(2, 0, 0, 0),
    ),
    "a results file of before free providers were told": (
        b"Kontakt,status,verdict,reason,explanation,suggestion,normalized\n"
        b"'=a@x.de,failed,invalid,bad,no,b@x.de,\n'b'@x.de,processed,valid,,,,b@x.de\n",
        ["=a@x.de", "'b'@x.de"],
        Rows(2, 0, 0, 0),
    ),
}  # fmt: skip


@pytest.fixture(params=[True, False], ids=["small", "copied"])
def each_way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(intake, "SMALL", -1)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(("content", "addresses", "rows"), FILES.values(), ids=FILES)
def test_every_row_of_a_file_is_accounted_for(database, content, addresses, rows):
    batch = store(content)
    assert [email for email, _, _ in emails(batch.id)] == addresses
    assert batch.total_emails == rows.emails
    assert query(
        "SELECT total_emails, total_rows, duplicate_rows, blank_rows, rows_without_address,"
        " further_addresses, rows_with_others, status FROM batch"
    ) == [
        (
            *(rows.emails, rows.total, rows.duplicates, rows.blank, rows.without_address),
            *(rows.further, rows.others, "pending"),
        )
    ]
    assert_books_balance()


ODD_TEXTS = b"""email,name
o'brien@x.de,100% \\' %s %(a)s
"two
lines@x.de","a ""quoted"" \\N"
"$1@x.de",
"""


def stored(batch):
    """Return all that is stored of a batch, apart from its id and times."""
    (row,) = Batch.read("WHERE id = %s", (batch.id,))
    values = {name: getattr(row, name) for name in Batch._meta.fields}
    assert {name: getattr(batch, name) for name in values} == values
    for name in ("id", "created_at", "paused_at"):
        assert values.pop(name)
    return [values] + [
        query(f"{sql} WHERE batch_id = %s ORDER BY 1, 2", batch.id)
        for sql in (
            "SELECT id, row_number, email FROM email",
            "SELECT first_id, last_id, addresses, cells FROM chunk",
            "SELECT row_number, part, kind, first_row, content FROM skipped_row",
            "SELECT number, content::text FROM file_piece",
        )
    ]


@pytest.mark.parametrize("chunk_size", [1, 3, 5000])
@pytest.mark.parametrize(
    ("columns", "content"),
    [
        ("*", ODD_TEXTS),
        ("", ODD_TEXTS),
        ("*", b"email,name\na@x.de,\xe4\nA@X.DE,b\n" + b"\n" * 900),
        ("*", "email;name\nj\u00fcrgen@x.de;\u7528".encode("utf-16")),
        ("", b"a@x.de, b@x.de\n, ,\nnobody"),
    ],
    ids=["cells", "no cells", "blank rows", "UTF-16", "list"],
)
def test_a_small_file_is_stored_as_a_large_one_is(
    database, monkeypatch, columns, content, chunk_size
):
    upload = Upload(columns=tuple(columns), paused=True, by="ann", options={"a": [1]}, per_minute=6)
    options = {"chunk_size": chunk_size, "max_rows": 5000, "upload": upload}
    small = store(content, **options)
    monkeypatch.setattr(intake, "SMALL", -1)
    assert stored(store(content, **options)) == stored(small)
    assert_books_balance()


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_addresses_stay_right_whatever_encoding_the_environment_wants(
    database, elsewhere, monkeypatch, encoding
):
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    disconnect()
    store("jürgen@müller.de\n用户@x.de".encode())
    elsewhere.execute("SELECT email FROM email ORDER BY id")
    assert elsewhere.fetchall() == [("jürgen@müller.de",), ("用户@x.de",)]


@pytest.mark.parametrize(("size", "copied"), [(1000, []), (1001, ["email", "chunk", "file_piece"])])
def test_a_small_file_needs_no_copy(database, monkeypatch, size, copied):
    tables = []

    def spy(statement, *arguments):
        tables.append(statement.split()[1])
        copy(statement, *arguments)

    copy = copy_in._copy
    monkeypatch.setattr(copy_in, "_copy", spy)
    addresses = b"".join(b"%05d@x.d\n" % number for number in range(99))
    store(addresses + b"@x.de\n".rjust(size - len(addresses), b"a"))
    assert tables == copied


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
    "half a workbook": (b"PK\x03\x04\x14\0\x06\0\x08\0", "broken_workbook", 422, None),
    "half a character of UTF-16": (
        "\ufeffa@x.de\n\n".encode("utf-16-le") + b"a",
        "undecodable",
        422,
        3,
    ),
    "no text": (b"a@x.de\n\n\xff\xfe\x01@x.de\n", "not_utf8", 422, 3),
    "no text far down": (ADDRESSES + b"\xff\xfe\x01@x.de\n", "not_utf8", 422, 30_001),
    "a long line": (b"a@x.de\n" + b"a" * 1_200_000, "line_too_long", 422, 2),
    "a field beyond the limit": (b"a@x.de\n" + b"b@x.de " * 30_000, "cell_too_long", 422, 2),
    "an open quote": (b'a@x.de\n"b@x.de\n' + ADDRESSES, "cell_too_long", 422, 2),
    "too many rows": (b"a@x.de\n" * 1001, "too_many_rows", 413, 1001),
    "a long row of many addresses": (
        b"note,email\n" + b"x" * 100_000 + b',"' + b"a@x.de;" * 100 + b'"\n',
        "too_many_addresses",
        422,
        2,
    ),
    "a wide row": (b"a@x.de,1\n" * 4000 + b"," * 200_000 + b"\n", "too_many_columns", 422, 4001),
    "a wide row in quotes": (
        b'a@x.de,"1"\n' * 4000 + b'"",' * 17_000 + b'""',
        "too_many_columns",
        422,
        4001,
    ),
}


@pytest.mark.parametrize(("content", "code", "status", "line"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_a_batch_is_refused_whole(database, content, code, status, line):
    with pytest.raises(IntakeError) as caught:
        store(content, max_rows=1000 if code == "too_many_rows" else 10**6)
    error = caught.value
    assert (error.code, uploads.status_of(error.code), error.line) == (code, status, line)
    assert str(error).startswith(f"Line {line:,}: ") if line else "Line" not in str(error)
    assert query("SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM email)") == [(0, 0)]


def test_an_error_in_a_workbook_names_the_sheet(database):
    rows = [["mail"], *[[f"user{n}@x.de"] for n in range(12)]]
    with pytest.raises(IntakeError) as caught:
        store(workbook({"Read me": [["Hello"]], "Members": rows}), max_rows=10)
    assert str(caught.value).startswith("Sheet 'Members', line 12: the file has more than 10 rows")
    assert caught.value.line == 12


def test_junk_is_refused_and_never_an_accident(database):
    for seed in range(40):
        junk = bytes((seed * 31 + i * i * 7 + (i >> 3)) % 256 for i in range(4000))
        with pytest.raises(IntakeError):
            store(junk)
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_emails_are_cut_into_chunks_without_gap_or_overlap(database):
    store(csv_of(*(f"{number}@x.de" for number in range(10))), chunk_size=4)
    assert query("SELECT first_id, last_id, done, addresses FROM chunk ORDER BY first_id") == [
        (1, 4, 0, "0@x.de\n1@x.de\n2@x.de\n3@x.de"),
        (5, 8, 0, "4@x.de\n5@x.de\n6@x.de\n7@x.de"),
        (9, 10, 0, "8@x.de\n9@x.de"),
    ]


def test_a_chunk_with_a_line_end_in_an_address_does_without_their_text(database):
    overrides = Overrides(split=False)
    store(b'a@x.de\n"b\n@x.de"\nc\\t@x.de\n', chunk_size=2, overrides=overrides)
    assert query("SELECT first_id, addresses FROM chunk ORDER BY first_id") == [
        (1, None),
        (3, "c\\t@x.de"),
    ]


@dataclass
class Skipped:
    """Rows that are no emails, as intake hands them over."""

    duplicates: list = field(default_factory=list)
    others: list = field(default_factory=list)

    def duplicate(self, line, part, first_line, address):
        self.duplicates.append((line, part, first_line, address))

    def without_address(self, line, cells):
        self.others.append(line)

    def blank(self, line):
        self.others.append(line)


CELLS = st.one_of(
    st.sampled_from(["", " ", "a@x.de", "A@x.de", "b@x.de", "email", "Anna", "x@y", '"', "\\.", "\t", '"a@x.de\n"']),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)  # fmt: skip


@hypothesis_settings(max_examples=400)
@given(
    st.lists(st.lists(CELLS, max_size=3), max_size=12),
    st.booleans(),
    st.sampled_from([*",;\t|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
def test_rows_always_add_up(rows, header, delimiter, line_end, encoding, say):
    lines = [delimiter.join(row) for row in ([["email", "b", "c"]] if header else []) + rows]
    file = BytesIO(line_end.join(lines).encode(encoding))
    overrides = Overrides(delimiter=delimiter, encoding=encoding) if say else Overrides()
    counts, skipped = Rows(), Skipped()
    try:
        table = reader.read(file, overrides)
        pieces = accounting.read_addresses(table, counts, 1000, skipped)
        found = [
            pair
            for piece in pieces
            for pair in zip(piece.addresses.strings(), piece.lines.tolist(), strict=True)
        ]
    except IntakeError as error:
        # A file without any address, or with an open quote, can't be a batch.
        assert error.code in {"empty_file", "no_address", "open_quote"}  # noqa: PT017
        return
    assert counts.emails == len(found) == len({address.lower() for address, _ in found}) > 0
    assert counts.duplicates == len(skipped.duplicates)
    assert counts.blank + counts.without_address == len(skipped.others)
    assert all(address == address.strip() != "" for address, _ in found)
    # Each row of the file is among them, by the line that it begins on, and only once unless it has
    # further addresses.
    numbers = [line for _, line in found]
    assert numbers == sorted(numbers)
    numbers += [line for line, *_ in skipped.duplicates] + skipped.others
    due = [line for line, _ in rows_of(reader.blocks(file, table.format), table.format)]
    if table.format.header is not None:
        del due[table.format.header_index]
    assert sorted(set(numbers)) == sorted(set(due))
    assert len(numbers) == len(set(due)) + counts.further
    assert counts.total == len(set(due))
    first = {address.lower(): line for address, line in found}
    for line, part, first_line, address in skipped.duplicates:
        assert first_line == first[address.lower()] <= line - (part == 0)


def test_each_group_of_rows_is_stored_with_what_was_in_it(database):
    store(
        b"x,email\n\n1,a@x.de\n2,\n"
        + b"y" * 300
        + b",\n3,A@X.DE\n4,b\\t@x.de\n5,B\\T@x.de\n,\n6,a@x.de\n"
    )
    assert query(
        "SELECT row_number, kind, first_row, content FROM skipped_row ORDER BY row_number"
    ) == [
        (2, "blank", None, None),
        (4, "without_address", None, "2"),
        (5, "without_address", None, "y" * 200),
        (6, "duplicate", 3, "A@X.DE"),
        (8, "duplicate", 7, "B\\T@x.de"),
        (9, "blank", None, None),
        (10, "duplicate", 3, "a@x.de"),
    ]


def test_endless_addresses_come_in_pieces_and_chunks_that_memory_holds(database, monkeypatch):
    monkeypatch.setattr(stored_rows, "CHUNK_BYTES", 5000)
    monkeypatch.setattr(accounting, "PIECE_BYTES", 1000)
    monkeypatch.setattr(text, "BLOCK", 500)
    addresses = [f"{number}{'a' * 400}@x.de" for number in range(30)]
    table = reader.read(BytesIO(csv_of(*addresses)), Overrides())
    pieces = [*accounting.read_addresses(table, Rows(), 1000, Skipped())]
    assert max(piece.size for piece in pieces) < 2000
    assert [address for piece in pieces for address in piece.addresses.strings()] == addresses
    batch = store(csv_of(*addresses, *(f"{number}@x.de" for number in range(70))), chunk_size=50)
    stored = query("SELECT first_id, last_id, length(addresses) FROM chunk ORDER BY first_id")
    assert max(length for _, _, length in stored) < 7000
    assert [last for _, last, _ in stored][-1] == 100
    assert [first for first, _, _ in stored][1:] == [last + 1 for _, last, _ in stored][:-1]
    assert [email for email, _, _ in emails(batch.id)][:30] == addresses


def test_the_format_is_stored_and_reads_the_kept_file_again(database):
    content = "Kontakt;Ort\nmüller@x.de;Köln\n".encode("cp1252")
    batch = store(content)
    ((stored,),) = query("SELECT format FROM batch")
    found = Format.from_json(stored)
    assert found == Format("csv", "cp1252", ";", ("Kontakt", "Ort"), 0, 0, 2, strict=True)
    with kept_files.open_kept(batch.id) as file:
        assert rows_of(reader.blocks(file, found), found) == [
            (1, ["Kontakt", "Ort"]),
            (2, ["müller@x.de", "Köln"]),
        ]


def test_what_is_said_of_a_file_overrules_what_it_looks_like(database):
    content = b"mail,other\na@x.de,c@x.de\nb@x.de,d@x.de\n"
    batch = store(content, overrides=Overrides.parse(column="OTHER"))
    assert [email for email, _, _ in emails(batch.id)] == ["c@x.de", "d@x.de"]
    with pytest.raises(IntakeError, match=r"columns are 1 \(mail\), 2 \(other\)") as caught:
        store(content, overrides=Overrides.parse(column="third"))
    assert caught.value.code == "bad_column"


def test_bytes_that_are_not_utf8_far_down_are_understood(database):
    batch = store(ADDRESSES + "jürgen@x.de\n".encode("cp1252"), max_rows=10**6)
    assert emails(batch.id)[-1][0] == "jürgen@x.de"
