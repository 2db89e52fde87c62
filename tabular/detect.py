"""Detects the delimiter of a text file."""

from __future__ import annotations

import codecs
import io
import re
import threading
from typing import BinaryIO

from tabular.formats import DELIMITERS

# Characters from which the delimiter is guessed. Long words among them are cut short, because they
# say nothing of delimiters, and clevercsv's time grows with the third power of their length.
SAMPLE = 8000
# clevercsv sets its longest cell to the length of its sample, for all threads at once.
_detecting = threading.Lock()
_LONG_WORD = re.compile(r'([^,;\t|"\n]{64})[^,;\t|"\n]+')
_SAID = re.compile(r'"?sep=([,;\t|])"?\n', re.I)


def delimiter_of(file: BinaryIO, encoding: str) -> str:
    """Return the delimiter of a CSV file, a comma if it has one column.

    A first line such as `sep=;` says it, by which Excel lets itself be told.

    The file is left at its beginning.
    """
    start = start_of(file, encoding).lstrip("\n")[:SAMPLE]
    said = _SAID.match(start)
    return said[1] if said else guess_delimiter(start)


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
    # The detector would find a comma or one column, for which a comma stands too.
    if candidates in ([], [","]):
        return ","
    # Importing clevercsv takes a third of the app's start, and lists of one column don't need it.
    from clevercsv.detect import Detector

    with _detecting:
        dialect = Detector().detect(sample, delimiters=candidates)
    return (dialect and dialect.delimiter) or ","
