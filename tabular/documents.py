"""Reads the rows of an HTML table, which some programs save as `.xls`, and of vCards."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from html.parser import HTMLParser
from typing import BinaryIO

from tabular.formats import IntakeError

# Characters that are read at once, and the most that a row may have.
_BLOCK = 1 << 15
MAX_ROW = 2 << 18

NumberedRow = tuple[int, list[str]]


def rows(file: BinaryIO, kind: str, encoding: str) -> Generator[NumberedRow, None, None]:
    """Yield the rows of an HTML document or of vCards, each with the line that it begins on.

    Where several rows of HTML begin on a line, the further ones have the next numbers. The file
    stays open. Raises IntakeError.
    """
    text = io.TextIOWrapper(file, encoding, errors="replace", newline=None)
    found = _html_rows(text) if kind == "html" else _vcard_rows(text)
    try:
        for line, cells in found:
            # PostgreSQL stores no text with a NUL. HTML has this sign for it, unlike a workbook,
            # in which a NUL is nothing that anybody saw.
            yield line, [cell.replace("\0", "\ufffd") for cell in cells]
    finally:
        text.detach()


def _html_rows(text: io.TextIOWrapper) -> Iterator[NumberedRow]:
    """Yield the rows of all tables."""
    parser = _Tables()
    try:
        while block := text.read(_BLOCK):
            parser.feed(block)
            yield from parser.take()
        parser.close()
    except AssertionError:  # how Python's parser tells of a malformed declaration
        raise IntakeError(
            "bad_html",
            "this can't be read as HTML. Save the table as CSV or XLSX.",
            line=parser.getpos()[0],
        ) from None
    parser.end_row()
    yield from parser.take()


class _Tables(HTMLParser):
    """Collects the cells of rows. The end tags of cells and rows may be missing, as HTML allows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._rows: list[NumberedRow] = []
        self._row: list[list[str]] | None = None
        self._line = self._size = 0
        self._hidden = False

    def feed(self, data: str) -> None:
        """Read a piece of the document. Raises IntakeError for a tag or comment without end."""
        super().feed(data)
        # The parser keeps an unfinished tag, and searches all of it again with each piece.
        if len(self.rawdata) > MAX_ROW:
            raise _too_long(self.getpos()[0])

    def take(self) -> list[NumberedRow]:
        """Return the rows that have ended since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def end_row(self) -> None:
        if self._row is not None:
            cells = [" ".join("".join(cell).split()) for cell in self._row]
            self._rows.append((self._line, cells))
        self._row, self._size = None, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in ("script", "style")
        if tag == "tr":
            self.end_row()
        if tag == "tr" or (tag in ("td", "th") and self._row is None):
            # A cell behind a table within its row, or without a row, begins one. Rows on the same
            # line would have the same number, by which a batch tells them apart.
            self._row, self._line = [], max(self.getpos()[0], self._line + 1)
        if tag in ("td", "th") and self._row is not None:
            self._row.append([])
        elif tag == "br":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        if tag in ("tr", "table"):
            self.end_row()

    def handle_data(self, data: str) -> None:
        if self._row and not self._hidden:
            self._row[-1].append(data)
            self._size += len(data)
            if self._size > MAX_ROW:
                raise _too_long(self._line)


_PROPERTY = re.compile(r"(?:[^.;:]*\.)?(FN|EMAIL)(?:;[^:]*)?:(.*)", re.I | re.S)


def _vcard_rows(text: io.TextIOWrapper) -> Iterator[NumberedRow]:
    """Yield a header, and a row for each card (RFC 6350): the name and the addresses."""
    yield 0, ["name", "email"]
    name, addresses, began, is_open = "", list[str](), 1, False
    for line, content in _unfolded(text):
        kind = content.strip().upper()
        if kind in ("BEGIN:VCARD", "END:VCARD"):
            if is_open:  # by the card's begin, whose end may be missing
                yield began, [name, "\n".join(addresses)]
            name, addresses, began, is_open = "", [], line, kind == "BEGIN:VCARD"
        elif found := _PROPERTY.fullmatch(content):
            value = re.sub(r"\\([,;\\])", r"\1", found[2]).strip()
            if found[1].upper() == "FN":
                name = value
            else:
                addresses.append(value)
    if is_open:
        yield began, [name, "\n".join(addresses)]


def _unfolded(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Yield each content line with its number; a line that begins with a space continues one."""
    content, began = "", 1
    for number, line in enumerate(iter(lambda: text.readline(MAX_ROW), ""), start=1):
        if line[0] in " \t" and content:
            content += line[1:].rstrip("\n")
            if len(content) > MAX_ROW:
                raise _too_long(began)
            continue
        if content:
            yield began, content
        content, began = line.rstrip("\n"), number
    if content:
        yield began, content


def _too_long(line: int) -> IntakeError:
    return IntakeError("row_too_long", f"the row is longer than {MAX_ROW:,} characters.", line=line)
