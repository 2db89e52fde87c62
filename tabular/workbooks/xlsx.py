"""Changes the XML of an XLSX workbook: what cells show as texts, and no long empty runs.

The XML is searched by regular expressions, in pieces. None of them looks beyond the next tag, so
that no XML takes long.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import lru_cache
from html import escape, unescape

from tabular.workbooks import number_formats
from tabular.workbooks.gaps import COLUMNS, MAX_COLUMNS, MAX_ROWS, ROWS, Gaps, pieces

Change = Callable[[bytes], bytes]

# The most bytes of a small part that are looked at.
_LOOKED_AT = 16 << 20
_DIMENSION = re.compile(rb'<(?:\w+:)?dimension ref="[A-Z]+[0-9]+:([A-Z]{1,3})')
_WIDE = re.compile(rb'r="[A-Z]{2,3}[0-9]')
_LAST_ROW = re.compile(rb'row r="([0-9]{1,7})"')
# A cell with something in it, and its column and row; a cell that doesn't begin with its place.
_USED = re.compile(rb'<(?:\w+:)?c r="([A-Z]{1,3})([0-9]{1,7})"[^<>]*(?<!/)>(?!</)')
_LOST = re.compile(rb"<(?:\w+:)?c[\s/>](?!r=)")
# The place of a row or a cell; or of a cell in one of some columns.
_PLACE = re.compile(rb'(<(?:\w+:)?(?:row|c) r=")([A-Z]{0,3})([0-9]{1,7})(?=")')
_PLACE_IN = rb'(<(?:\w+:)?c r=")(%b)([0-9]{1,7})(?=")'
# A formula at the end of a cell, or before an empty value.
_NEVER_CALCULATED = re.compile(
    rb"<((?:\w+:)?)f\b(?:[^<>]*/>|[^<>]*>[^<]*</\1f>)(?:<\1v\s?/>|<\1v></\1v>)?</\1c>"
)
# A cell of one of some styles, with a number.
_CELL = (
    rb'<((?:\w+:)?)c\b([^<>]{0,200}\ss="(%b)"[^<>]{0,200})>'
    rb"((?:<\1f\b[^<>]*>(?:[^<]*</\1f>)?)?)<\1v>([0-9.eE+-]{1,30})</\1v>"
)


class SparseDetector:
    """Tells from a sheet's XML, block by block, whether it may have long empty runs."""

    def __init__(self) -> None:
        self._trusted: bool | None = None
        self._wide = False
        self._rows = self._last = 0

    def feed(self, block: bytes) -> None:
        """Look at the next block."""
        if self._trusted is None:
            # What a sheet says of its size may be too much, because of empty cells with a format.
            dimension = _DIMENSION.search(block)
            self._trusted = dimension is not None
            self._wide = dimension is not None and _column(dimension[1]) > COLUMNS
        if not self._trusted and not self._wide:
            self._wide = bool(_WIDE.search(block))
        self._rows += block.count(b"row r=")
        self._last = max(self._last, _last_row(block))

    @property
    def sparse(self) -> bool:
        return self._wide or self._last - self._rows > ROWS


def never_calculated(archive: zipfile.ZipFile, sheet: str) -> bool:
    """Tell whether a sheet has formulas without a value."""
    name = _parts(archive).get(sheet)
    if name is None:
        return False
    with archive.open(name) as part:
        return any(_NEVER_CALCULATED.search(piece) for piece in pieces(part))


def changes(archive: zipfile.ZipFile, sparse: set[str], gaps: dict[str, Gaps]) -> dict[str, Change]:
    """Return the changes to make in the pieces of parts, by the names of the parts.

    sparse: the parts that may have long empty runs.
    gaps: receives the rows that are left out of each sheet, by the sheet's name.
    """
    as_text = _as_text(archive)
    found: dict[str, Change] = {}
    for name, part in _parts(archive).items():
        if as_text:
            found[part] = as_text
        if part in sparse:
            rows, columns, far = _gaps(archive, part)
            gaps[name] = rows
            if rows or columns:
                found[part] = _moved(rows, columns, far, as_text)
    return found


def _parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the part of each sheet by the sheet's name."""
    book = _read(archive, "xl/workbook.xml")
    relations = _read(archive, "xl/_rels/workbook.xml.rels")
    targets = {
        _attribute(tag, rb"Id"): _attribute(tag, rb"Target")
        for tag in re.findall(rb"<(?:\w+:)?Relationship\s[^<>]*>", relations)
    }
    found = {}
    for tag in re.findall(rb"<(?:\w+:)?sheet\s[^<>]*>", book):
        target = targets.get(_attribute(tag, rb"\w+:id"), "")
        part = target[1:] if target.startswith("/") else f"xl/{target}"
        if part in archive.NameToInfo:
            found[_attribute(tag, rb"name")] = part
    return found


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.NameToInfo:
        return b""
    with archive.open(name) as part:
        return part.read(_LOOKED_AT)


def _attribute(tag: bytes, name: bytes) -> str:
    found = re.search(rb'\s%b="([^"]*)"' % name, tag)
    return unescape(found[1].decode("utf-8", "replace")) if found else ""


def _as_text(archive: zipfile.ZipFile) -> Change | None:
    """Return a change of numbers into texts by their formats; None if no style has a plain one."""
    shows = number_formats.shows(
        _read(archive, "xl/styles.xml"),
        since_1904=b' date1904="1"' in _read(archive, "xl/workbook.xml"),
    )
    if not shows:
        return None
    styles = b"|".join(b"%d" % style for style in shows) if len(shows) < 200 else b"[0-9]{1,6}"
    cell = re.compile(_CELL % styles)

    def shown(found: re.Match[bytes]) -> bytes:
        prefix, attributes, style, formula, value = found.groups()
        attributes = attributes.replace(b' t="n"', b"")
        try:
            text = None if b' t="' in attributes else shows[int(style)](float(value))
        except (KeyError, ValueError):
            text = None
        if text is None:
            return found[0]
        xml = escape(text).encode()
        return b'<%bc%b t="str">%b<%bv>%b</%bv>' % (
            prefix,
            attributes,
            formula,
            prefix,
            xml,
            prefix,
        )

    return lambda piece: cell.sub(shown, piece)


def _gaps(archive: zipfile.ZipFile, part: str) -> tuple[Gaps, Gaps, list[bytes]]:
    """Return the rows and the columns of a sheet to leave out, and the letters of moved columns."""
    rows, columns = bytearray(MAX_ROWS), bytearray(MAX_COLUMNS)
    with archive.open(part) as source:
        for piece in pieces(source):
            if _LOST.search(piece):
                return Gaps(), Gaps(), []
            used = _USED.findall(piece)
            for column in {_column(letters) for letters, _ in used}:
                columns[min(column, MAX_COLUMNS) - 1] = 1
            for row in {int(digits) for _, digits in used}:
                rows[min(row, MAX_ROWS) - 1] = 1
    left_out = Gaps(columns, COLUMNS)
    far = [n for n, there in enumerate(columns) if there and left_out.moved(n) != n]
    return Gaps(rows, ROWS), left_out, [_letters(n + 1) for n in far]


def _moved(rows: Gaps, columns: Gaps, far: list[bytes], first: Change | None) -> Change:
    """Return a change of the places of rows and cells into the new ones.

    far: the letters of the columns that move.
    first: a change to make before this one.
    """
    place_in = re.compile(_PLACE_IN % b"|".join(far)) if far else None

    def moved(found: re.Match[bytes]) -> bytes:
        start, letters, row = found.groups()
        if letters:
            letters = _letters(columns.moved(_column(letters) - 1) + 1)
        return b"%b%b%d" % (start, letters, rows.moved(int(row) - 1) + 1)

    def change(piece: bytes) -> bytes:
        if first:
            piece = first(piece)
        if rows and rows.moved(last := _last_row(piece)) != last:
            return _PLACE.sub(moved, piece)
        return place_in.sub(moved, piece) if place_in else piece

    return change


def _last_row(xml: bytes) -> int:
    """Return the number of the last row that begins in the XML, 0 if there is none."""
    found = _LAST_ROW.match(xml, max(0, xml.rfind(b"row r=")))
    return int(found[1]) if found else 0


@lru_cache(MAX_COLUMNS)
def _column(letters: bytes) -> int:
    """Return the number of a column, from 1, by its letters."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


@lru_cache(MAX_COLUMNS)
def _letters(column: int) -> bytes:
    letters = b""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = b"%c%b" % (65 + letter, letters)
    return letters
