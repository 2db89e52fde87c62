"""Takes the addresses out of a cell: cleans them, and splits a cell that has several.

Cells are cleaned of what programs and people leave around an address, and has no part in it. Most
cells need none of it: `odd_cells` finds the others among many at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits
from urllib.parse import unquote

import numpy as np

from runtime.characters import INVISIBLE
from runtime.texts import Texts

# The bytes of ASCII that plain cells are made of, with the line breaks between cells.
_PLAIN = (ascii_letters + digits + "!#$%&'*+-/=?^_`{|}~.@\n").encode()
# For each byte, 1 if it makes a cell odd: in any text, and in one with strange characters.
_ODD = bytes(byte < 0x80 and byte not in _PLAIN for byte in range(0x100))
_ODD_IF_STRANGE = bytes(byte not in _PLAIN for byte in range(0x100))
_ODD_END = np.isin(np.arange(0x100), list(b".'"))
# Most cells: plain ones or several words, and an address behind a name. To match them takes a tenth
# of the time of taking them apart.
_SPACED = re.compile(r"[\w!#$%&'*+\-/=?^`{|}~.@][\w!#$%&'*+\-/=?^`{|}~.@ ]*[A-Za-z0-9]", re.ASCII)
_NAMED = re.compile(r"[\w .-]*<([\w!#$%&'*+\-/=?^`{|}~.]+@[\w.-]*[A-Za-z0-9])>", re.ASCII)
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
# Marks that reorder the characters after them: without them, an address would not be what it seems.
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BLANKS = re.compile(rf"[\s{INVISIBLE}]*+")
# What may be around an address: not U+202E, which displays all that follows in reverse.
_AROUND = re.compile(rf"(?>(?:(?!\u202e)[\s{INVISIBLE}])*)")
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "‚": "‘", "«": "»", "»": "«", "<": ">"}
# In text that is not ASCII: what cleaned() may change.
_STRANGE = re.compile(f"[{INVISIBLE}＠﹫{''.join(each for each in _QUOTES if not each.isascii())}]")
_COMMENT = re.compile(r"\s\([^()@]*+\)\s*\Z|\A\([^()@]*+\)\s*")
# A mail program's field or group before an address: `mailto:`, `To:`, `Friends:`.
_LABEL = re.compile(r"[^\W\d_][\w -]{0,40}:\s*(?=[^\s:])")
# A piece of a cell between separators. What is in quotes, angle brackets or parentheses belongs to
# one piece. The lengths here are limited so that no cell takes long, however it is made.
_PIECE = re.compile(r'(?>(?:"(?>(?:\\.|[^"\\]){0,300})"|<[^<>]*+>|\([^()]*+\)|[^,;\r\n\t])+)', re.S)
_IN_BRACKETS = re.compile(r"<([^<>@]*+@[^<>]*+)>")
_SEPARATOR = re.compile(r"[,;\r\n\t]")
# In a cell of more characters, addresses_in() first looks whether all addresses are plain. So a
# million of them on a line take less than a second instead of 13.
LONG = 1000
# The most characters of an address with what may be around it, and how many times it is unwrapped.
_LONGEST, _LAYERS = 1000, 10
# Google's separator of several values in a cell.
_GOOGLE = " ::: "


def odd_cells(cells: Texts) -> list[int]:
    """Return the positions of the stripped cells that addresses_in() may not leave as they are."""
    if not cells.are_lines:
        return [*range(len(cells))]
    content = cells.content
    strange = not content.isascii() and _STRANGE.search(content.decode()) is not None
    marked = content.translate(_ODD_IF_STRANGE if strange else _ODD)
    marks = np.frombuffer(marked, np.bool_).nonzero()[0]
    last = np.frombuffer(content, np.uint8)[cells.ends - 1]
    odd = _ODD_END[last].nonzero()[0]
    if len(marks):
        odd = np.union1d(odd, np.searchsorted(cells.ends, marks))
    return odd.tolist()


def addresses_in(cell: str, *, split: bool = True) -> list[str]:
    """Return the addresses in a cell, cleaned; none if the cell is blank.

    split: whether a cell may have several.
    """
    if named := _NAMED.fullmatch(cell):
        return [named[1]]
    if _SPACED.fullmatch(cell) and (cell.count("@") < 2 or " " not in cell or not split):
        return [cell]
    if split and len(cell) > LONG:
        plain = [*filter(None, map(str.strip, _SEPARATOR.split(cell)))]
        if not odd_cells(Texts.of(plain)):
            return plain
    return taken_apart(cell, split=split)


def taken_apart(cell: str, *, split: bool) -> list[str]:
    """Return what addresses_in() does of any cell; most cells need none of that."""
    pieces = _pieces(cell) if split else [cell]
    found = [address for piece in pieces for address in _in_piece(piece, split)]
    # A part of a name before a comma, as in `Smith, Anna <a@x.de>`, is no address.
    if "<" in cell and any("@" in address for address in found):
        found = [address for address in found if "@" in address]
    return found or ([] if is_blank(cell) else [cell.strip()])


def end_of_complete(text: str) -> int:
    """Return the end of the last piece with an address that no further text can change, or 0."""
    if not any(opening in text for opening in '"<('):  # nothing reaches over a separator
        end = max(map(text.rfind, ",;\r\n\t")) + 1
        return end if "@" in text[:end] else 0
    end = before = 0
    for found in _PIECE.finditer(text):
        end = before
        piece = found[0]
        # What is open here may go on beyond the separator that follows.
        if any(piece.count(one) != piece.count(other) for one, other in ("<>", "()")):
            break
        if piece.count('"') % 2:
            break
        if "@" in piece:
            before = found.end()
    return end


def is_blank(cell: str) -> bool:
    """Tell whether nothing in the cell can be seen."""
    return _BLANKS.fullmatch(cell) is not None


def _pieces(cell: str) -> Iterator[str]:
    for found in _PIECE.finditer(cell.replace(_GOOGLE, "\n")):
        if found[0].strip():
            yield found[0]


def _in_piece(piece: str, split: bool) -> Iterator[str]:
    """Yield the addresses of a piece: those in brackets, or words with an @ each, or all of it."""
    if split and (in_brackets := _IN_BRACKETS.findall(piece)):
        yield from map(cleaned, in_brackets)
        return
    words = piece.split() if split else []
    if len(words) > 1 and all(word.count("@") == 1 for word in words):
        yield from filter(None, map(cleaned, words))
    elif address := cleaned(piece):
        yield address


def cleaned(cell: str) -> str:
    """Return a cell without what may be around an address, and without invisible characters.

    Those inside stay if they may matter: joiners in an address that is not ASCII, and marks that
    reorder what is displayed.
    """
    text = _stripped(cell)
    if len(text) > _LONGEST:
        return text
    for _ in range(_LAYERS):
        before = text
        text = _unwrapped(text)
        if text == before:
            break
    if "@" not in text:  # as in Chinese and Japanese text
        text = text.replace("＠", "@").replace("﹫", "@")
    bare = _INVISIBLE.sub("", text)
    return bare if bare.isascii() and not _REORDERING.search(text) else text


def _unwrapped(text: str) -> str:
    """Return the text without its outermost wrapping."""
    if "@" not in text:
        return text
    if text.startswith('="') and text.endswith('"'):  # a formula, for a spreadsheet to keep a text
        text = text[1:]
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1]
    elif label := _LABEL.match(text):
        text = text[label.end() :]
        if label[0].lower() == "mailto:":
            text = unquote(text.partition("?")[0])
    return _stripped(_COMMENT.sub("", text).rstrip(",;."))


def _stripped(text: str) -> str:
    """Return the text without what can't be seen around it."""
    if is_blank(text):
        return ""
    text = text[_AROUND.match(text).end() :]  # type: ignore[union-attr]
    return text[: len(text) - _AROUND.match(text[::-1]).end()]  # type: ignore[union-attr]
