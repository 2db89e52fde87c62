"""Formulas in the cells of results, which a spreadsheet would run: an apostrophe makes them text.

A spreadsheet may split results at another separator than they were written with, and within quotes
that it doesn't take for such. So it is not asked where cells begin, but where they may.
"""

from __future__ import annotations

import re

from formats import DELIMITERS

# What a formula begins with. Excel takes the full-width ones, too, in some languages.
SIGNS = "=+-@＝＋－＠"
# What a cell may begin behind, for some reader, beside quotes: a separator, or a line break.
_BEFORE = "".join(DELIMITERS.values()) + "\n\r\v\f"
_NUMBER = r"[+-][0-9]+(?:[.,][0-9]+)*"
# Quotes and apostrophes before a sign, of which one may be ours.
_QUOTES = "[\"']*+"
_SIGN = f"(?=[{re.escape(SIGNS)}])"
_APOSTROPHE = re.compile(rf"(?:\A|[{re.escape(_BEFORE)}]){_QUOTES}(?<='){_SIGN}")


class Defuser:
    """Defuses the formulas in CSV with this delimiter."""

    def __init__(self, delimiter: str) -> None:
        own = re.escape(delimiter)
        # A number that is a cell stays one, but for the first of a row, which begins for every
        # reader, and ends for each somewhere else.
        end = f"[{own}\n]"
        number = f'{_NUMBER}{end}|"{_NUMBER}"{end}'
        # The first look ahead passes most cells over, and only saves time.
        near = f"(?=[\"'{re.escape(SIGNS)}])"
        self._formula = re.compile(
            f"[{re.escape(_BEFORE)}]{near}(?!(?<={own})(?:{number})){_QUOTES}{_SIGN}"
        )

    def defused(self, rows: str) -> bytes:
        """Whole rows in UTF-8, with an apostrophe before each sign that a cell may begin with."""
        text = f"\n{rows}"
        content = text.encode()
        # Most rows have none of these, which is found out faster by bytes.
        if b"\n=" in content.translate(_CLASSES, b"\"'"):
            content = self._formula.sub(r"\g<0>'", text).encode()
        return content[1:]


def undefused(cell: str) -> str:
    """The cell as it was before its formulas were defused, whatever is in it."""
    return _APOSTROPHE.sub(lambda found: found[0][:-1], cell) if "'" in cell else cell


# Each byte that is before a cell as a line break, each that a sign begins with as =.
_FIRST = bytes({sign.encode()[0] for sign in SIGNS})
_CLASSES = bytes.maketrans(_BEFORE.encode() + _FIRST, b"\n" * len(_BEFORE) + b"=" * len(_FIRST))
