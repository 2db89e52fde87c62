"""No reader of results finds a formula in them, and what was put before one can be taken away."""

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches.result_rows import ResultWriter, taken_apart
from tabular.block import Block
from tabular.formats import DELIMITERS, RESULT_COLUMNS, Format
from tabular.formulas import SIGNS, Defuser, undefused
from tabular.text import Text

CELLS = st.one_of(
    st.sampled_from(["a", "-5", "hello\r=HYPERLINK(A1)", "hi;=1+1", 'hi;"=1+1"', "＝1", "x\r\n@y"]),
    st.text(",;\t|\"'\n\r\v\f=-@＝＠a1.", max_size=6),
)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=3).map(lambda row: [*row, "a@x.de"]))


def read(text, delimiter):
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def formulas(text, delimiter):
    """Cells that a program takes for formulas that splits the text in this way."""
    rows = read(text, delimiter)
    return [cell for row in rows for cell in row if cell.startswith(tuple(SIGNS))]


def results(block, delimiter):
    found = Format("csv", "utf-8", delimiter, None, 0, 3, 4)
    block = taken_apart(block, found, above=0)
    return b"".join(ResultWriter(found, defuses=True).pieces(block, [])).decode()


def assert_harmless(text, rows, delimiter):
    cells = [[undefused(cell) for cell in row] for row in read(text, delimiter)]
    assert [row[: len(due)] for row, due in zip(cells, rows, strict=True)] == rows
    for cell in formulas(text, delimiter):
        assert re.fullmatch(r"[+-][0-9]+([.,][0-9]+)*", cell)
    # To others, not even a number is at the beginning of a cell.
    for other in {*DELIMITERS.values()} - {delimiter}:
        assert not formulas(text, other)
        assert not formulas(re.sub(r"[\v\f]", "\n", text), other)


@settings(max_examples=300)
@given(TABLES, st.sampled_from([*DELIMITERS.values()]), st.booleans())
def test_no_reader_finds_a_formula(rows, delimiter, from_workbook):
    rows = [[""] * (4 - len(row)) + row for row in rows]
    if from_workbook:
        text = results(Block(range(1, len(rows) + 1), rows=rows), delimiter)
        assert_harmless(text, rows, delimiter)
        return
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    found = Format("csv", "utf-8", delimiter)
    for block in Text(io.BytesIO(file.getvalue().encode()), found).blocks():
        assert_harmless(results(block, delimiter), [*block.cells(delimiter)], delimiter)


@given(st.text("=-@＝,;|\n\"'a1", max_size=12))
def test_whatever_a_cell_has_it_can_be_had_back(cell):
    quoted = cell.replace('"', '""')
    ((found, _),) = read(Defuser(",").defused(f'"{quoted}",x\n').decode(), ",")
    assert undefused(found) == cell


@pytest.mark.parametrize(
    ("row", "due"),
    [
        ("=1,+a,-b,@c", "'=1,'+a,'-b,'@c"),
        ("x,-5,+4.50,1", "x,-5,+4.50,1"),
        # Other readers begin cells with these, which are longer then.
        ("-5,a", "'-5,a"),
        ("x;-5,a", "x;'-5,a"),
        ("hi;=1+1,x|@y,x\t+z,x\v=1,x\f=1", "hi;'=1+1,x|'@y,x\t'+z,x\v'=1,x\f'=1"),
        ("＝1,＋1,－1,＠x", "'＝1,'＋1,'－1,'＠x"),
        ('"x\r=1","x\n=1"', '"x\r\'=1","x\n\'=1"'),
        ('"=1","hi;""=1"', '"\'=1","hi;""\'=1"'),
        ("a,\t=1", "a,\t'=1"),
        # Or else the first could not be told from a formula that was defused.
        ("a,'=1,'-5,'a'", "a,''=1,''-5,'a'"),
        ("a=1,b@x.de,a - b,= ,c-", "a=1,b@x.de,a - b,'= ,c-"),
    ],
)
def test_where_apostrophes_are_put(row, due):
    assert Defuser(",").defused(f"{row}\n").decode() == f"{due}\n"


@pytest.mark.parametrize(
    ("cell", "due"),
    [("'=1", "=1"), ("'@x", "@x"), ("x;'=1", "x;=1"), ("'a'@x", "'a'@x"), ("", ""), ("'", "'")],
)
def test_only_what_was_put_before_a_formula_is_taken_away(cell, due):
    assert undefused(cell) == due


# Read by LibreOffice 7.4 and Papa Parse 5, each row of this is one row, with these cells; in
# LibreOffice every line break in a cell is an LF.
ROW = [["hello\r=HYPERLINK(A1)", "a@x.de", "hi;=1+1", '"x"\r\ny']]
WRITTEN = '"hello\r\'=HYPERLINK(A1)","a@x.de","hi;\'=1+1","""x""\r\ny","processed","ok",'


def test_a_carriage_return_ends_no_row():
    text = results(Block(range(1, 2), rows=ROW), ",")
    assert text.startswith(WRITTEN)
    assert len(read(text, ",")) == 1
    assert len(read(text, ",")[0]) == 4 + len(RESULT_COLUMNS)
