"""Takes many addresses apart at once, for the check.

NumPy does for all of them what the check would do for one after the other, so most addresses of a
list never become a string.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from processors.mailboxes import ROLES
from processors.short_texts import LONGEST, Numbers, cut, keys, padded
from processors.syntax import ATOM_CHARACTERS, MAX_LOCAL
from runtime.texts import Places

_Kinds = npt.NDArray[np.uint8]
_Flags = npt.NDArray[np.bool_]

# The kinds of bytes: 0 is a character of an atom (RFC 5322). All others are called marks.
_LINE_END, _AT, _FULL_STOP, _WRONG = 1, 2, 3, 4
_KIND_OF = {"\n": _LINE_END, "@": _AT, ".": _FULL_STOP} | dict.fromkeys(ATOM_CHARACTERS, 0)
_KINDS = bytes(_KIND_OF.get(chr(byte), _WRONG) for byte in range(0x100))

# This bit makes letters lower-case. No other character of a plain local part becomes one that a
# role has; "_" becomes 0x7F, in the roles below too.
_LOWER = 0x20
_LOWER_WORD = np.uint64(0x2020202020202020)
# The roles. Those that have a full stop begin with one of two words, of which the first three bytes
# are compared: the fourth is 0xFF in both words.
_ROLES = Numbers.of({"".join(chr(ord(each) | _LOWER) for each in role): 0 for role in ROLES})
_NO, _DO, _LOWER_BEGINNING = (
    np.frombuffer(beginning, np.uint32)[0] for beginning in (b"no.\xff", b"do.\xff", b"   \xff")
)


class PlainLines:
    """Tells the plain lines of a text from the others.

    The outcome of a plain line depends on its domain alone. It has one "@", before that a plain
    local part that is no role, and behind it what may be a domain, of up to LONGEST bytes.
    """

    def __init__(self, text: str) -> None:
        # With a line end on both sides of each line.
        content = padded(f"\n{text}\n".encode("utf-8", "surrogatepass"))
        kinds = np.frombuffer(content.translate(_KINDS), np.uint8)
        places = np.flatnonzero(kinds != 0)
        kinds = kinds[places]
        self._content = content
        self._ends = places[kinds == _LINE_END]
        lines, ats, has_stop = _plain_locals(places, kinds)
        starts = self._ends[lines] + 1
        plain = ~_may_be_role(content, starts, ats - starts, has_stop)
        lengths = self._ends[lines + 1] - ats - 1
        plain &= lengths <= LONGEST
        # Of each plain line, its number, and the key of its domain.
        self._lines = lines[plain]
        self._domains = keys(content, ats[plain] + 1, lengths[plain])

    def not_zero(self, numbers: Numbers) -> Iterator[tuple[int, int]]:
        """Yield (line, number) of each plain line whose domain's number isn't 0.

        The number is NONE if the domain has none.
        """
        found = numbers.find(self._domains)
        here = np.flatnonzero(found)
        return zip(self._lines[here].tolist(), found[here].tolist(), strict=True)

    def others(self) -> list[int]:
        """Return the numbers, from 0, of the lines that aren't plain."""
        is_other = np.ones(len(self._ends) - 1, np.bool_)
        is_other[self._lines] = False
        return np.flatnonzero(is_other).tolist()

    def texts(self, lines: Sequence[int]) -> list[str]:
        """Return the lines with these numbers."""
        at = np.array(lines, np.intp)
        starts, ends = self._ends[at] + 1, self._ends[at + 1]
        return [
            self._content[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


def _plain_locals(places: Places, kinds: _Kinds) -> tuple[Places, Places, _Flags]:
    """Find the lines with one "@", and before it a plain local part of up to MAX_LOCAL bytes.

    places, kinds: those of all marks.
    Returns of each such line its number, the place of its "@", and whether its local part has a
    full stop.
    """
    # `wrong` counts, up to each mark, the marks that no plain local part has: wrong characters, and
    # a mark right behind another, such as a second full stop, or one at the beginning.
    is_wrong = kinds == _WRONG
    is_wrong[1:] |= np.diff(places) == 1
    wrong = np.cumsum(is_wrong, dtype=np.int32)
    is_end = kinds == _LINE_END
    ats = np.flatnonzero(kinds == _AT)
    lines = np.cumsum(is_end, dtype=np.int32)[ats] - 1
    begins = np.flatnonzero(is_end)[lines]  # of each "@", the line end before it
    is_first = np.diff(lines, prepend=-1) != 0
    # The only one of its line. A text may have no "@" at all, hence the slice.
    plain = is_first & np.append(is_first[1:], True)[: len(ats)]
    plain &= wrong[ats] == wrong[begins]
    plain &= places[ats] - places[begins] - 1 <= MAX_LOCAL
    return lines[plain], places[ats[plain]], (ats - begins)[plain] > 1


def _may_be_role(content: bytes, starts: Places, lengths: Places, has_stop: _Flags) -> _Flags:
    """Return of plain local parts whether each may be a role, in any case.

    has_stop: whether it has a full stop.
    """
    beginnings = cut(content, starts, 4).view(np.uint32) | _LOWER_BEGINNING
    found: _Flags = (beginnings == _NO) | (beginnings == _DO)
    short = np.flatnonzero(~has_stop & (lengths <= LONGEST))
    found[short] = _ROLES.find(keys(content, starts[short], lengths[short]) | _LOWER_WORD) == 0
    return found
