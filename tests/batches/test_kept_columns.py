# ruff: noqa: E501 (a table of files is easier to read with a file a line)
"""Cells that an upload keeps for its processor, chunk by chunk."""

import csv
from io import BytesIO, StringIO

import pytest

from batches import accounting, cells, intake, stored_rows
from batches.intake import IntakeError, Upload
from harness.books import assert_books_balance, query
from harness.files import workbook


def store(content: bytes, **options):
    options = {"chunk_size": 5000, "max_rows": 1000, **options}
    return intake.store(BytesIO(content), "list.csv", **options)


HOSTILE = ("mail", 'say "hi"', "two\nlines", "=cmd|'/c calc'!A1", "Name", "Name", "\u202eשם", "")
HOSTILE_NAMES = [*HOSTILE[:5], "Name (2)", HOSTILE[6], "Column 8"]


def quoted(*rows):
    """Rows of CSV with all cells in quotes."""
    file = StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode()


def kept(batch):
    """The addresses of a batch, each with its cells by the names of their columns."""
    found = {}
    for first, lines in query("SELECT first_id, cells FROM chunk ORDER BY first_id"):
        for number, line in enumerate(lines.split("\n"), start=first):
            unpacked = cells.unpack(line, len(batch.columns))
            found[number] = dict(zip(batch.columns, unpacked, strict=True))
    rows = query("SELECT id, email FROM email ORDER BY id")
    assert [*found] == [number for number, _ in rows]
    return {email: found[number] for number, email in rows}


@pytest.mark.parametrize("chunk_size", [1, 3, 5000])
def test_each_email_keeps_the_cells_of_its_own_row(database, chunk_size):
    rows = [(f"a{n}@x.de", *(f'{n}"\t\\{k},\n=é' for k in range(1, 8))) for n in range(1, 9)]
    upload = Upload(columns=("*",))
    batch = store(quoted(HOSTILE, *rows), chunk_size=chunk_size, upload=upload)
    assert batch.columns == HOSTILE_NAMES
    assert kept(batch) == {row[0]: dict(zip(HOSTILE_NAMES, row, strict=True)) for row in rows}
    assert_books_balance()


def test_columns_are_kept_by_name_in_the_order_of_the_file(database):
    content = quoted(HOSTILE, ("a@x.de", *"bcdefgh"))
    wanted = ("Column 8", "two\r\nlines", "Name (2)", "Name (2)")
    batch = store(content, upload=Upload(columns=wanted))
    assert kept(batch) == {"a@x.de": {"two\nlines": "c", "Name (2)": "f", "Column 8": "h"}}


@pytest.mark.parametrize(
    ("content", "wanted", "due"),
    [
        # Ragged rows, one of them wider than all at which the format was looked for.
        (b"mail,x\na@x.de\nb@x.de,1,2\n", ("*",), {
            "a@x.de": {"mail": "a@x.de", "x": "", "Column 3": ""},
            "b@x.de": {"mail": "b@x.de", "x": "1", "Column 3": "2"}}),
        (b"mail,x\na@x.de\nb@x.de,1,2\n", ("x",), {"a@x.de": {"x": ""}, "b@x.de": {"x": "1"}}),
        # The first row of an address counts; several addresses of a row have the same cells.
        (b"mail,x\na@x.de,1\nA@X.de,2\n\nnobody,3\n,4\nb@x.de;c@x.de;a@x.de,5\n", ("x",), {
            "a@x.de": {"x": "1"}, "nobody": {"x": "3"}, "b@x.de": {"x": "5"}, "c@x.de": {"x": "5"}}),
        # Titles above the header, and cells as they are.
        (b"List,all\n\nx,mail\n  1 ,a@x.de\n", ("*",), {"a@x.de": {"x": "  1 ", "mail": "a@x.de"}}),
        # The product's own results, with apostrophes before formulas.
        (b"mail,x,status,verdict,reason,explanation,suggestion,normalized\na@x.de,'=1+1,,,,,,\n", ("x",), {"a@x.de": {"x": "=1+1"}}),
        (b"<table><tr><td>mail<td>x<tr><td>a@x.de<td>1\0<tr><td>b@x.de<td>2</table>", ("x",), {
            "a@x.de": {"x": "1\ufffd"}, "b@x.de": {"x": "2"}}),
        (workbook([["mail", "x"], ["a@x.de", 7]]), ("x",), {"a@x.de": {"x": "7"}}),
    ],
)  # fmt: skip
def test_cells_of_rows_of_all_kinds(database, content, wanted, due):
    batch = store(content, upload=Upload(columns=wanted))
    assert kept(batch) == due
    assert_books_balance()


def test_the_cells_of_many_addresses_in_a_row_are_hardly_longer_than_the_file(database):
    several = [f"u{number}@{'x' * 50}.de" for number in range(500)]
    content = 'name,email\nBo,z@x.de\nAnn,"' + ",".join(several) + '"\nCy,y@x.de\n'
    batch = store(content.encode(), upload=Upload(columns=("*",)))
    assert kept(batch) == {
        "z@x.de": {"name": "Bo", "email": "z@x.de"},
        **{address: {"name": "Ann", "email": address} for address in several},
        "y@x.de": {"name": "Cy", "email": "y@x.de"},
    }
    ((length,),) = query("SELECT sum(length(cells)) FROM chunk")
    assert length < 2 * len(content)


def test_a_row_wider_than_those_looked_at_first_keeps_all_cells(database):
    rows = [(f"a{n}@x.de", "1") for n in range(400)]
    batch = store(quoted(("mail", "x"), *rows, ("b@x.de", "2", "3")), upload=Upload(columns=("*",)))
    assert batch.columns == ["mail", "x", "Column 3"]
    assert kept(batch)["b@x.de"] == {"mail": "b@x.de", "x": "2", "Column 3": "3"}
    assert kept(batch)["a7@x.de"] == {"mail": "a7@x.de", "x": "1", "Column 3": ""}


def test_without_columns_no_cells_are_kept(database):
    assert store(b"mail,x\na@x.de,1\n").columns == []
    assert store(b"a@x.de;b@x.de\n", upload=Upload(columns=("*",))).columns == []  # a list
    assert query("SELECT DISTINCT cells FROM chunk") == [(None,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"mail,x\na@x.de,1\n", "The file has no column 'X'. It has: mail, x."),
        (b"a@x.de,1\n", "The file has no column 'X'. It has: Column 1, Column 2."),
        (
            b'mail,"City, ""x"""\na@x.de,1\n',
            'The file has no column \'X\'. It has: mail, "City, ""x""".',
        ),
        (b"a@x.de;b@x.de\n", "The file has no column 'X'. It is a list, without columns."),
        (b"mail" + b",y" * 25 + b"\na@x.de\n", "y (19) and 6 more."),
    ],
)
def test_a_column_that_the_file_lacks_is_refused(database, content, message):
    with pytest.raises(IntakeError) as caught:
        store(content, upload=Upload(columns=("mail" if b"mail" in content else "X", "X")))
    assert caught.value.code == "no_such_column"
    assert str(caught.value).endswith(message)
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_a_chunk_with_long_cells_ends_early(database, monkeypatch):
    monkeypatch.setattr(stored_rows, "CHUNK_BYTES", 100_000)
    monkeypatch.setattr(accounting, "PIECE_BYTES", 10_000)
    rows = [(f"a{n}@x.de", str(n) * 5000) for n in range(10, 90)]
    batch = store(quoted(("mail", "x"), *rows), upload=Upload(columns=("x",)))
    lengths = [length for (length,) in query("SELECT length(cells) FROM chunk")]
    assert len(lengths) > 5
    assert max(lengths) < 200_000
    assert kept(batch) == {email: {"x": long} for email, long in rows}
