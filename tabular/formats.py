"""The format of an uploaded file, the choices that override its detection, and IntakeError."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from runtime.phrases import shorten

# The last columns of each results file that the product writes, in this order. The last one is
# newer than the others, by which a results file is known.
_KNOWN_BY = ("status", "verdict", "reason", "explanation", "suggestion", "normalized")
_NEWER = "free_provider"
RESULT_COLUMNS = (*_KNOWN_BY, _NEWER)

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
# The encodings that a file may have, by Python's names. Python's other codecs don't decode text, or
# take very long over some files. Of Asian encodings, these are the most complete variants.
ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp1250", "cp1251", "cp1253"),
    *("cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "iso8859-1", "iso8859-2", "iso8859-5"),
    *("iso8859-7", "iso8859-9", "iso8859-13", "iso8859-15", "koi8-r", "koi8-u", "mac-roman"),
    *("mac-latin2", "mac-cyrillic", "mac-greek", "mac-turkish", "cp437", "cp850", "cp852", "cp866"),
    *("cp932", "euc-jp", "gb18030", "big5hkscs", "cp949", "cp874", "ascii"),
)
# Other names of these encodings. The names with windows, ibm or dos in place of cp are known too.
_ALIASES = {
    **dict.fromkeys(("latin1", "latin-1"), "iso8859-1"),
    **dict.fromkeys(("latin2", "latin-2"), "iso8859-2"),
    **dict.fromkeys(("latin5", "latin-5"), "iso8859-9"),
    **dict.fromkeys(("latin9", "latin-9"), "iso8859-15"),
    **dict.fromkeys(("shift-jis", "shiftjis", "sjis", "ms932", "windows-31j"), "cp932"),
    **dict.fromkeys(("gbk", "gb2312", "cp936"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "cp950"), "big5hkscs"),
    **dict.fromkeys(("euc-kr", "euckr", "uhc", "ks-c-5601-1987"), "cp949"),
    **dict.fromkeys(("macintosh", "macroman", "x-mac-roman"), "mac-roman"),
    **dict.fromkeys(("tis-620", "iso8859-11"), "cp874"),
    "us-ascii": "ascii",
    "ansi": "cp1252",
    "eucjp": "euc-jp",
}
# The most of a header that is stored, or of a row that is shown: cells, characters of each, and
# bytes of all together as JSON. It is little, because a list of batches has all their headers.
CELLS, CELL_LENGTH, ROW_BYTES = 200, 200, 8_000
# The most characters of a sheet's name that are looked at. Excel allows 31.
MAX_SHEET_NAME = 255


class IntakeError(ValueError):
    """The file can't become a batch. The message says what to do.

    code: stable, for programs.
    line: the line of the file that is to blame, if one is.
    """

    def __init__(self, code: str, message: str, *, line: int | None = None):
        super().__init__(message if line is None else f"Line {line:,}: {message}")
        self.code = code
        self.line = line


@contextmanager
def naming_sheet(sheet: str | None) -> Iterator[None]:
    """Name the sheet in each IntakeError that names a line.

    sheet: None for a file that is no workbook, whose errors stay as they are.
    """
    try:
        yield
    except IntakeError as error:
        if sheet is not None and error.line is not None:
            # The message begins with "Line" and the number.
            error.args = (f"Sheet {sheet!r}, l{str(error)[1:]}",)
        raise


Kind = Literal["csv", "list", "html", "vcard", "xlsx", "xlsm", "xlsb", "xls", "ods"]


@dataclass(frozen=True)
class Format:
    """All that is needed to read the same bytes again with the same result; stored with the batch.

    encoding: one of Python's, `utf-8-sig` if there is a BOM; None for a workbook.
    kind: "list" is a text with nothing but addresses, one or several on a line.
    delimiter: None for a list and for a workbook.
    header: the cells of the header as cut_row() leaves them, and empty ones for those that it
        leaves out; the names of RESULT_COLUMNS are whole. None if there is no header.
    header_index: the number of rows above the header, or above the data if there is no header:
        titles, comments and blank rows.
    column: the column with the addresses, from 0.
    columns: the width of the widest row that was looked at.
    cells: how addresses are taken from their cells: "whole" (the stripped cell is the address, as
        in batches older than this field), "clean" (the cleaned cell is), or "split" (a cell may
        have several addresses, each of which is cleaned).
    sheet: the name of a workbook's sheet; None if it is the first visible one.
    strict: whether a Ctrl-Z at the end of a text is left out, and an open quote is refused; False
        for the batches of before this field was there, whose rows must stay as they were.
    """

    kind: Kind
    encoding: str | None = None
    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    header_index: int = 0
    column: int = 0
    columns: int = 1
    cells: Literal["whole", "clean", "split"] = "whole"
    sheet: str | None = None
    strict: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the format as from_json() takes it."""
        header = None if self.header is None else [*self.header]
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"header": header}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Format:
        header = document["header"]
        return cls(**{**document, "header": None if header is None else tuple(header)})

    @property
    def separator(self) -> str:
        """What is between the cells of a row: the delimiter, or a comma in text that we write."""
        return self.delimiter or ","

    @property
    def splits(self) -> bool:
        """Whether a cell may have several addresses."""
        return self.cells == "split"

    @property
    def is_results(self) -> bool:
        """Whether this is a results file of the product that was uploaded again."""
        return bool(self.result_columns)

    @cached_property
    def result_columns(self) -> tuple[int, ...]:
        return result_columns(self.header or ())


def result_columns(header: Sequence[str]) -> tuple[int, ...]:
    """Return the columns of RESULT_COLUMNS in a results file of the product; none in other files.

    A spreadsheet may have put them into another order, or columns behind them. A newer column that
    stands before all others is the file's own, in results of before that column was there.
    """
    if not set(_KNOWN_BY) <= set(header):
        return ()
    last = {name: column for column, name in enumerate(header)}
    ours = [last[name] for name in _KNOWN_BY]
    if last.get(_NEWER, -1) > min(ours):
        ours.append(last[_NEWER])
    return tuple(sorted(ours))


@dataclass(frozen=True)
class Overrides:
    """A person's choices in place of what would be detected; where one is None, detection decides.

    column: the text of its header, or its number from 1.
    delimiter, encoding: as in Format.
    header: whether there is a header, or the line that it is on.
    split: whether a cell may have several addresses.
    sheet: the name of a workbook's sheet, or its number from 1.
    """

    column: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: bool | int | None = None
    split: bool = True
    sheet: str | None = None

    @property
    def can_be_list(self) -> bool:
        """Whether the file may be a list: no choice is about columns, and cells may be split."""
        return self.split and self.column is None and self.delimiter is None and not self.header

    @classmethod
    def parse(
        cls,
        *,
        column: str = "",
        delimiter: str = "",
        encoding: str = "",
        header: str = "",
        split: str = "",
        sheet: str = "",
    ) -> Overrides:
        """Read the texts of a form, where an empty one says nothing. Raises IntakeError."""
        return cls(
            column=column.strip() or None,
            delimiter=_delimiter(delimiter) if delimiter else None,
            encoding=_encoding(encoding) if encoding.strip() else None,
            header=_header(header.strip()) if header.strip() else None,
            split=_yes_or_no("split", split) if split.strip() else True,
            sheet=sheet.strip()[:MAX_SHEET_NAME] or None,
        )


def _delimiter(text: str) -> str:
    known = DELIMITERS.get(text.strip().lower(), text)
    if known not in DELIMITERS.values():
        raise IntakeError(
            "bad_delimiter",
            f"The delimiter {shorten(text, 20)!r} is not one of comma, semicolon, tab and pipe.",
        )
    return known


def _encoding(text: str) -> str:
    name = shorten(text, 40).strip().lower().replace("_", "-").replace(" ", "-")
    name = re.sub(r"^(?:windows|win|ibm|dos|cp)-?(?=\d+$)", "cp", name)
    name = re.sub(r"^iso-?8859-?", "iso8859-", name)
    name = re.sub(r"^utf-?(8|16)(?:-?(le|be)|-sig)?$", r"utf-\1-\2", name).removesuffix("-")
    name = _ALIASES.get(name, name)
    if name not in ENCODINGS:
        raise IntakeError(
            "bad_encoding",
            f"The encoding {shorten(text, 20)!r} is not one of {', '.join(ENCODINGS)}.",
        )
    return name


def _header(text: str) -> bool | int:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    try:
        return _yes_or_no("header", text)
    except IntakeError:
        raise IntakeError(
            "bad_header",
            f"header is yes, no, or the line that it is on, not {shorten(text, 20)!r}.",
        ) from None


def _yes_or_no(name: str, text: str) -> bool:
    answer = {"yes": True, "no": False}.get(text.strip().lower())
    if answer is None:
        raise IntakeError(f"bad_{name}", f"{name} is yes or no, not {shorten(text, 20)!r}.")
    return answer


def cut_row(row: Sequence[str]) -> list[str]:
    """Return the first CELLS of a row, each cut to CELL_LENGTH.

    If the cells take more than ROW_BYTES together, each is cut to a half of CELL_LENGTH, a quarter,
    and so on, so that every column still shows something.
    """
    length = CELL_LENGTH
    cells = [shorten(cell, length) for cell in row[:CELLS]]
    while len(json.dumps(cells, ensure_ascii=False).encode()) > ROW_BYTES:
        length //= 2
        cells = [shorten(cell, length) for cell in cells]
    return cells
