"""Characters of Unicode that mean something to more than one folder."""

from __future__ import annotations

# Characters that can't be seen, as a set of a regular expression without its brackets: controls,
# joiners, marks of direction, byte order marks, soft hyphens, fillers, variation selectors, tags
# (Unicode 15.1, general category Cf and the like). White space is not among them.
INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff"
)
