# ruff: noqa: E501 (a table of tables is easier to read with one a line)
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular import columns, formats
from tabular.formats import RESULT_COLUMNS, Format, IntakeError, Overrides

CSV = Format("csv", "utf-8", ",")
RESULTS = ["contact", *RESULT_COLUMNS]


def completed(rows, **overrides):
    """The format of a table with these rows, of which each is a line."""
    return columns.complete(CSV, range(1, len(rows) + 1), rows, Overrides(**overrides))


def found(*rows, **overrides):
    """The header (None if there is none), and the address column of a table with these rows."""
    complete = completed([row.split("|") for row in rows], **overrides)
    return complete.header, complete.header_index, complete.column


TABLES = {
    "no header": (("a@x.de", "b@x.de"), (None, 0, 0)),
    "a wording that is known": (("email", "a@x.de"), (("email",), 0, 0)),
    "any wording": (("id|Kontakt", "1|a@x.de", "2|b"), (("id", "Kontakt"), 0, 1)),
    "any wording in one column": (("Kontakt", "a@x.de", "b@x.de"), (("Kontakt",), 0, 0)),
    "one column of mostly others": (("Anna", "a@x.de", "b", "c"), (None, 0, 0)),
    "behind blank rows": (("|", "", "x|mail", "1|a@x.de"), (("x", "mail"), 2, 1)),
    "a first row with an address": (("Anna|a@x.de", "Bob|b@x.de"), (None, 0, 1)),
    "a first row with a blank": (("Anna|", "Bob|b@x.de"), (None, 1, 1)),
    "the column with most": (("a|b", "x@x.de|", "y@x.de|z@x.de", "|u@x.de", "|v@x.de"), (("a", "b"), 0, 1)),
    "the leftmost of equals": (("a@x.de|b@x.de", "c@x.de|d@x.de"), (None, 0, 0)),
    "the known wording of two": (("other|e-mail", "a@x.de|b@x.de", "c@x.de|"), (("other", "e-mail"), 0, 1)),
    "a word for email, and few addresses": (("old mail|who", "|a@x.de", "|b@x.de", "c@x.de|d@x.de"), (("old mail", "who"), 0, 1)),
    "a word for email, and half of the most": (("old mail|who", "|a@x.de", "c@x.de|d@x.de"), (("old mail", "who"), 0, 0)),
    "a known wording, and few addresses": (("mail|who", "|a@x.de", "|b@x.de", "c@x.de|d@x.de"), (("mail", "who"), 0, 0)),
    "a known wording without addresses": (("mail id|contact", "7|a@x.de"), (("mail id", "contact"), 0, 1)),
    "known, and malformed": (("name|email", "Anna|a@@x"), (("name", "email"), 0, 1)),
    "handles are no addresses": (("h|m", "@anna|a@x.de"), (("h", "m"), 0, 1)),
    "the first with an @": (("x|y@z",), (None, 0, 1)),
    "a handle is no address": (("x|@y",), (None, 0, 0)),
    "nothing": (("x|y",), (None, 0, 0)),
    "blank": (("|", ""), (None, 0, 0)),
    "a results file": (("|".join(RESULTS), "'+a@x.de|failed|||||b@x.de", "b|failed|||||c@x.de"), (tuple(RESULTS), 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "due"), TABLES.values(), ids=TABLES)
def test_header_and_column(rows, due):
    assert found(*rows) == due


@pytest.mark.parametrize(
    ("rows", "overrides", "due"),
    [
        (["mail|who", "a@x.de|b@x.de"], {}, "because of its header"),
        (["contact|who", "a@x.de|Bob"], {}, "because it has the most addresses"),
        (["contact|who", "a@x.de|Bob"], {"column": "2"}, "as you chose"),
        (["contact|who", "Ann|Bob"], {}, "by its position"),
        (["mail", "a@x.de"], {}, None),
    ],
)
def test_why_a_column_is_taken(rows, overrides, due):
    cells = [row.split("|") for row in rows]
    complete = completed(cells, **overrides)
    counts = columns.count_addresses(cells, complete.columns, complete.header or ())
    assert columns.why(complete, counts, Overrides(**overrides)) == due


def test_what_is_said_is_taken():
    rows = ("mail|2|other", "a@x.de|b@x.de|c@x.de")
    header = ("mail", "2", "other")
    assert found(*rows, column="OTHER") == (header, 0, 2)
    assert found(*rows, column="2") == (header, 0, 1)
    assert found(*rows, column="3") == (header, 0, 2)
    assert found(*rows, header=False) == (None, 0, 0)
    assert found(*rows, header=False, column="2") == (None, 0, 1)
    assert found("a@x.de|1", "b@x.de|2", header=True) == (("a@x.de", "1"), 0, 0)
    assert found("Ort|X", "Bonn|Y", column="ort") == (("Ort", "X"), 0, 0)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"column": "third"}, "There is no column 'third'. The columns are 1 (mail), 2 (x)."),
        ({"column": "0"}, "There is no column '0'. The columns are 1 (mail), 2 (x)."),
        ({"column": "mail", "header": False}, "Columns are numbered from 1 to 2."),
        ({"column": "y" * 9_000_000}, "The columns are 1 (mail), 2 (x)."),
    ],
)
def test_a_column_that_is_not_there_is_refused_and_those_there_are_listed(overrides, sentence):
    with pytest.raises(IntakeError) as caught:
        found("mail|x", "a@x.de|1", **overrides)
    assert caught.value.code == "bad_column"
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_long_cell_takes_no_time():
    cell = "a@" + "." * 120_000 + " x"
    assert found(*[cell] * 20) == (None, 0, 0)


def test_few_names_of_a_wide_header_are_kept():
    names = ["email", *(f"{number} " + "x" * 500 for number in range(5000)), *RESULT_COLUMNS]
    complete = completed([names, ["a@x.de"]], column="3001", header=True)
    assert (complete.column, complete.columns, complete.is_results) == (3000, 5008, True)
    assert len(complete.header) == 5008
    assert complete.header[:2] == ("email", names[1][:24] + "…")
    assert len(json.dumps(complete.to_json())) < 50_000


# Letters that take most bytes in UTF-8, escapes, and what takes most in JSON.
@pytest.mark.parametrize("letter", ["a", "\U0001f600", '"', "\n", "\x01"])
def test_a_row_is_cut_by_its_bytes_and_each_column_still_told(letter):
    names = [f"{number}{letter * 300}" for number in range(100, 400)]
    cut = formats.cut_row(names)
    assert len(json.dumps(cut, ensure_ascii=False).encode()) <= formats.ROW_BYTES
    assert [cell[:2] for cell in cut] == [str(number)[:2] for number in range(100, 300)]
    assert formats.cut_row(cut) == cut
    results = completed([["email", *names[:150], *RESULT_COLUMNS], ["a@x.de"]])
    assert results.is_results
    assert len(json.dumps(results.to_json(), ensure_ascii=False).encode()) < 9_000


def test_a_row_that_is_not_large_is_whole():
    names = [f"A column's name {number}" for number in range(200)]
    assert formats.cut_row(names) == names
    assert formats.cut_row(["a" * 300, "b"]) == ["a" * 199 + "…", "b"]


def test_too_many_columns_are_refused():
    assert columns.width_of([], []) == 0
    assert columns.width_of([1, 3], [[""], [""] * 16_384]) == 16_384
    with pytest.raises(IntakeError, match="Line 7: the row has 100,000 columns"):
        columns.width_of([1, 7], [["a@x.de"], ["a@x.de"] * 100_000])


@pytest.mark.parametrize(
    ("texts", "due"),
    [
        ({}, Overrides()),
        ({"column": " 3 ", "delimiter": "Tab"}, Overrides(column="3", delimiter="\t")),
        ({"delimiter": "\t", "header": "YES"}, Overrides(delimiter="\t", header=True)),
        ({"delimiter": "|", "header": "no"}, Overrides(delimiter="|", header=False)),
        ({"encoding": "UTF8"}, Overrides(encoding="utf-8")),
        ({"encoding": "windows-1252"}, Overrides(encoding="cp1252")),
        ({"encoding": "ISO-8859-1"}, Overrides(encoding="iso8859-1")),
        ({"encoding": "Latin1"}, Overrides(encoding="iso8859-1")),
        ({"encoding": "UTF_16_LE"}, Overrides(encoding="utf-16-le")),
        ({"encoding": "utf16be"}, Overrides(encoding="utf-16-be")),
        ({"encoding": "UTF-8-SIG"}, Overrides(encoding="utf-8")),
        ({"encoding": "Windows 1257"}, Overrides(encoding="cp1257")),
        ({"encoding": "IBM850"}, Overrides(encoding="cp850")),
        ({"encoding": "iso_8859_2"}, Overrides(encoding="iso8859-2")),
        ({"encoding": "Macintosh"}, Overrides(encoding="mac-roman")),
        ({"encoding": "Shift_JIS"}, Overrides(encoding="cp932")),
        ({"encoding": "GB2312"}, Overrides(encoding="gb18030")),
        ({"encoding": "Big5"}, Overrides(encoding="big5hkscs")),
        ({"encoding": "EUC-KR"}, Overrides(encoding="cp949")),
    ],
)
def test_overrides_are_read_from_texts(texts, due):
    assert Overrides.parse(**texts) == due


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"delimiter": ":"}, "bad_delimiter"),
        ({"delimiter": "x" * 9_000_000}, "bad_delimiter"),
        ({"encoding": "rot13"}, "bad_encoding"),
        ({"encoding": "unicode_escape"}, "bad_encoding"),
        ({"encoding": "\0"}, "bad_encoding"),
        ({"header": "maybe"}, "bad_header"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(texts, code):
    with pytest.raises(IntakeError) as caught:
        Overrides.parse(**texts)
    assert caught.value.code == code
    assert len(str(caught.value)) < 500


def test_every_encoding_is_one_of_pythons():
    for name in {*formats.ENCODINGS, *formats._ALIASES.values()}:
        assert "a@x.de".encode(name).decode(name) == "a@x.de"
        assert Overrides.parse(encoding=name).encoding == name


def test_a_format_comes_back_from_json():
    for each in (Format("xlsx"), Format("csv", "utf-8", "\t", ("a", "é"), 3, 1, 2)):
        assert Format.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        (["email", *RESULT_COLUMNS], (1, 2, 3, 4, 5, 6, 7)),
        (["email", *RESULT_COLUMNS[:-1]], (1, 2, 3, 4, 5, 6)),
        (["free_provider", "email", *RESULT_COLUMNS[:-1]], (2, 3, 4, 5, 6, 7)),
        (["free_provider", "email", *RESULT_COLUMNS], (2, 3, 4, 5, 6, 7, 8)),
        (["email", *sorted(RESULT_COLUMNS)], (1, 2, 3, 4, 5, 6, 7)),
        (["email", *RESULT_COLUMNS, "customer", "status (2)"], (1, 2, 3, 4, 5, 6, 7)),
        (["email", *RESULT_COLUMNS[1:]], ()),
    ],
)
def test_columns_of_results_are_known_with_and_without_the_newer_one(header, ours):
    assert formats.result_columns(header) == ours


NAMES = {
    "no header": (None, 2, ("Column 1", "Column 2")),
    "fewer headers than columns": (("mail", " Name "), 3, ("mail", "Name", "Column 3")),
    "more headers than columns": (("mail", "Name"), 1, ("mail", "Name")),
    "empty ones": (("", "mail", " \t"), 3, ("Column 1", "mail", "Column 3")),
    "one that comes again": (("Name", "Name", "name", "Name "), 4, ("Name", "Name (2)", "name", "Name (3)")),
    "one that is like a made one": (("a", "a", "a (2)", "a"), 4, ("a", "a (3)", "a (2)", "a (4)")),
    "one that is like the name of an empty one": (("", "Column 1", "Column 3", ""), 4, ("Column 1 (2)", "Column 1", "Column 3", "Column 4")),
    "hostile ones": (('say "hi"', "two\nlines", "=cmd|'/c calc'!A1", "\u202eשם", "a,b", "*"), 6, ('say "hi"', "two\nlines", "=cmd|'/c calc'!A1", "\u202eשם", "a,b", "* (2)")),
}  # fmt: skip


@pytest.mark.parametrize(("header", "width", "due"), NAMES.values(), ids=NAMES)
def test_columns_have_names(header, width, due):
    assert columns.cell_names(Format("csv", header=header, columns=width)) == due


@given(
    st.lists(st.sampled_from(["", "a", "a (2)", "a (3)", "Column 1", "Column 2", "Column 2 (2)"]))
)
def test_names_of_columns_are_distinct_and_headers_keep_theirs(header):
    names = columns.cell_names(Format("csv", header=tuple(header), columns=3))
    assert len(names) == len({*names}) == max(3, len(header))
    firsts = {header.index(name): name for name in header if name}
    assert {position: names[position] for position in firsts} == firsts
    assert "" not in names


def test_columns_of_a_cut_header_have_names_that_are_cut():
    header = ["mail", *[f"{'long ' * 60}{n}" for n in range(2)], *["x"] * 297]
    found = completed([header, ["a@x.de"]])
    names = columns.cell_names(found)
    assert len(names) == len({*names}) == 300
    assert all(len(name) <= formats.CELL_LENGTH + len(" (200)") for name in names)
    assert names[2] == f"{names[1]} (2)"  # they differ only where they are cut off
    assert names[3:5] == ("x", "x (2)")
    assert names[199:201] == ("x (197)", "Column 201")


def test_wide_tables_have_names_within_a_moment():
    names = columns.cell_names(Format("csv", header=("x",) * 200, columns=columns.MAX_COLUMNS))
    assert len({*names}) == columns.MAX_COLUMNS


@pytest.mark.parametrize("kind", ["list", "vcard"])
def test_lists_and_vcards_have_no_columns(kind):
    assert columns.cell_names(Format(kind)) == ()
