"""Detects the encoding and the delimiter of a text file."""

from __future__ import annotations

import codecs
import io
import re
import threading
from typing import BinaryIO

from charset_normalizer import from_bytes

from tabular.formats import DELIMITERS, IntakeError

# Bytes that are read and decoded at once.
BLOCK = 1 << 20
# Bytes that tell whether a text without a BOM is UTF-16.
WIDE_SAMPLE = 4096
# Bytes that are read around the first one that isn't UTF-8, and how many of them the encoding is
# guessed from.
NEIGHBOURHOOD = 1 << 18
SUSPECTS = 1 << 13
# Characters from which the delimiter is guessed. Long words among them are cut short: they say
# nothing of delimiters, and clevercsv takes time that grows with the third power of their length.
SAMPLE = 8000
# clevercsv sets its longest cell to the length of its sample, for all threads at once.
_detecting = threading.Lock()
_LONG_WORD = re.compile(r'([^,;\t|"\n]{64})[^,;\t|"\n]+')

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# The encodings that are guessed, beside cp1252. A person must name the others of formats.ENCODINGS.
_GUESSED = (
    *(
        "cp1250",
        "cp1251",
        "cp1253",
        "cp1255",
        "cp1257",
        "cp1256",
        "koi8_r",
        "mac_roman",
        "cp850",
        "cp932",
    ),
    *("gb18030", "big5", "cp949"),
)
_WORD = re.compile(r"[^\W\d_]+")
# In text that is really cp1252, no word has a symbol, or a capital after a small letter, inside.
_ODD_IN_WORD = re.compile(r"[^\W\d_][¡-©«¬®-´¶¸¹»-¿×÷†‡ˆ‰‹›‚„…˜][^\W\d_]|[a-z][À-ÖØ-ÞŠŒŽŸ]")


def encoding_of(file: BinaryIO, given: str | None = None) -> str:
    """Return the encoding of the file: `given`, or else a guess from its bytes.

    The file is left at its beginning. Raises IntakeError.
    """
    file.seek(0)
    start = file.read(WIDE_SAMPLE)
    file.seek(0)
    bom = next((name for bom, name in _BOMS.items() if start.startswith(bom)), None)
    if given is not None:
        if bom and given.startswith("utf-"):
            return bom
        # Python expects a BOM for "utf-16". Nearly all files without one are little-endian.
        return "utf-16-le" if given == "utf-16" else given
    if bom is not None:
        return bom
    if wide := _utf_16(start):
        return wide
    position = _first_not_utf8(file)
    encoding = "utf-8" if position is None else _guess(file, position)
    file.seek(0)
    return encoding


def _utf_16(start: bytes) -> str | None:
    """Return the UTF-16 encoding of a text without a BOM, in which every other byte is NUL."""
    for encoding, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if start[high::2].count(0) * 2 > len(start[high::2]) and not start[low::2].count(0):
            return encoding
    return None


def _first_not_utf8(file: BinaryIO) -> int | None:
    """Return the position of the first byte that isn't UTF-8, None if all are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    while True:
        block = file.read(BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            return read - pending + error.start
        if not block:
            return None
        read += len(block)


def _guess(file: BinaryIO, position: int) -> str:
    """Guess the encoding of a file that isn't UTF-8 from the lines around `position`."""
    start = max(0, position - NEIGHBOURHOOD // 4)
    file.seek(start)
    data = file.read(NEIGHBOURHOOD).replace(b"\r", b"\n")
    # The line with `position` comes first, cut to what is near it, because it surely isn't ASCII.
    here = position - start
    line_start = data.rfind(b"\n", 0, here) + 1
    line_end = data.find(b"\n", here) % (len(data) + 1)
    line = data[max(line_start, here - SUSPECTS // 4) : min(line_end, here + SUSPECTS // 4)]
    lines = [each for each in data.split(b"\n") if not each.isascii()]
    suspects = b"\n".join([line, *lines])[:SUSPECTS]
    if not _CONTROLS.search(suspects):
        if _is_cp1252(suspects):
            return "cp1254" if _is_turkish(suspects) else "cp1252"
        best = from_bytes(
            suspects, cp_isolation=list(_GUESSED), enable_fallback=False, threshold=0.4
        ).best()
        if best is not None:
            return best.encoding.replace("_", "-")
    raise IntakeError(
        "not_utf8",
        "this is not UTF-8 text, nor any other that could be recognised. Save the file as CSV in"
        " UTF-8 and upload it again, or name its encoding.",
        line=_line_of(file, position),
    )


def _is_cp1252(suspects: bytes) -> bool:
    """Tell whether these bytes make sense as cp1252, the encoding of Western Europe.

    Words of Western Europe have ASCII letters beside the others. Decoded as cp1252, Greek and
    Cyrillic words have none, and words of Central Europe have symbols inside.
    """
    try:
        text = suspects.decode("cp1252")
    except UnicodeDecodeError:
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    strange = sum(
        sum(not letter.isascii() for letter in word) > max(2, len(word) / 2) for word in words
    )
    return not _ODD_IN_WORD.search(text) and strange * 5 <= len(words)


def _is_turkish(suspects: bytes) -> bool:
    """Tell whether these bytes, which make sense as cp1252, are rather Turkish (cp1254).

    Six letters are Icelandic in the one and Turkish in the other; Icelandic has accents besides.
    """
    letters = set(suspects.decode("cp1252"))
    return bool(letters & set("ÐÝÞðýþ")) and not letters & set("áéíóúæÁÉÍÓÚÆ")


def _line_of(file: BinaryIO, position: int) -> int:
    file.seek(0)
    lines, carriage_returns = 1, 0
    while position > 0 and (block := file.read(min(BLOCK, position))):
        position -= len(block)
        lines += block.count(b"\n")
        carriage_returns += block.count(b"\r")
    return lines if lines > 1 else lines + carriage_returns


def delimiter_of(file: BinaryIO, encoding: str) -> str:
    """Return the delimiter of a CSV file, a comma if it has one column.

    The file is left at its beginning.
    """
    return guess_delimiter(start_of(file, encoding).lstrip("\n")[:SAMPLE])


def start_of(file: BinaryIO, encoding: str) -> str:
    """Return the first characters, SAMPLE of them at least unless the file has fewer."""
    file.seek(0)
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)(errors="replace"), translate=True
    )
    start = decoder.decode(file.read(4 * SAMPLE))
    file.seek(0)
    return start


def guess_delimiter(sample: str) -> str:
    """Return the delimiter in a sample of text, which may end anywhere."""
    if len(sample) >= SAMPLE and "\n" in sample:
        sample = sample[: sample.rindex("\n") + 1]
    # The detector fails at a NUL. A file with one is refused when its rows are read.
    sample = _LONG_WORD.sub(r"\1", sample).replace("\0", " ")
    candidates = [each for each in DELIMITERS.values() if each in sample]
    if not candidates:
        return ","
    # Importing clevercsv takes a third of the app's start, and lists of one column don't need it.
    from clevercsv.detect import Detector

    with _detecting:
        dialect = Detector().detect(sample, delimiters=candidates)
    return (dialect and dialect.delimiter) or ","
