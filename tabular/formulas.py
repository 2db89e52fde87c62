"""Defuses formulas in the cells of results, which a spreadsheet would run, by an apostrophe.

A spreadsheet may split results at another separator than the one they were written with, and inside
what we put in quotes. So every place counts at which any reader may see a cell begin.
"""

from __future__ import annotations

import re

from tabular.formats import DELIMITERS

# Characters that a formula begins with. In some languages Excel takes the full-width ones, too.
SIGNS = "=+-@＝＋－＠"
# Characters after which a cell begins for some reader: separators and line breaks.
_BEFORE = "".join(DELIMITERS.values()) + "\n\r\v\f"
_NUMBER = r"[+-][0-9]+(?:[.,][0-9]+)*"
# Quotes and apostrophes between the beginning of a cell and its sign; an apostrophe may be ours.
_QUOTES = "[\"']*+"
_SIGN = f"(?=[{re.escape(SIGNS)}])"
_APOSTROPHE = re.compile(rf"(?:\A|[{re.escape(_BEFORE)}]){_QUOTES}(?<='){_SIGN}")


class Defuser:
    """Defuses the formulas in CSV that is written with this delimiter."""

    def __init__(self, delimiter: str) -> None:
        own = re.escape(delimiter)
        # A cell that is a number stays one, unless it is the first of its row: a cell begins there
        # for every reader, whatever its separator, but may end elsewhere than we think.
        end = f"[{own}\n]"
        number = f'{_NUMBER}{end}|"{_NUMBER}"{end}'
        # This lookahead only saves time: it fails at most cells, before the slower ones.
        near = f"(?=[\"'{re.escape(SIGNS)}])"
        self._formula = re.compile(
            f"[{re.escape(_BEFORE)}]{near}(?!(?<={own})(?:{number})){_QUOTES}{_SIGN}"
        )

    def defused(self, rows: str) -> bytes:
        """Return whole rows in UTF-8, each sign that a cell may begin with behind an apostrophe."""
        text = f"\n{rows}"
        content = text.encode()
        # Most rows have no such sign, and bytes are searched faster than a pattern is.
        if b"\n=" in content.translate(_CLASSES, b"\"'"):
            content = self._formula.sub(r"\g<0>'", text).encode()
        return content[1:]


def undefused(cell: str) -> str:
    """Return the cell as it was before defused(): without the apostrophes that may be ours."""
    return _APOSTROPHE.sub(lambda found: found[0][:-1], cell) if "'" in cell else cell


# Maps each byte of _BEFORE to a line break, and the first byte of each sign to =.
_FIRST = bytes({sign.encode()[0] for sign in SIGNS})
_CLASSES = bytes.maketrans(_BEFORE.encode() + _FIRST, b"\n" * len(_BEFORE) + b"=" * len(_FIRST))
