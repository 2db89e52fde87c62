"""Strategies for damaged files: workbooks of each kind, web pages, vCards, and archives of them."""

from __future__ import annotations

import functools
import gzip
import io
import re
import zipfile

from hypothesis import strategies as st

from harness.config import ROOT
from harness.files import workbook

_FILES = ROOT / "tests" / "tabular" / "workbooks" / "files"
BOOKS = [
    workbook([["Email", "Name"], ["a@x.de", "A"], ["b@x.de", 7]]),
    workbook([[]]),
    workbook([["x" * 300, 1e300, True], [None, "a@x.de"]] * 20),
    # A text that is in the file once, and in very many cells.
    workbook([["a@x.de"], *[["@" * 32_000]] * 40]),
    *((_FILES / f"customers.{kind}").read_bytes() for kind in ("xlsx", "ods", "xls")),
]
# What may stand in the XML of a workbook, and what it can do harm with.
_XML = [
    *(b'<c r="XFD1048576"><v>1</v></c>', b'<c r="A1"><v>a@x.de</v></c>', b"<c><v>1</v></c>"),
    *(b'<c r="ZZZ9999999" s="1"><v>1</v></c>', b'<row r="4294967296">', b'<row r="1048576">'),
    *(b"<row>", b"</row>", b"</c>", b"</sheetData>", b"</v>", b"<f>A1</f>", b"<f/>", b"<is/>"),
    *(b"<c " * 2000, b"<row " * 2000, b"<a>" * 5000, b' s="1"' * 2000, b"<f><" * 1000),
    *(b't="s"', b't="d"', b't="str"', b't="x"', b' s="1"', b' s="99999999"', b' r="A0"', b'r=""'),
    *(b'formatCode="00000"', b'formatCode="&quot;"', b'formatCode="yyyy;@"', b'numFmtId="165"'),
    *(b"<dimension/>", b'<dimension ref="A1:XFD1048576"/>', b'<dimension ref="B2:A1"/>'),
    *(b"&amp;", b"&x;", b"&#0;", b"&#x110000;", b"&", b"<", b">", b'"', b"<!--", b"<![CDATA["),
    b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>',
    *(b"\0", b"\xff\xfe", b"\xf0\x9f", "ü".encode("utf-16"), b" " * 3000, b"@" * 70_000),
    *(b'table:number-rows-repeated="1048576" ', b'table:number-columns-repeated="16384" '),
    *(b'table:number-rows-repeated="99999999999" ', b'table:number-columns-repeated="-1" '),
    *(b"<table:table-row>", b"</table:table-row>", b'<table:table table:name="">', b"<text:p>"),
    *(b"<table:table-cell/>" * 500, b'office:value-type="date" ', b'office:value="007" '),
    *(b"<table:covered-table-cell/>", b'<text:s text:c="999999999"/>', b"</table:table>"),
]  # fmt: skip
_NUMBERS = [b"0", b"-1", b"1e999", b"4294967295", b"1048577", b"16385", b"99999999999999999999"]
_PAGE = (
    b"<html><body><table><tr><th>Email</th><th colspan=2>Name</th></tr>"
    b"<tr><td>a@x.de</td><td>A&amp;B<br>C</td></tr><tr><td><table><tr><td>b@x.de</td></tr></table>"
    b"</td></tr></table></body></html>"
)
_CARDS = (
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Anna\r\nEMAIL;TYPE=work:a@x.de\r\nEMAIL:b@\r\n x.de\r\n"
    b"END:VCARD\r\nBEGIN:VCARD\r\nN;ENCODING=QUOTED-PRINTABLE:=C3=9C=\r\nb\r\nEMAIL:c@x.de\r\nEND:VCARD"
)
_TAGS = [
    *(b"<table>", b"</table>", b"<tr>", b"</tr>", b"<td>", b"</td>", b"<td colspan=99999999>"),
    *(b"<td rowspan=65535>", b"<!--", b"-->", b"<![CDATA[", b"<script>", b"<style>", b"<", b"</"),
    *(b"<!", b"<?", b"&#0;", b"&#xffffffff;", b"&am", b'<meta charset="utf-16">', b"<table>" * 900),
    *(b"<td" * 2000, b"<td a=" * 900, b"<br>" * 3000, b"<td>" * 20_000, b"<title>", b"<textarea>"),
    *(b"BEGIN:VCARD\n", b"END:VCARD\n", b"EMAIL:", b"EMAIL;" + b"TYPE=x;" * 3000, b"\n "),
    *(b"=", b"=\n", b"=ZZ", b":", b";", b";CHARSET=utf-7:", b"\n" * 900, b"a@x.de" * 5000, b"\0"),
]  # fmt: skip


@st.composite
def _mixed(draw: st.DrawFn, content: bytes, tokens: list[bytes]) -> bytes:
    """The same with some of it cut out, repeated, or with something inserted."""
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        marks = [
            0,
            *(found.start() for found in re.finditer(rb"[<>\"\n ;:]", content)),
            len(content),
        ]
        start = draw(st.sampled_from(marks) | st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 7, 100, 10**6])))
        if draw(st.booleans()) and (number := re.compile(rb"[0-9]+").search(content, start)):
            start, end = number.span()
            inserted = draw(st.sampled_from(_NUMBERS))
        else:
            inserted = draw(
                st.sampled_from(tokens) | st.binary(max_size=6) | st.just(content[start:end] * 2)
            )
        content = content[:start] + inserted + content[end:]
    return content


@st.composite
def _flipped(draw: st.DrawFn, content: bytes) -> bytes:
    """The same with some bytes flipped, or its end cut off."""
    flipped = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        flipped[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(flipped[: draw(st.sampled_from([None, None, len(content) // 2, -1, -20]))])


@functools.cache
def _parts(book: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


@st.composite
def _with_other_xml(draw: st.DrawFn, book: bytes) -> bytes:
    """The workbook with damaged XML in its parts, in an archive without damage."""
    parts = dict(_parts(book))
    told = [
        name for name in parts if re.search(r"sheet1|sheet2|styles|shared|workbook|content", name)
    ]
    for name in draw(st.lists(st.sampled_from(told or [*parts]), min_size=1, max_size=2)):
        parts[name] = draw(_mixed(parts[name], _XML))
    if draw(st.integers(0, 9)) == 0:
        parts.pop(draw(st.sampled_from([*parts])))
    buffer = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED]))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@st.composite
def _packed(draw: st.DrawFn, content: bytes) -> bytes:
    """The file in a gzip file or in a ZIP archive, perhaps in several."""
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        if draw(st.booleans()):
            content = gzip.compress(content, 1, mtime=0)
        else:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in draw(
                    st.lists(st.text("a/.ü", min_size=1, max_size=5), max_size=2, unique=True)
                ):
                    archive.writestr(name, draw(st.sampled_from([content, b""])))
            content = buffer.getvalue()
    return content


def _damaged_book(book: bytes) -> st.SearchStrategy[bytes]:
    if not book.startswith(b"PK"):
        return _flipped(book) | _mixed(book, [bytes(8), b"\xff" * 8, bytes(600)])
    return st.one_of(_flipped(book), _with_other_xml(book), _with_other_xml(book))


# Each takes a process that reads it.
books = st.sampled_from(BOOKS).flatmap(_damaged_book)
markup = st.sampled_from([_PAGE, _CARDS]).flatmap(lambda content: _mixed(content, _TAGS))


def packed(files: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files in archives, damaged perhaps."""
    archives = files.flatmap(_packed)
    return archives | archives.filter(bool).flatmap(_flipped)
