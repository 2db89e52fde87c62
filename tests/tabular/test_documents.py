"""The rows of HTML tables and of vCards."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular import documents, reader
from tabular.formats import IntakeError, Overrides


def rows(text, kind):
    return list(documents.rows(io.BytesIO(text.encode()), kind, "utf-8"))


def test_a_table_of_html():
    text = """<html><style>td { color: red }</style><table>
<tr><th>Name<th>E-Mail
<tr><td>Anna &amp; Co<br>GmbH</td><td><a href="mailto:x@y.z">a@x.de</a></td></tr>
<tr><td></td><td>b@x.de</table><p>c@x.de"""
    assert rows(text, "html") == [
        (2, ["Name", "E-Mail"]),
        (3, ["Anna & Co GmbH", "a@x.de"]),
        (4, ["", "b@x.de"]),
    ]


def test_rows_on_one_line_have_numbers_of_their_own():
    table = "<table><tr><td>a@x.de<tr><tr>\n<tr><td>b@x.de\n\n<tr><td>c@x.de</table>"
    assert [number for number, _ in rows(table, "html")] == [1, 2, 3, 4, 5]


def test_no_card_comes_twice():
    found = rows("BEGIN:VCARD\nEMAIL:a@x.de\nEND:VCARD\nEND:VCARD\n", "vcard")
    assert found[1:] == [(1, ["", "a@x.de"])]


def test_a_cell_behind_a_table_in_a_cell_begins_a_row():
    text = "<table><tr><td>a<table><tr><td>b@x.de</table></td>\n<td>c@x.de</td></tr></table>"
    assert rows(text, "html") == [(1, ["a"]), (2, ["b@x.de"]), (3, ["c@x.de"])]


def test_a_document_without_a_table_has_no_rows():
    assert rows("<html><p>a@x.de", "html") == []
    with pytest.raises(IntakeError, match="has no table"):
        reader.read(io.BytesIO(b"<html><p>a@x.de"), Overrides())


CARDS = """BEGIN:VCARD
VERSION:4.0
FN:Smith\\, Anna
EMAIL;TYPE=work:anna@x.de
item1.EMAIL:an
 na@y.de
END:VCARD
begin:vcard
FN:Bob
end:vcard
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cards(line_end):
    assert rows(CARDS.replace("\n", line_end), "vcard") == [
        (0, ["name", "email"]),
        (1, ["Smith, Anna", "anna@x.de\nanna@y.de"]),
        (8, ["Bob", ""]),
    ]


def test_a_card_without_end_is_a_card():
    text = (
        "BEGIN:VCARD\nEMAIL:a@x.de\nBEGIN:VCARD\nEMAIL:b@x.de\nEND:VCARD\nBEGIN:VCARD\nEMAIL:c@x.de"
    )
    assert rows(text, "vcard")[1:] == [
        (1, ["", "a@x.de"]),
        (3, ["", "b@x.de"]),
        (6, ["", "c@x.de"]),
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<table><tr><td>" + "x" * 600_000, "html"),
        (
            "BEGIN:VCARD\n" + "NOTE:x\n" + " y" * 10 + "\n" + (" " + "z" * 1000 + "\n") * 600,
            "vcard",
        ),
    ],
)
def test_a_row_without_end_is_refused(text, kind):
    with pytest.raises(IntakeError, match="longer than 524,288 characters"):
        rows(text, kind)


PIECES = ["<table>", "<tr>", "<td>", "</td>", "<!--", "-->", "<![", "&#x110000;", "<a", "a@x.de"]


@given(st.lists(st.sampled_from([*PIECES, "\n", "<script>", "</table>", "<?", "\0"])).map("".join))
def test_whatever_is_in_a_document_its_rows_can_be_read(text):
    try:
        found = rows(text, "html")
    except IntakeError as error:
        assert error.code == "bad_html"  # noqa: PT017
        return
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    assert all(cell == " ".join(cell.split()) for _, cells in found for cell in cells)


def test_a_tag_without_end_takes_no_time():
    with pytest.raises(IntakeError, match="longer than"):
        rows("<table><tr><td>" + "<a " * 10_000_000, "html")
