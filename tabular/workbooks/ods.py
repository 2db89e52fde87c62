"""Changes the XML of an ODS workbook: what cells show as texts, and no long empty runs."""

from __future__ import annotations

import re
import zipfile
from html import unescape

from tabular.workbooks.gaps import COLUMNS, MAX_COLUMNS, ROWS, Gaps, pieces

PART = "content.xml"
# Bytes of a block that are looked at with the next one, because something may be in both.
_OVERLAP = 4096
_EMPTY_CELL = rb"(?:<table:(?:covered-)?table-cell\b(?![^<>]*\soffice:)[^<>]*/>)"
# A cell with something in it, at most 50 cells behind a run of at least 100 empty columns.
_FAR = re.compile(
    rb'columns-repeated="[0-9]{3,}"[^<>]*/>'
    + _EMPTY_CELL
    + rb"{0,50}<table:table-cell\b[^<>]*\soffice:"
)
# The type of a cell with a number, a date or a time, and its text, if that is a single paragraph.
_SHOWN = re.compile(rb'office:value-type="(date|time|float)"([^<>]*)>(?=<text:p>([^<]*)</text:p>)')
_VALUE = re.compile(rb'\soffice:(?:date-|time-)?value="([^"]*)"')
_PADDED = re.compile(rb"[^0-9]*0[0-9]")
_REPEATED = re.compile(rb'(table:number-(?:rows|columns)-repeated=")([0-9]{1,7})(?=")')
# Where a sheet begins; empty rows of which there are many; where a row begins.
_ROWS = (
    rb"<table:table\s[^<>]*>"
    rb'|<table:table-row\b[^<>]*\stable:number-rows-repeated="[0-9]{4,7}"[^<>]*>'
    + _EMPTY_CELL
    + rb"*</table:table-row>|<table:table-row\b[^<>]*>"
)
_TOKENS = re.compile(_ROWS)
_TOKENS_AND_CELLS = re.compile(_ROWS + rb"|<table:(?:covered-)?table-cell\b[^<>]*>")
_NEVER_CALCULATED = re.compile(
    rb"<table:table-cell\b(?![^<>]*\soffice:value-type=)[^<>]*\stable:formula="
)


class SparseDetector:
    """Tells from the XML, block by block, whether cells may be far to the right of the others."""

    def __init__(self) -> None:
        self._before = b""
        self.sparse = False

    def feed(self, block: bytes) -> None:
        """Look at the next block."""
        self.sparse = self.sparse or bool(_FAR.search(self._before + block))
        self._before = block[-_OVERLAP:]


class Change:
    """Changes the pieces of the XML, which must come in their order."""

    def __init__(self, archive: zipfile.ZipFile, gaps: dict[str, Gaps], *, sparse: bool) -> None:
        """Look for columns to leave out, if the XML is `sparse`.

        gaps: receives the rows that are left out of each sheet, by the sheet's name.
        """
        self._gaps = gaps
        self._columns, self._wide = _columns(archive) if sparse else ({}, [])
        self._piece = 0
        self._sheet = ""
        self._row = self._column = 0

    def __call__(self, piece: bytes) -> bytes:
        wide = self._piece < len(self._wide) and self._wide[self._piece]
        self._piece += 1
        tokens = _TOKENS_AND_CELLS if wide else _TOKENS
        return tokens.sub(self._changed, _SHOWN.sub(_as_text, piece))

    def _changed(self, found: re.Match[bytes]) -> bytes:
        tag = found[0]
        if tag.startswith(b"<table:table-row"):
            count = _repeated(tag)
            self._row += count
            self._column = 0
            if tag.endswith(b"</table:table-row>") and count > ROWS:
                self._gaps[self._sheet].leave_out(self._row, count - 1)
                return _REPEATED.sub(rb"\g<1>1", tag, count=1)
            return tag
        if _is_sheet(tag):
            self._sheet = _name(tag)
            self._gaps[self._sheet] = Gaps()
            self._row = self._column = 0
            return tag
        return self._cell(tag)

    def _cell(self, tag: bytes) -> bytes:
        count = _repeated(tag)
        columns = self._columns.get(self._sheet) or Gaps()
        new = columns.moved(self._column + count) - columns.moved(self._column)
        self._column += count
        if new == count or not _is_empty(tag):
            return tag
        return _REPEATED.sub(rb"\g<1>%d" % new, tag) if new else b""


def never_calculated(archive: zipfile.ZipFile, sheet: str) -> bool:
    """Tell whether a sheet has formulas without a value."""
    current = ""
    with archive.open(PART) as part:
        for piece in pieces(part):
            for of_sheet in re.split(rb"(?=<table:table\s)", piece):
                if of_sheet.startswith(b"<table:table"):
                    current = _name(of_sheet[: of_sheet.find(b">")])
                if current == sheet and _NEVER_CALCULATED.search(of_sheet):
                    return True
    return False


def _as_text(found: re.Match[bytes]) -> bytes:
    """Make the cell a text without a value, if its text says more than the value."""
    kind, attributes, text = found.groups()
    value = _VALUE.search(attributes)
    if kind == b"float" and not (
        value
        and value[1].isdigit()
        and _PADDED.match(text)
        and int(re.sub(rb"[^0-9]", b"", text)[:20]) == int(value[1][:20])
    ):
        return found[0]
    return b'office:value-type="string"%b>' % _VALUE.sub(b"", attributes)


def _columns(archive: zipfile.ZipFile) -> tuple[dict[str, Gaps], list[bool]]:
    """Return the columns to leave out of each sheet, and which pieces may have cells in them."""
    used: dict[str, bytearray] = {}
    columns = bytearray(MAX_COLUMNS)
    wide = []
    at = 0
    with archive.open(PART) as part:
        for piece in pieces(part):
            widest = 0
            for found in _TOKENS_AND_CELLS.finditer(piece):
                tag = found[0]
                if tag.startswith(b"<table:table-row"):
                    at = 0
                elif _is_sheet(tag):
                    columns = used[_name(tag)] = bytearray(MAX_COLUMNS)
                else:
                    count = min(_repeated(tag), MAX_COLUMNS - at)
                    at += count
                    if not _is_empty(tag):
                        columns[at - count : at] = b"\1" * count
                        widest = max(widest, at)
            wide.append(widest > COLUMNS)
    return {name: Gaps(columns, COLUMNS) for name, columns in used.items()}, wide


def _is_sheet(tag: bytes) -> bool:
    return tag[:12] == b"<table:table" and tag[12:13].isspace()


def _is_empty(tag: bytes) -> bool:
    return tag.endswith(b"/>") and b" office:" not in tag


def _repeated(tag: bytes) -> int:
    found = _REPEATED.search(tag)
    return int(found[2]) if found else 1


def _name(tag: bytes) -> str:
    found = re.search(rb'\stable:name="([^"]*)"', tag)
    return unescape(found[1].decode("utf-8", "replace")) if found else ""
