"""The format of an uploaded file, the choices that overrule its detection, and IntakeError."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runtime.phrases import shorten

# The last columns of each results file that the product writes, in this order.
RESULT_COLUMNS = ("status", "verdict", "reason", "explanation", "suggestion", "normalized")

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
# Python's names of the encodings that a file may have. Python's other codecs are no encodings of
# text, or can be made to work for long.
ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp1250", "cp1251", "cp1253"),
    *("cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "iso8859-1", "iso8859-2", "iso8859-5"),
    *("iso8859-7", "iso8859-9", "iso8859-15", "koi8-r", "koi8-u", "mac-roman", "cp437", "cp850"),
    *("cp852", "cp866", "cp932", "shift-jis", "euc-jp", "gb18030", "big5", "cp949", "euc-kr"),
    *("cp874", "ascii"),
)
# The most of a header that is stored, or of a row that is shown: cells, characters of each, and
# bytes of all together as JSON. It is little, because a list of batches has all their headers.
CELLS, CELL_LENGTH, ROW_BYTES = 200, 200, 8_000


class IntakeError(ValueError):
    """The file can't become a batch. The message says what to do.

    code: stable, for programs.
    line: the line of the file that is to blame, if one is.
    """

    def __init__(self, code: str, message: str, *, line: int | None = None):
        super().__init__(message if line is None else f"Line {line:,}: {message}")
        self.code = code
        self.line = line


@dataclass(frozen=True)
class Format:
    """All that is needed to read the same bytes again with the same result; stored with the batch.

    encoding: one of Python's, `utf-8-sig` if there is a BOM; None for a workbook.
    delimiter: None for a workbook.
    header: the cells of the header as cut_row() leaves them, followed by empty ones up to its full
        width; those of RESULT_COLUMNS are whole. None if there is no header.
    header_index: the number of rows above the header, all of them blank.
    column: the column with the addresses, from 0.
    columns: the width of the widest row that was looked at.
    """

    kind: Literal["csv", "xlsx"]
    encoding: str | None = None
    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    header_index: int = 0
    column: int = 0
    columns: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Format:
        header = document["header"]
        return cls(**{**document, "header": None if header is None else tuple(header)})

    @property
    def is_results(self) -> bool:
        """Whether this is a results file of the product that was uploaded again."""
        return is_results(self.header or ())


def is_results(header: tuple[str, ...]) -> bool:
    """Tell by its header whether a file is a results file of the product."""
    return header[-len(RESULT_COLUMNS) :] == RESULT_COLUMNS


@dataclass(frozen=True)
class Overrides:
    """A person's choices in place of what would be detected; None leaves it to detection.

    column: the text of its header, or its number from 1.
    delimiter, encoding: as in Format.
    header: whether there is one.
    """

    column: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None

    @classmethod
    def parse(
        cls, *, column: str = "", delimiter: str = "", encoding: str = "", header: str = ""
    ) -> Overrides:
        """Read the texts of a form, where an empty one says nothing. Raises IntakeError."""
        return cls(
            column=column.strip() or None,
            delimiter=_delimiter(delimiter) if delimiter else None,
            encoding=_encoding(encoding) if encoding.strip() else None,
            header=_yes_or_no(header) if header.strip() else None,
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
    name = text.strip().lower().replace("_", "-").replace(" ", "-")
    aliases = {"utf8": "utf-8", "utf16": "utf-16", "windows-": "cp", "iso-8859-": "iso8859-"}
    aliases |= {"utf-8-sig": "utf-8", "latin-1": "iso8859-1", "latin1": "iso8859-1"}
    for alias, meant in aliases.items():
        if name.startswith(alias):
            name = meant + name[len(alias) :]
    if name not in ENCODINGS:
        raise IntakeError(
            "bad_encoding",
            f"The encoding {shorten(text, 20)!r} is not one of {', '.join(ENCODINGS)}.",
        )
    return name


def _yes_or_no(text: str) -> bool:
    answer = {"yes": True, "no": False}.get(text.strip().lower())
    if answer is None:
        raise IntakeError("bad_header", f"header is yes or no, not {shorten(text, 20)!r}.")
    return answer


def cut_row(row: Sequence[str]) -> list[str]:
    """Return the first CELLS of a row, each cut to CELL_LENGTH.

    If they take more than ROW_BYTES together, each is cut to a half of that, a quarter, and so on,
    so that every column still shows something.
    """
    length = CELL_LENGTH
    cells = [shorten(cell, length) for cell in row[:CELLS]]
    while len(json.dumps(cells, ensure_ascii=False).encode()) > ROW_BYTES:
        length //= 2
        cells = [shorten(cell, length) for cell in cells]
    return cells
