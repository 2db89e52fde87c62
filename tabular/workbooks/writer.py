"""Writes a table as a workbook (XLSX), row by row, so that it is never in memory as a whole.

All cells are texts, so that nothing in them is taken for a formula, a number or a date.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape  # nosec B406

# The limits of a sheet, and the most characters of a cell (ECMA-376, and Excel's documentation).
MAX_ROWS, MAX_COLUMNS, MAX_CELL = 1_048_576, 16_384, 32_767
# Bytes of XML that are compressed together.
_PIECE = 1 << 17
# Characters that XML can't have, and texts that would be read as one of these.
_STRANGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

# The fill of a cell by its style's name; `header` is bold.
FILLS = {"ok": "C6EFCE", "risky": "FFEB9C", "unknown": "E7E6E6", "invalid": "FFC7CE"}


def pieces(
    rows: Iterable[Sequence[str]], header: int, styles: Mapping[int, Mapping[str, str]]
) -> Iterator[bytes]:
    """Yield the bytes of a workbook with one sheet.

    header: the position of the header among the rows; it stays in view, and has filters.
    styles: for a column, the style's name of each text, a key of FILLS.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _parts().items():
            archive.writestr(name, _XML + content)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            for xml in _sheet(rows, header, styles):
                sheet.write(xml.encode())
                yield sink.take()
    yield sink.take()


def _sheet(
    rows: Iterable[Sequence[str]], header: int, styles: Mapping[int, Mapping[str, str]]
) -> Iterator[str]:
    frozen = header + 1
    yield (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane'
        f' ySplit="{frozen}" topLeftCell="A{frozen + 1}" activePane="bottomLeft" state="frozen"/>'
        "</sheetView></sheetViews><sheetData>"
    )
    ids = {name: f' s="{number}"' for number, name in enumerate(("", "header", *FILLS))}
    made, size, width, count = [], 0, 1, 0
    for count, row in enumerate(rows, start=1):
        bold = ids["header"] if count == frozen else ""
        cells = [_cell(cell, bold) for cell in row]
        for column, names in styles.items() if not bold else ():
            if column < len(row) and (style := names.get(row[column])):
                cells[column] = _cell(row[column], ids[style])
        text = f'<row r="{count}">{"".join(cells)}</row>'
        made.append(text)
        size += len(text)
        if count == frozen:
            width = len(row)
        if size >= _PIECE:
            yield "".join(made)
            made, size = [], 0
    last = f"{_letters(width)}{max(count, frozen)}"
    yield f'{"".join(made)}</sheetData><autoFilter ref="A{frozen}:{last}"/></worksheet>'


def _cell(text: str, style: str) -> str:
    if not text:
        return "<c/>"
    if len(text) > MAX_CELL:
        text = text[: MAX_CELL - 1] + "…"
    if not text.isprintable() or "_x" in text:
        text = _STRANGE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
        text = text.replace("\r", "_x000D_")
    if "&" in text or "<" in text or ">" in text:
        text = escape(text)
    return f'<c{style} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _letters(column: int) -> str:
    """Return the letters of a column, counted from 1."""
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def _parts() -> dict[str, str]:
    """Return the small parts of the archive by their names."""
    fills = "".join(
        f'<fill><patternFill patternType="solid"><fgColor rgb="FF{colour}"/></patternFill></fill>'
        for colour in FILLS.values()
    )
    styles = "".join(f'<xf fillId="{n}" applyFill="1"/>' for n in range(2, 2 + len(FILLS)))
    return {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        "</Types>",
        "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="Results" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            ("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml")
        ),
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
        "<fonts><font/><font><b/></font></fonts>"
        '<fills><fill><patternFill patternType="none"/></fill>'
        f'<fill><patternFill patternType="gray125"/></fill>{fills}</fills>'
        "<borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
        f'<cellXfs><xf/><xf fontId="1" applyFont="1"/>{styles}</cellXfs></styleSheet>',
    }


def _relations(*targets: tuple[str, str]) -> str:
    each = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{each}</Relationships>'


class _Sink(io.RawIOBase):
    """A file that can only be written; take() returns what was written since its last call."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)
