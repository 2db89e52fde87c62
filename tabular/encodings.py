"""Detects the encoding of a text file."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import log10
from typing import BinaryIO

from tabular.formats import IntakeError
from tabular.plausible import is_punctuation, plausibility

# Bytes that are read and decoded at once.
BLOCK = 1 << 20
# Bytes that tell whether a text without a BOM is UTF-16.
WIDE_SAMPLE = 4096
# Bytes of the sample that an encoding is guessed from. Half of them are pieces with rare bytes.
SAMPLE = 1 << 14
# Bytes of the longest cell that is taken whole, and of the longest word of a longer one.
LONGEST_CELL, LONGEST_WORD = 200, 2_000
# The pieces of the sample that each byte of the file is in, if the file has so many.
ENOUGH = 8
# Bytes that are searched for pieces of the sample at once.
SAMPLE_BLOCK = 1 << 16
# The share of the sample that may be damaged.
DAMAGED = 0.1
# How likely a reading must be in proportion to the best one: to be compared with it at all, and to
# be a candidate.
COMPARED, DOUBT = 0.1, 0.25
# The most candidates, the most texts that show how each reads the file, and their longest.
CANDIDATES, EXAMPLES, EXAMPLE_LENGTH = 4, 3, 60

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# The encodings that are guessed, with a factor for chardet's confidence in each. Of those that read
# the file alike, the first is taken. A person must name the others of formats.ENCODINGS.
_WEIGHTS = {
    "cp1252": 1.25,
    **dict.fromkeys(("cp1250", "cp1254", "cp1257", "cp1251", "cp1253", "cp1255", "cp1256"), 1),
    **dict.fromkeys(("iso8859-2", "koi8-r", "koi8-u", "cp866", "cp874", "mac-roman"), 1),
    **dict.fromkeys(("cp932", "gb18030", "big5hkscs", "cp949"), 1),
    **dict.fromkeys(("cp850", "cp437", "cp852"), 0.95),
    "mac-latin2": 0.9,
    "mac-cyrillic": 0.75,  # differs from cp1251 in capitals only, and hardly any list has it
    "euc-jp": 0.6,
}
# The only encoding that chardet has another name for.
_OF_CHARDET = {"euc_jis_2004": "euc-jp"}
_TO_CHARDET = {"euc-jp": "euc_jis_2004"}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# Bytes between cells, and between words. No encoding has these inside of a character.
_BETWEEN_CELLS = re.compile(rb"[\r\n\t,;]+")
_BETWEEN_WORDS = re.compile(rb"[ -/]+")


@dataclass(frozen=True)
class Candidate:
    """An encoding that the file may be in.

    texts: pieces of the file, EXAMPLES at most, as this encoding reads them. They are the same
        pieces for all candidates, which read them differently.
    """

    encoding: str
    texts: list[str]


@dataclass
class _Reading:
    """What an encoding makes of the pieces of a sample, and how likely that is right."""

    encoding: str
    texts: list[str]
    score: float


def encoding_of(file: BinaryIO, given: str | None = None) -> str:
    """Return the encoding of the file: `given`, or else a guess from its bytes.

    The file is left at its beginning. Raises IntakeError.
    """
    start = _start(file)
    if given is not None:
        bom = _bom(start)
        if bom and given.startswith("utf-"):
            return bom
        # Python expects a BOM for "utf-16". Nearly all files without one are little-endian.
        return "utf-16-le" if given == "utf-16" else given
    if sure := of_marks(start):
        return sure
    position = _first_not_utf8(file)
    if position is None:
        file.seek(0)
        return "utf-8"
    sample = _sample(file)
    if _is_rather_utf8(sample):
        found = "utf-8"
    elif readings := _readings(sample):
        found = readings[0].encoding
    else:
        raise IntakeError(
            "not_utf8",
            "this is not UTF-8 text, nor text in another encoding that could be recognized. Save"
            " the file as CSV in UTF-8 and upload it again, or name its encoding.",
            line=_line_of(file, position),
        )
    file.seek(0)
    return found


def candidates(file: BinaryIO) -> list[Candidate]:
    """Return the CANDIDATES likeliest encodings, the best first; none if one is certain.

    The first is what encoding_of() returns. The file is left at its beginning.
    """
    start = _start(file)
    sample = []
    if not of_marks(start) and _first_not_utf8(file) is not None:
        sample = _sample(file)
    file.seek(0)
    readings = [] if _is_rather_utf8(sample) else _readings(sample)[:CANDIDATES]
    if len(readings) < 2:
        return []
    places = _telling(readings)
    return [Candidate(each.encoding, [_cut(each.texts[n]) for n in places]) for each in readings]


def _start(file: BinaryIO) -> bytes:
    file.seek(0)
    start = file.read(WIDE_SAMPLE)
    file.seek(0)
    return start


def of_marks(start: bytes) -> str | None:
    """Return the encoding that a BOM or the NULs of UTF-16 show; None if there are none.

    start: the first bytes of a file.
    """
    return _bom(start) or _utf_16(start)


def _bom(start: bytes) -> str | None:
    return next((name for bom, name in _BOMS.items() if start.startswith(bom)), None)


def _utf_16(start: bytes) -> str | None:
    """Return the UTF-16 encoding of a text without a BOM, in which every other byte is often NUL.

    Each character of ASCII has a NUL. In a list of Asian names fewer than half are of ASCII, but
    among them is the @ of each address.
    """
    for encoding, high, at in (("utf-16-le", 1, b"@\0"), ("utf-16-be", 0, b"\0@")):
        nuls, others = start[high::2].count(0), start[1 - high :: 2].count(0)
        share = nuls / max(len(start[high::2]), 1)
        if (share > 1 / 2 or (share > 1 / 5 and at in start)) and others * 8 <= nuls:
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


def _line_of(file: BinaryIO, position: int) -> int:
    file.seek(0)
    lines, carriage_returns = 1, 0
    while position > 0 and (block := file.read(min(BLOCK, position))):
        position -= len(block)
        lines += block.count(b"\n")
        carriage_returns += block.count(b"\r")
    return lines if lines > 1 else lines + carriage_returns


def _sample(file: BinaryIO) -> list[bytes]:
    """Return different pieces of the file that aren't ASCII, some SAMPLE bytes in all.

    Each byte of the file is in ENOUGH of the pieces if the file has so many, so that a letter of a
    few names among many others is seen. The other pieces are from everywhere in the file.
    """
    rare: dict[bytes, None] = {}
    common: dict[bytes, None] = {}
    counts: Counter[int] = Counter()
    stride = 1
    for number, block in enumerate(_blocks(file)):
        full = _size(rare) >= SAMPLE // 2
        known = bytes(each for each in range(256) if full or each < 128 or counts[each] >= ENOUGH)
        wanted = {*block.translate(None, known)}
        if not wanted and number % stride:
            continue
        for piece in _pieces(block):
            if not wanted.isdisjoint(piece):
                rare[piece] = None
                counts.update({*piece})
                wanted = {each for each in wanted if counts[each] < ENOUGH}
            elif number % stride == 0 and piece not in rare:
                common[piece] = None
        while _size(common) > SAMPLE // 2:
            common = dict.fromkeys([*common][::2])
            stride *= 2
    return [*rare, *common]


def _size(pieces: Collection[bytes]) -> int:
    return sum(map(len, pieces)) + len(pieces)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the parts of the file that aren't ASCII, each of whole cells."""
    file.seek(0)
    begins = True
    while block := file.read(SAMPLE_BLOCK) + file.readline(SAMPLE_BLOCK):
        ends = block.endswith(b"\n") or len(block) < 2 * SAMPLE_BLOCK
        if not block.isascii():
            start = 0 if begins else len(_BETWEEN_CELLS.split(block, 1)[0])
            stop = len(block) if ends else max(map(block.rfind, (b"\r", b"\t", b",", b";")))
            yield block[start:stop]
        begins = ends


def _pieces(block: bytes) -> Iterator[bytes]:
    """Yield the cells that aren't ASCII, or the words of long ones."""
    for cell in _BETWEEN_CELLS.split(block):
        if not cell.isascii():
            for piece in [cell] if len(cell) <= LONGEST_CELL else _BETWEEN_WORDS.split(cell):
                if len(piece) <= LONGEST_WORD and not piece.isascii():
                    yield piece


def _is_valid(piece: bytes, encoding: str) -> bool:
    try:
        piece.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_rather_utf8(sample: list[bytes]) -> bool:
    """Tell whether most of a file is UTF-8, so that the rest is a mistake in it."""
    return 2 * sum(_is_valid(piece, "utf-8") for piece in sample) > len(sample)


def _readings(sample: list[bytes]) -> list[_Reading]:
    """Return the readings of a sample by the likely encodings, the likeliest first.

    No two of them have the same text.
    """
    sample = _undamaged(sample)
    if any(map(_CONTROLS.search, sample)):
        return []
    if sample and all(_is_valid(piece, "cp1252") for piece in sample):
        texts = [piece.decode("cp1252") for piece in sample]
        if all(map(is_punctuation, texts)):
            return [_Reading("cp1252", texts, 1)]
    readings = _scored(sample, _WEIGHTS)
    if not readings:
        return []
    for each in readings:
        if each.encoding == "cp1252":
            # The most usual encoding is the likeliest where a few pieces can't tell much.
            each.score *= 1 + 1 / len(sample)
    best, *others = sorted(readings, key=lambda each: -each.score)
    for other in others:
        if _odds(sample, other, best) > 1:
            best = other
    odds = {each.encoding: _odds(sample, each, best) for each in readings if each is not best}
    likely = [each for each in readings if odds.get(each.encoding, 0) >= DOUBT]
    return [best, *sorted(likely, key=lambda each: -odds[each.encoding])]


def _undamaged(sample: list[bytes]) -> list[bytes]:
    """Return the sample without the pieces that are probably damaged, if those are few.

    Such a piece has control characters, is UTF-8, or has a byte that cp1252 doesn't have.
    """
    sound = [
        piece
        for piece in sample
        if _is_valid(piece, "cp1252")
        and not _is_valid(piece, "utf-8")
        and not _CONTROLS.search(piece)
    ]
    return sound if len(sound) >= (1 - DAMAGED) * len(sample) else sample


def _scored(sample: list[bytes], encodings: Collection[str]) -> list[_Reading]:
    """Return the readings of a sample that make sense, the likeliest first."""
    data = b"\n".join([b"", *sample])
    scores: dict[str, tuple[float, str]] = {}
    best = 0.0
    for encoding, score in _by_chardet(data, encodings) if sample else ():
        if score <= COMPARED * best or not _is_valid(data, encoding):
            continue
        text = data.decode(encoding)
        score *= plausibility(text)
        alike, known = scores.get(text, (0.0, encoding))
        scores[text] = max(alike, score), min(known, encoding, key=[*_WEIGHTS].index)
        best = max(best, score)
    readings = [
        _Reading(name, text.split("\n")[1:], score)
        for text, (score, name) in scores.items()
        if score > COMPARED * best
    ]
    return sorted(readings, key=lambda each: -each.score)


def _by_chardet(data: bytes, encodings: Collection[str]) -> Iterator[tuple[str, float]]:
    """Yield encodings with chardet's confidence in them, weighted. The surest comes first."""
    # Importing chardet takes a fifth of the app's start, and most files are UTF-8.
    from chardet import detect_all

    names = [_TO_CHARDET.get(each, each) for each in encodings]
    for found in detect_all(
        data,
        ignore_threshold=True,
        compat_names=False,
        include_encodings=names,
        # chardet warns if what it answers for such data is not among include_encodings.
        no_match_encoding=names[0],
        empty_input_encoding=names[0],
    ):
        name = found["encoding"] or ""
        encoding = _OF_CHARDET.get(name, name)
        if encoding in encodings:
            yield encoding, found["confidence"] * _WEIGHTS[encoding]


def _odds(sample: list[bytes], one: _Reading, other: _Reading) -> float:
    """Return how much likelier one reading is than another.

    Only the pieces that they read differently can tell. The fewer of the sample those are, the more
    they count by themselves. The more there are, the further the odds are from 1.
    """
    pairs = zip(sample, one.texts, other.texts, strict=True)
    telling = [piece for piece, a, b in pairs if a != b]
    encodings = (one.encoding, other.encoding)
    scores = dict.fromkeys(encodings, 1e-9)
    scores |= {each.encoding: each.score for each in _scored(telling, encodings)}
    apart = scores[one.encoding] / scores[other.encoding]
    odds = one.score / other.score * apart ** (1 - len(telling) / len(sample))
    return float(odds ** (1 + log10(len(telling))))


def _telling(readings: list[_Reading]) -> list[int]:
    """Return the places of the texts that tell most readings apart, EXAMPLES at most."""
    chosen: list[int] = []
    places = range(len(readings[0].texts))

    def told_apart(place: int) -> tuple[int, int]:
        together = {tuple(each.texts[n] for n in (*chosen, place)) for each in readings}
        return len(together), len({each.texts[place] for each in readings})

    while len(chosen) < min(EXAMPLES, len(places)):
        chosen.append(max((n for n in places if n not in chosen), key=told_apart))
    return chosen


def _cut(text: str) -> str:
    """Return at most EXAMPLE_LENGTH characters, around the first that isn't ASCII."""
    text = text.strip(' "')
    first = next((n for n, character in enumerate(text) if not character.isascii()), 0)
    start = max(0, min(first - EXAMPLE_LENGTH // 2, len(text) - EXAMPLE_LENGTH))
    return text[start : start + EXAMPLE_LENGTH]
