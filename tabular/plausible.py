"""Tells how plausible a text is, as what people write in lists: names, places, notes.

A file that is read in a wrong encoding has symbols and capitals inside of its words, letters of
two scripts in one word, or letters that no language has together.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from math import log2

# The letters beyond ASCII of languages in Latin script, one language or close relatives a word.
_WESTERN = "äöüß àâæçéèêëîïôœùûüÿ áéíñóúüàèïòç àèéìíîòóùú áâãàçéêíóôõúü ëéèïöüêáóíú åäöæøéü åäöšž"
_OTHER = (
    "áðéíóúýþæö ąćęłńóśźż áčďéěíňóřšťúůýžöü áäčďéíĺľňóôŕšťúýž áéíóöőúüű čćđšž ăâîşţ çğıöşüâîû"
    " ąčęėįšųūž āčēģīķļņšūž äõöüšž çë"
)
_ALPHABETS = [frozenset(letters) for letters in f"{_WESTERN} {_OTHER}".split()]
# The letters of a list with names of many Western countries, and how plausible such a list is. A
# list in a single language is 1.
_MIXED = frozenset(_WESTERN)
_OF_MIXED = 0.85

# What a character is: a letter of ASCII (U, u), of Latin beyond it (A, a; o if it may stand among
# capitals as well), or of another script; m for a mark on the letter before it; - for what may
# stand inside of a word, q for what may stand beside one, s for other symbols; x for what no text
# has. Capitals are capital here.
_SCRIPTS = {"LATIN": "Aa", "GREEK": "Gg", "CYRILLIC": "Cc", "HALFWIDTH": "ww"}
_SCRIPTS |= {"HEBREW": "hh", "ARABIC": "rr", "THAI": "tt"}
_OTHER_SCRIPT = "kk"
_INSIDE = frozenset("’´\xad\u200b\u200e\u200f\ufeff、。「」・ー々〒：，．（）\u3000")
_BESIDE = frozenset("‘“”„‚–—…«»‹›€°™©®¡¿№ªº¹²³½¼¾µ\xa0")
_BETWEEN_LETTERS = re.compile("[Uu][-q][Uu]")
_POSSESSIVE = re.compile(r"’s\b")
_ODD = re.compile(
    "(?=[uagc][AGC]|[agc][UAGC]|[UAGC][AGC][uagc]|[UAGC][agc][UAGC]"  # capitals
    "|[UuAao][GgCchrtw]|[GgCchrtw][UuAao]|uk|ku"  # scripts
    "|[UuAaoGgCchrtkw]q[UuAaoGgCchrtkw]|[UuAaoGgCchrtkwm]s|s[UuAaoGgCchrtkws]"  # symbols
    "|(?<![hrtkm])m|x)"
)


def plausibility(text: str) -> float:
    """Return how plausible a text with letters beyond ASCII is, from 0 to 1."""
    shapes = "".join(map(_shape, text))
    if "x" in shapes:
        return 0
    beyond = sum(not character.isascii() for character in text)
    odd = min(0.8, len(_ODD.findall(shapes)) / max(beyond, 1))
    return float((1 - odd) ** 4 * _of_one_language(text) ** 2)


def is_punctuation(text: str) -> bool:
    """Tell whether all characters beyond ASCII are quotes, dashes and symbols outside of words.

    An apostrophe before a final s counts as outside.
    """
    shapes = "".join(map(_shape, _POSSESSIVE.sub("", text)))
    return set(shapes) <= set("Uu -qs") and not (
        _ODD.search(shapes) or _BETWEEN_LETTERS.search(shapes)
    )


def _of_one_language(text: str) -> float:
    """Return the share of the Latin letters beyond ASCII that one language has, from 0 to 1.

    A frequent letter counts little more than a rare one.
    """
    counts = Counter(each for each in text.lower() if _shape(each) in "ao")
    weights = {letter: log2(1 + count) for letter, count in counts.items()}

    def known(alphabet: frozenset[str]) -> float:
        return sum(weight for letter, weight in weights.items() if letter in alphabet)

    if not weights:
        return 1
    return max(_OF_MIXED * known(_MIXED), *map(known, _ALPHABETS)) / sum(weights.values())


@lru_cache(maxsize=4096)
def _shape(character: str) -> str:
    """Return the letter or mark that stands for what a character is, as said above."""
    category = unicodedata.category(character)
    if category in ("Lu", "Ll", "Lt", "Lo") and character not in "ªºµ":
        if character.isascii():
            return "U" if character.isupper() else "u"
        if character in "ßı":
            return "o"
        script = unicodedata.name(character, "").partition(" ")[0]
        return _SCRIPTS.get(script, _OTHER_SCRIPT)[not character.isupper()]
    if category[0] == "M":
        return "m"
    if category in ("Cc", "Cn", "Co", "Cs"):
        return " " if character in "\t\n\v\f\r" else "x"
    if character.isascii():
        return " "
    if character in _INSIDE:
        return "-"
    return "q" if character in _BESIDE else "s"
