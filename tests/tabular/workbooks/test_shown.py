"""Workbooks that are changed before they are read: formats, cells far away, and formulas."""

import io
import zipfile
from contextlib import closing
from itertools import pairwise

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular import reader
from tabular.formats import IntakeError, Overrides
from tabular.workbooks import workbook
from tabular.workbooks.gaps import COLUMNS, Gaps, numbered, pieces

LIST = [["name", "mail"], ["Anna", "a@x.de"], ["Bob", "b@x.de"]]
LAST_ROW, LAST_COLUMN = 1_048_575, 16_383


def rows_of(content):
    return [(n, row) for n, row in workbook.read(io.BytesIO(content)).rows if any(row)]


def book_of(*sheets, options=None):
    """An XLSX with a sheet for each dictionary of cells by row and column, or {} of a format."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, options) as book:
        for cells in sheets:
            sheet = book.add_worksheet()
            for (row, column), value in cells.items():
                if isinstance(value, tuple):
                    sheet.write(row, column, value[0], book.add_format({"num_format": value[1]}))
                else:
                    sheet.write(row, column, value)
    return buffer.getvalue()


def listed(**more):
    return {(r, c): cell for r, row in enumerate(LIST) for c, cell in enumerate(row)} | more


def changed(content, part, *changes):
    """The workbook with other XML in a part."""
    with zipfile.ZipFile(io.BytesIO(content)) as old, io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                xml = old.read(name)
                for before, after in changes if name == part else ():
                    assert before in xml
                    xml = xml.replace(before, after)
                new.writestr(name, xml)
        return buffer.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def ods_of(*rows):
    """An ODS whose only sheet has these rows of XML."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest:manifest/>")
        archive.writestr(
            "content.xml",
            b"<office:document-content><office:body><office:spreadsheet>"
            b'<table:table table:name="A&amp;B">'
            + b"".join(b"<table:table-row>%b</table:table-row>" % row for row in rows)
            + b"</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return buffer.getvalue()


def text(value):
    return (
        b'<table:table-cell office:value-type="string"><text:p>%b</text:p></table:table-cell>'
        % value.encode()
    )


def empty(count):
    return b'<table:table-cell table:number-columns-repeated="%d"/>' % count


FAR = {
    "the last column": ({(0, LAST_COLUMN): "x"}, [(1, ["name", "mail", "", "x"])], 3),
    "the last row": ({(LAST_ROW, 0): "x"}, [(1_048_576, ["x", ""])], 4),
    "both": ({(LAST_ROW, LAST_COLUMN): 7}, [(1_048_576, ["", "", "", "7"])], 4),
    "several": (
        {(0, 500): "x", (5000, 500): "y", (5001, 9000): "z", (LAST_ROW, 9001): "!"},
        [
            (1, ["name", "mail", "", "x", "", "", ""]),
            (5001, ["", "", "", "y", "", "", ""]),
            (5002, ["", "", "", "", "", "z", ""]),
            (1_048_576, ["", "", "", "", "", "", "!"]),
        ],
        6,
    ),
}


@pytest.mark.parametrize("dimension", [True, False])
@pytest.mark.parametrize(("cells", "expected", "count"), FAR.values(), ids=FAR)
def test_a_cell_far_away_keeps_its_row_and_comes_closer(cells, expected, count, dimension):
    content = book_of(listed() | cells)
    if not dimension:
        content = changed(content, SHEET, (b"<dimension ", b"<dimensions "))
    rows = rows_of(content)
    assert len(rows) == count
    assert [row for row in rows if row in expected] == expected
    assert [row[1] for _, row in rows[1:3]] == ["a@x.de", "b@x.de"]


def test_cells_far_away_cost_neither_rows_nor_time():
    far = {(LAST_ROW, 0): "x", (0, LAST_COLUMN): "y"}
    with closing(reader.read(io.BytesIO(book_of(listed() | far)), Overrides())) as table:
        blocks = list(table.blocks())
    assert table.format.columns == 4
    assert sum(map(len, blocks)) == 5  # the run of empty rows became a single one


def test_a_batch_of_before_keeps_its_empty_rows_and_its_numbers():
    content = book_of(
        {(0, 0): "a@x.de", (0, 1): (7, "00000"), (2000, 0): "b@x.de", (2, 300): "far"}
    )
    rows = [*workbook.read(io.BytesIO(content), workbook.FIRST).rows]
    assert [number for number, _ in rows] == [*range(1, 2002)]
    assert rows[0][1][:2] == ["a@x.de", "7"]
    assert (rows[2][1][300], rows[-1][1][0]) == ("far", "b@x.de")


def test_empty_cells_with_a_format_are_nothing():
    content = book_of(listed() | {(LAST_ROW, LAST_COLUMN): (None, "0.00"), (9, 900): (None, "@")})
    assert rows_of(content) == [(n, row) for n, row in enumerate(LIST, start=1)]


def test_a_sheet_with_many_columns_stays_as_it_is():
    wide = {(row, column): f"{row}" for row in range(3) for column in range(0, 900, COLUMNS)}
    (first, *_) = rows_of(book_of(listed() | {(9, c): v for (_, c), v in wide.items()}))
    assert len(first[1]) == 801


def test_a_list_that_begins_far_below_and_to_the_right_is_read():
    rows = rows_of(book_of({(r + 90_000, c + 900): v for (r, c), v in listed().items()}))
    assert rows == [(n, ["", *row]) for n, row in enumerate(LIST, start=90_001)]


def test_rows_are_named_as_the_sheet_has_them():
    content = book_of(listed() | {(500_000, 0): "@" * 30_000})
    content = changed(content, "xl/sharedStrings.xml", (b"@" * 30_000, b"@" * 200_000))
    with pytest.raises(IntakeError) as caught:
        rows_of(content)
    assert (caught.value.code, caught.value.line) == ("cell_too_long", 500_001)


def test_cells_without_a_place_are_where_they_were():
    content = changed(book_of({(0, 0): 1, (0, 1): 2, (0, 5000): 3}), SHEET, (b'<c r="B1">', b"<c>"))
    ((_, row),) = rows_of(content)
    assert (row[:2], row[5000], len(row)) == (["1", "2"], "3", 5001)


def test_rows_and_columns_far_away_in_an_ods_come_closer():
    content = ods_of(
        text("mail") + empty(9000) + empty(3) + text("x"),
        text("a@x.de") + empty(16_383),
        text("b@x.de") + text("Bob") + empty(9001) + text("y") + empty(7000) + text("z"),
    )
    assert rows_of(content) == [
        (1, ["mail", "", "", "", "x", "", ""]),
        (2, ["a@x.de", "", "", "", "", "", ""]),
        (3, ["b@x.de", "Bob", "", "y", "", "", "z"]),
    ]


def test_an_ods_with_long_runs_of_rows_is_read():
    run = b'</table:table-row><table:table-row table:number-rows-repeated="%d">' + empty(16_384)
    content = ods_of(
        run % 5000 + b"</table:table-row><table:table-row>" + text("mail"),
        text("a@x.de"),
        run % 900_000 + run % 90_000 + b"</table:table-row><table:table-row>" + text("b@x.de"),
    )
    rows = rows_of(content)
    assert [row for _, row in rows] == [["mail"], ["a@x.de"], ["b@x.de"]]
    assert [number for number, _ in rows] == [5002, 5003, 995_005]


def test_zeros_before_a_number_and_dates_are_as_the_sheet_shows_them():
    content = book_of(
        {
            (0, 0): "a@x.de",
            (0, 1): (1067, "00000"),
            (0, 2): (45_000, "dd.mm.yyyy"),
            (0, 3): (45_000.75, 'd"&"m"<"yyyy h:mm'),
            (0, 4): (0.5, "0.00"),
            (0, 5): ("ü", "000"),
            (0, 6): (45_000, "d. mmmm yyyy"),
            (0, 7): 7,
            (0, 8): (-5, "00000"),
        }
    )
    shown = [
        "a@x.de",
        "01067",
        "15.03.2023",
        "15&3<2023 18:00",
        "0.5",
        "ü",
        "2023-03-15",
        "7",
        "-5",
    ]
    assert rows_of(content) == [(1, shown)]


def test_formats_are_followed_in_cells_that_come_closer_and_in_formulas_of_all_sheets():
    cells = {(0, 0): "a@x.de", (9000, 9000): (7, "000")}
    content = changed(
        book_of(listed(), cells),
        "xl/worksheets/sheet2.xml",
        (b"<v>7</v>", b"<f>1+6</f><v>7</v>"),
    )
    reading = workbook.read(io.BytesIO(content), workbook.named("2"))
    assert [row for row in reading.rows if any(row[1])] == [
        (1, ["a@x.de", "", ""]),
        (9001, ["", "", "007"]),
    ]


def test_a_workbook_may_count_days_from_1904_on():
    content = book_of({(0, 0): ("a@x.de", ""), (0, 1): (45_000 - 1462, "dd.mm.yyyy")})
    content = changed(content, "xl/workbook.xml", (b"<workbookPr ", b'<workbookPr date1904="1" '))
    assert rows_of(content) == [(1, ["a@x.de", "15.03.2023"])]


def test_an_ods_gives_what_its_cells_show_where_that_says_more():
    def cell(kind, value, shown):
        return (
            b'<table:table-cell office:value-type="%b" office:%b>'
            b"<text:p>%b</text:p></table:table-cell>" % (kind, value, shown)
        )

    content = ods_of(
        text("a@x.de")
        + cell(b"float", b'value="1067"', b"01067")
        + cell(b"float", b'value="301234"', b"(030) 1234")
        + cell(b"float", b'value="5"', b"05,00")
        + cell(b"float", b'value="1000"', b"1.000")
        + cell(b"float", b'value="0.07"', b"0,1")
        + cell(b"date", b'date-value="2023-03-15"', b"15.03.2023")
        + cell(b"time", b'time-value="PT12H30M00S"', b"12:30")
    )
    assert rows_of(content) == [
        (1, ["a@x.de", "01067", "(030) 1234", "5", "1000", "0.07", "15.03.2023", "12:30"])
    ]


UNCALCULATED = [
    (b"<f>A1</f><v>0</v>", b"<f>A1</f>"),
    (b"<f>A1</f><v>0</v>", b"<f>A1</f><v></v>"),
    (b"<f>A1</f><v>0</v>", b"<f>A1</f><v/>"),
    (b"<f>A1</f><v>0</v>", b'<f t="shared" si="0"/><v />'),
]


def formulas(*changes, more=()):
    """A workbook whose second sheet has a formula."""
    content = book_of({(0, 0): "Help"}, {(0, 0): "mail", (1, 0): "=A1", **dict(more)})
    return changed(content, "xl/worksheets/sheet2.xml", *changes)


@pytest.mark.parametrize("change", UNCALCULATED)
def test_formulas_that_were_never_calculated_are_told_with_their_sheet(change):
    with pytest.raises(IntakeError, match=r"The sheet 'Sheet2' .* save it there\.$") as caught:
        rows_of(formulas(change))
    assert caught.value.code == "uncalculated_formulas"


def test_formulas_of_an_ods_that_were_never_calculated_are_told():
    content = ods_of(text("mail"), b'<table:table-cell table:formula="of:=[.A1]"/>')
    with pytest.raises(IntakeError, match="The sheet 'A&B'"):
        rows_of(content)


def test_formulas_without_a_value_beside_addresses_are_cells_without_any():
    content = formulas(UNCALCULATED[0], more=[((2, 0), "a@x.de")])
    assert rows_of(content) == [(1, ["mail"]), (3, ["a@x.de"])]


def test_formulas_are_read_by_the_value_that_was_kept():
    content = formulas(
        (b'<c r="A2"><f>A1</f><v>0</v>', b'<c r="A2" t="str"><f>A1</f><v>a@x.de</v>')
    )
    assert rows_of(content) == [(1, ["mail"]), (2, ["a@x.de"])]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12, unique=True).map(sorted))
def test_only_the_inside_of_long_runs_is_left_out_and_places_come_back(used):
    there = bytearray(500)
    for place in used:
        there[place] = 1
    gaps = Gaps(there, 20)
    moved = [gaps.moved(place) for place in range(401)]
    assert moved == sorted(moved)
    assert all(after - before <= 1 for before, after in pairwise(moved))
    close = [-1, *(gaps.moved(place) for place in used)]
    assert max(b - a for a, b in pairwise(close)) <= 21
    rows = [None] * (close[-1] + 1)
    for place in used:
        rows[gaps.moved(place)] = place + 1
    numbers = numbered(rows, gaps.as_json())
    assert all(row in (None, number) for number, row in numbers)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=40) | st.just(b"</row>"), max_size=30), st.integers(1, 50))
def test_pieces_are_the_whole(xml, size):
    content = b"".join(xml)

    class Slow(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, size))

    assert b"".join(pieces(Slow(content))) == content
