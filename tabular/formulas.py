"""Puts an apostrophe before formulas in results, which a spreadsheet would run otherwise.

A spreadsheet may split results at another separator than the one that they were written with, even
within quotes. So a cell may begin at every place at which any reader may see one begin.
"""

from __future__ import annotations

import re

import numpy as np

from tabular.formats import DELIMITERS

# The first characters of formulas. In some languages Excel takes the full-width ones, too.
SIGNS = "=+-@＝＋－＠"
# Characters after which a cell begins for some reader: separators and line breaks.
_BEFORE = "".join(DELIMITERS.values()) + "\n\r\v\f"
_NUMBER = r"[+-][0-9]+(?:[.,][0-9]+)*"
# Quotes and apostrophes between the beginning of a cell and its sign; defused() may have put an
# apostrophe there.
_QUOTES = "[\"']*+"
_SIGN = f"(?=[{re.escape(SIGNS)}])"
_APOSTROPHE = re.compile(rf"(?:\A|[{re.escape(_BEFORE)}]){_QUOTES}(?<='){_SIGN}")


class Defuser:
    """Defuses the formulas in CSV with this delimiter."""

    def __init__(self, delimiter: str) -> None:
        own = re.escape(delimiter)
        # Numbers stay as they are, except in a row's first cell: it begins there for every reader,
        # but for a reader with another separator it ends elsewhere.
        end = f"[{own}\n]"
        number = f'{_NUMBER}{end}|"{_NUMBER}"{end}'
        # This lookahead only saves time: at most cells it fails before the slower ones are tried.
        near = f"(?=[\"'{re.escape(SIGNS)}])"
        self._formula = re.compile(
            f"[{re.escape(_BEFORE)}]{near}(?!(?<={own})(?:{number})){_QUOTES}{_SIGN}"
        )

    def defused(self, rows: str) -> bytes:
        """Return whole rows in UTF-8, with an apostrophe before each sign that may begin a cell."""
        text = f"\n{rows}"
        content = text.encode()
        # Most texts have no such sign. NumPy finds that out in a third of the time of a search for
        # two bytes, which is faster than the pattern.
        classes = np.frombuffer(content.translate(_CLASSES, b"\"'"), np.int8)
        if ((classes[:-1] == _BEGINS) & (classes[1:] == _IS_SIGN)).any():
            content = self._formula.sub(r"\g<0>'", text).encode()
        return content[1:]


def undefused(cell: str) -> str:
    """Return the cell as it was before defused()."""
    return _APOSTROPHE.sub(lambda found: found[0][:-1], cell) if "'" in cell else cell


# Maps each byte of _BEFORE, and the first byte of each sign, to a number of their own, and all
# others to 0.
_BEGINS, _IS_SIGN = 1, 2
_FIRST = {sign.encode()[0] for sign in SIGNS}
_CLASSES = bytes(
    _BEGINS if byte in _BEFORE.encode() else _IS_SIGN if byte in _FIRST else 0
    for byte in range(0x100)
)
