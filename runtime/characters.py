"""Characters of Unicode that mean something to more than one folder."""

from __future__ import annotations

import re

# Characters that can't be seen, as a set of a regular expression without its brackets: controls,
# joiners, marks of direction, byte order marks, soft hyphens, fillers, variation selectors, tags
# (Unicode 15.1, general category Cf and the like). White space is not among them.
INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
# The most characters that named() names.
_NAMED = 3


def has_invisible(text: str) -> bool:
    return _INVISIBLE.search(text) is not None


def named(text: str) -> str:
    """Return the code points of a text's invisible characters: `U+200B, U+00AD`; empty if none."""
    found = [f"U+{ord(each):04X}" for each in dict.fromkeys(_INVISIBLE.findall(text))]
    more = len(found) - _NAMED
    return ", ".join(found[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
