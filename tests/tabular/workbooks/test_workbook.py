# ruff: noqa: E501 (a table of files is easier to read with a file a line)
import contextlib
import datetime
import io
import re
import struct
import threading
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

import pytest
import xlsxwriter

from harness.config import ROOT
from harness.files import characters_of, workbook
from harness.polling import eventually
from tabular import reader, text
from tabular.formats import IntakeError, Overrides
from tabular.workbooks import child
from tabular.workbooks import workbook as workbook_module
from web import uploads

CONTENT = workbook([["name", "mail"], ["Anna", "a@x.de"]])
# The first line that a child writes.
BEGUN = b'["xlsx", "Sheet1", [], []]\n'


def rows_of(content, choice=workbook_module.BEST):
    return list(workbook_module.read(io.BytesIO(content), choice).rows)


def refused(content, choice=workbook_module.BEST):
    with pytest.raises(IntakeError) as caught:
        rows_of(content, choice)
    assert str(caught.value).endswith(".")
    return caught.value.code, uploads.status_of(caught.value.code)


def rebuilt(change):
    """The workbook with its parts as `change` makes them of (name, content)."""
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as old, io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, change(name, old.read(name)))
        return buffer.getvalue()


def test_rows_are_numbered_as_in_the_sheet_and_cells_read_as_people_see_them():
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        sheet = book.add_worksheet()
        book.add_worksheet().write(0, 0, "the second")
        date = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(2, 1, ["mail", 'say "é"\r\nnow', 1.0, 2.5, True])
        sheet.write(4, 1, "a@x.de")
        sheet.write_datetime(4, 2, datetime.datetime(2024, 2, 29), date)
        time = book.add_format({"num_format": 22})
        sheet.write_datetime(4, 3, datetime.datetime(2024, 2, 29, 12, 30), time)
    assert rows_of(buffer.getvalue()) == [
        (1, []),
        (2, []),
        (3, ["", "mail", 'say "é"\r\nnow', "1", "2.5", "TRUE"]),
        (4, []),
        (5, ["", "a@x.de", "2024-02-29", "2024-02-29 12:30:00", "", ""]),
    ]


def test_a_hidden_first_sheet_is_passed_over():
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        book.add_worksheet().hide()
        sheet = book.add_worksheet()
        sheet.activate()
        sheet.write(0, 0, "a@x.de")
    assert rows_of(buffer.getvalue()) == [(1, ["a@x.de"])]


def two_sheets(second=("name", "mail"), *, hidden=()):
    """A workbook with a sheet that has one address, one that has two, and an empty one."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        book.add_worksheet("Empty")
        sheets = {"Help": book.add_worksheet("Help"), "List": book.add_worksheet("List")}
        sheets["Help"].write(0, 0, "Questions? Write to help@x.de")
        for row, cells in enumerate([second, ("Anna", "a@x.de"), ("Bob", "b@x.de")]):
            sheets["List"].write_row(row, 0, cells)
        for name in hidden:
            sheets[name].hide()
    return buffer.getvalue()


def test_the_sheet_with_most_addresses_is_read_and_all_are_told():
    reading = workbook_module.read(io.BytesIO(two_sheets()))
    assert (reading.kind, reading.sheet) == ("xlsx", "List")
    assert reading.sheets == [
        ("Empty", False, 0, 0),
        ("Help", False, 1, 1),
        ("List", False, 3, 2),
    ]
    assert list(reading.rows)[1] == (2, ["Anna", "a@x.de"])
    (only,) = workbook_module.read(io.BytesIO(CONTENT)).sheets
    assert only == ("Sheet1", False, None, None)


def test_a_hidden_sheet_is_offered_and_not_proposed():
    content = two_sheets(hidden=["List"])
    reading = workbook_module.read(io.BytesIO(content))
    assert reading.sheet == "Help"
    assert ("List", True, 3, 2) in reading.sheets
    assert len(rows_of(content, workbook_module.named("List"))) == 3


def test_a_batch_of_before_is_read_from_the_first_visible_sheet_as_then():
    assert rows_of(two_sheets(), workbook_module.FIRST) == []
    found = reader.Format("xlsx")
    assert list(reader.blocks(io.BytesIO(two_sheets()), found)) == []


@pytest.mark.parametrize("said", ["List", "LIST", "3"])
def test_a_person_names_the_sheet(said):
    with closing(reader.read(io.BytesIO(two_sheets()), Overrides(sheet=said))) as table:
        assert (table.format.sheet, table.format.header) == ("List", ("name", "mail"))
        again = list(reader.blocks(io.BytesIO(two_sheets()), table.format))
    assert [block.rows for block in again] == [
        [["name", "mail"], ["Anna", "a@x.de"], ["Bob", "b@x.de"]]
    ]


def test_names_that_differ_in_more_than_their_case_are_told_apart():
    content = workbook({"Strasse": [["a"]], "Straße": [["b@x.de"]]})
    assert workbook_module.read(io.BytesIO(content)).sheet == "Straße"
    assert rows_of(content, workbook_module.named("Straße")) == [(1, ["b@x.de"])]
    assert rows_of(content, workbook_module.named("STRASSE")) == [(1, ["a"])]


def test_of_very_many_sheets_the_first_are_counted():
    content = workbook({f"{n}": [["a@x.de"]] * n for n in range(child.MAX_SHEETS + 2)})
    reading = workbook_module.read(io.BytesIO(content))
    assert reading.sheet == f"{child.MAX_SHEETS - 1}"
    assert [sheet.addresses for sheet in reading.sheets][-3:] == [child.MAX_SHEETS - 1, None, None]


@pytest.mark.parametrize("said", ["4", "0", "Liste", "x" * 255, "\0", "-c"])
def test_a_sheet_that_is_not_there_is_refused_and_those_there_are_listed(said):
    with pytest.raises(
        IntakeError, match=r"The sheets are 1 \(Empty\), 2 \(Help\), 3 \(List\)\.$"
    ) as caught:
        rows_of(two_sheets(), workbook_module.named(said))
    assert caught.value.code == "bad_sheet"


def test_an_empty_sheet_is_told_by_its_name():
    with pytest.raises(IntakeError, match="The sheet 'Empty' is empty"):
        reader.read(io.BytesIO(two_sheets()), Overrides(sheet="empty"))


def test_a_workbook_with_macros_is_read_for_what_it_is():
    macros = types(KIND, b"ms-excel.sheet.macroEnabled.main+xml")
    reading = workbook_module.read(io.BytesIO(macros))
    assert (reading.kind, len(list(reading.rows))) == ("xlsm", 2)


def test_header_and_column_are_found_as_in_a_text_file():
    content = workbook([["id", "Kontakt"], [1, "a@x.de"], [2, "b@x.de"]])
    table = reader.read(io.BytesIO(content), Overrides())
    assert (table.format.header, table.format.column) == (("id", "Kontakt"), 1)
    table.close()


def test_an_empty_sheet_has_no_rows():
    assert rows_of(workbook([])) == []


def test_a_reading_that_is_given_up_leaves_no_child():
    rows = workbook_module.read(io.BytesIO(workbook([["a@x.de"]] * 20_000))).rows
    assert next(rows) == (1, ["a@x.de"])
    rows.close()


@pytest.fixture(scope="module")
def bomb():
    """A part of real gigabytes, deflated."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = b"<row/>" * 200_000
    pieces = [deflater.compress(block) for _ in range(child.MAX_INFLATED // len(block) + 1)]
    return b"".join(pieces) + deflater.flush(), len(block) * len(pieces)


def with_part(name, deflated, declared):
    """A workbook with one more part, that is `deflated` and declares its size."""
    buffer = io.BytesIO(CONTENT)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"")
        info = archive.getinfo(name)
    content = buffer.getvalue()
    start = info.header_offset
    name_length, extra_length = struct.unpack("<HH", content[start + 26 : start + 30])
    data_start = start + 30 + name_length + extra_length
    head = bytearray(content[start:data_start])
    struct.pack_into("<II", head, 18, len(deflated), declared)
    central = content.index(b"PK\x01\x02", data_start)
    directory = bytearray(content[central:])
    entry = directory.rindex(b"PK\x01\x02")
    struct.pack_into("<II", directory, entry + 20, len(deflated), declared)
    offset = data_start + len(deflated)
    struct.pack_into("<I", directory, directory.rindex(b"PK\x05\x06") + 16, offset)
    return content[:start] + bytes(head) + deflated + bytes(directory)


@pytest.mark.parametrize("lie", [False, True])
def test_a_zip_bomb_is_refused_whatever_size_it_declares(bomb, lie):
    deflated, size = bomb
    content = with_part("xl/worksheets/sheet9.xml", deflated, 1000 if lie else size)
    assert len(content) < 5_000_000
    assert refused(content) == ("zip_bomb", 413)


def test_a_size_that_is_a_lie_is_no_workbook():
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(b"a" * 1000) + deflater.flush()
    assert refused(with_part("x.xml", deflated, 10)) == ("broken_workbook", 422)


def test_too_many_parts_are_refused():
    buffer = io.BytesIO(CONTENT)
    with zipfile.ZipFile(buffer, "a") as archive:
        for number in range(child.MAX_PARTS):
            archive.writestr(f"{number}", b"")
    assert refused(buffer.getvalue()) == ("zip_bomb", 413)


def repeated(characters, rows, cells=1):
    """A workbook with a text of so many characters in all of these cells."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "a@x.de")
        for row in range(rows):
            sheet.write_row(row + 1, 0, ["@" * 32_000] * cells)
    with zipfile.ZipFile(buffer) as old, io.BytesIO() as changed:
        with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(b"@" * 32_000, b"@" * characters))
        return changed.getvalue()


def test_a_text_that_is_in_very_many_cells_is_refused_before_it_is_in_memory_as_often():
    content = repeated(60_000, 16_000)
    assert len(content) < 100_000
    assert refused(content) == ("workbook_too_large", 413)


def test_blocks_of_long_rows_are_short():
    table = reader.read(io.BytesIO(repeated(60_000, 1_000)), Overrides())
    with closing(table):
        sizes = [(len(block), characters_of(block)) for block in table.blocks()]
    assert sum(rows for rows, _ in sizes) == 1_001
    assert max(characters for _, characters in sizes) < text.BLOCK + 60_010


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (repeated(60_000, 2, 40), "row_too_long", 2),
        (repeated(140_000, 2), "cell_too_long", 2),
    ],
)
def test_a_row_that_is_too_long_is_named(content, code, line):
    with pytest.raises(IntakeError) as caught:
        rows_of(content)
    assert (caught.value.code, caught.value.line) == (code, line)
    assert "characters" in str(caught.value)


def test_a_disk_without_room_for_the_rows_is_told_as_such():
    with Path("/dev/full").open("wb") as full, io.BytesIO(CONTENT) as file:
        child = workbook_module._start(file, workbook_module.BEST, full, full)
        assert isinstance(workbook_module._error(child.wait(), full), OSError)


@pytest.mark.parametrize("written", [b"", b'["xls', BEGUN + b"a\r\n\xd0", BEGUN + b'a\r\n"b\xd0'])
def test_a_disk_that_fills_up_within_a_letter_is_told_as_such(written, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(
        f"import os\nos.write(1, {written!r})\nos._exit({workbook_module.DISK_FULL})\n"
    )
    monkeypatch.setattr(workbook_module, "_CHILD", child)
    with pytest.raises(OSError, match="No space left"):
        rows_of(CONTENT)


def test_few_are_read_at_once_and_slow_readers_hold_no_place(monkeypatch):
    monkeypatch.setattr(workbook_module, "WAIT_SECONDS", 20)
    content = workbook([[f"user{number}@example.com"] for number in range(20_000)])
    with contextlib.ExitStack() as stack:
        for _ in range(3 * workbook_module.CHILDREN):
            rows = stack.enter_context(closing(workbook_module.read(io.BytesIO(content)).rows))
            assert next(rows)[0] == 1
        assert len(list(rows)) == 19_999
        monkeypatch.setattr(workbook_module, "WAIT_SECONDS", 0.01)
        for _ in range(workbook_module.CHILDREN):
            eventually(lambda: workbook_module._places.acquire(blocking=False))
            stack.callback(workbook_module._places.release)
        assert refused(CONTENT) == ("too_many_workbooks", 503)
    assert len(rows_of(CONTENT)) == 2


def test_without_a_place_for_a_workbook_whoever_asks_is_told_when_to_try_again(site, monkeypatch):
    site.upload(CONTENT, "a.xlsx")
    monkeypatch.setattr(workbook_module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(workbook_module, "_places", threading.BoundedSemaphore(1))
    assert site.get("/api/batches/1/results.csv").status == 200
    eventually(lambda: workbook_module._places.acquire(blocking=False))
    for answer in (
        site.upload(CONTENT, "a.xlsx"),
        site.upload(CONTENT, "a.xlsx", path="/api/preview"),
        site.get("/api/batches/1/results.csv"),
    ):
        assert (answer.status, answer.json["code"]) == (503, "too_many_workbooks")
        assert answer.headers["Retry-After"] == "5"
    assert len(site.get("/api/batches").json["batches"]) == 1


def types(old, new):
    return rebuilt(lambda name, data: data.replace(old, new) if name[0] == "[" else data)


def encrypted():
    content = bytearray(CONTENT)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + place] |= 1
    return bytes(content)


def archive_of(**parts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
CUSTOMERS = (ROOT / "tests" / "tabular" / "workbooks" / "files" / "customers.xls").read_bytes()
FAR = b'<sheetData><row r="4294967295"><c r="A4294967295"><v>1</v></c></row></sheetData>'
KIND = b"openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
OTHERS = {
    "cut": (CONTENT[:-100], "broken_workbook", 422),
    "its beginning alone": (CONTENT[:30], "broken_workbook", 422),
    "an empty archive": (archive_of(), "not_xlsx", 415),
    "another archive": (archive_of(a="b"), "not_xlsx", 415),
    "a document": (archive_of(mimetype="application/vnd.oasis.opendocument.text"), "not_xlsx", 415),
    "half a sheet of OpenDocument": (archive_of(mimetype=child._ODS), "broken_workbook", 422),
    "a broken XLS": (OLE + bytes(5000), "broken_workbook", 422),
    "an XLS that is cut": (CUSTOMERS[:-20], "broken_workbook", 422),  # an assertion of python-calamine's
    "a NUL in a sheet's name": (CUSTOMERS.replace(b"Kunden &", b"Kunden\0&"), "broken_workbook", 422),
    "a password": (OLE + bytes(1 << 20) + "EncryptedPackage".encode("utf-16-le"), "encrypted_workbook", 422),
    "an encrypted archive": (encrypted(), "encrypted_workbook", 422),
    "no sheet": (rebuilt(lambda n, data: re.sub(b"<sheets>.*</sheets>", b"<sheets/>", data)), "no_sheet", 422),
    "a row that no sheet has": (rebuilt(lambda n, data: re.sub(b"<sheetData>.*</sheetData>", FAR, data)), "broken_workbook", 422),
    "a broken sheet": (rebuilt(lambda n, data: data[:-80] if "sheet1" in n else data), "broken_workbook", 422),
}  # fmt: skip


@pytest.mark.parametrize(("content", "code", "status"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_workbook_is_refused(content, code, status):
    assert workbook_module.is_workbook(io.BytesIO(content))
    assert refused(content) == (code, status)


def test_half_broken_workbooks_are_refused_or_read_and_never_an_accident():
    for seed in range(12):
        content = bytearray(CONTENT)
        for i in range(1 + seed % 3):
            content[(seed * 7919 + i * 104_729) % len(content)] ^= 0x55
        try:
            rows_of(bytes(content))
        except IntakeError as error:
            assert error.code  # noqa: PT017
