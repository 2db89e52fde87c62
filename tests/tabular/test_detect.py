import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from clevercsv.detect import Detector

from harness.effort import least_seconds
from tabular import detect

NAMES = ("Anna", "O'Neil", "Zoë", "van Dijk", "Jean-Luc")


def rows(line, count=40):
    return "".join(line.format(i=i, name=NAMES[i % 5], cents=i % 100) + "\n" for i in range(count))


DELIMITERS = {
    "one column": (rows("user{i}@x.de"), ","),
    "one column with a header": ("email\n" + rows("first.last{i}@mail.example.co.uk"), ","),
    "one address": ("a@x.de", ","),
    "display names": (rows("{name} Roe <u{i}@x.de>"), ","),
    "names with commas in quotes": (rows('"Roe, {name}",u{i}@x.de,{i}'), ","),
    "notes with semicolons": ("email,note\n" + rows("u{i}@x.de,a;b; c"), ","),
    "decimal commas": ("name;betrag;mail\n" + rows("{name};{i},{cents:02};u{i}@x.de"), ";"),
    "decimal commas everywhere": (rows("{i},50;{i},{cents:02};u{i}@x.de"), ";"),
    "tabs": (rows("{name}, Dr.\tu{i}@x.de\ta b"), "\t"),
    "pipes": (rows("{name}|u{i}@x.de|x;y"), "|"),
    "quoted newlines": (rows('"{name}\nMr; Mrs;";u{i}@x.de'), ";"),
    "a single row": ("Anna;a@x.de\n", ";"),
    "a ragged one": ("a@x.de,1\n\n  ,\n,2\n   \nb@x.de,3\n", ","),
    "quotes everywhere": (rows('"{name}";"u{i}@x.de";"{i}"'), ";"),
    "times and addresses": (rows("2024-01-{i:02} 12:00:00,u{i}@x.de,10.0.0.{i}"), ","),
    "longer than the sample": (rows('"{name}\nand, more";u{i}@x.de;{i},5', 2000), ";"),
    "nothing": ("", ","),
}


@pytest.mark.parametrize(("text", "delimiter"), DELIMITERS.values(), ids=DELIMITERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_delimiter_is_found(text, delimiter, encoding):
    file = BytesIO(text.replace("\n", "\r\n").encode(encoding))
    assert detect.delimiter_of(file, encoding) == delimiter
    assert file.tell() == 0


def test_no_sample_takes_long():
    rng = random.Random(7)
    words = ["a", "a.", "1", "1.", "a@", "a-", "http://a.", "2020-01-", " ", "/", "{", "é"]
    samples = [word * 20_000 for word in words]
    samples += [(word * 70 + end) * 300 for word in words for end in ',;\n"\t']
    samples += ["".join(rng.choice("\",;\t|\n' a@.1") for _ in range(20_000)) for _ in range(5)]
    samples += ["".join(chr(rng.randrange(32, 0xD800)) for _ in range(20_000)) for _ in range(3)]
    for sample in samples:

        def guess(sample: str = sample[: detect.SAMPLE]) -> None:
            assert detect.guess_delimiter(sample) in {",", ";", "\t", "|"}

        assert least_seconds(guess) < 2, sample[:80]


@pytest.mark.parametrize(
    "text", ["a,b\n" * 9, "a, b\nc\n", ",", '"a,b"\n"c"\n', "1,5\n", "a\\,b\n"]
)
def test_with_commas_only_the_detector_could_not_find_anything_else(text):
    found = Detector().detect(text, delimiters=[","])
    assert (found.delimiter if found else "") in ("", detect.guess_delimiter(text))


def test_uploads_at_the_same_time_do_not_disturb_one_another():
    short, long = "Zoë,  a@x.de \n", rows('{i},first.last{i}@example.com,"Anna\nvan Dijk"', 90)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as executor:
            found = [*executor.map(detect.guess_delimiter, [short, long] * 200)]
    finally:
        sys.setswitchinterval(interval)
    assert found == [","] * 400


def test_a_long_word_is_shortened_for_its_time_only():
    assert re.sub(detect._LONG_WORD, r"\1", "b" * 100 + ",c") == "b" * 64 + ",c"


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_a_first_line_may_say_the_delimiter(first):
    content = f"{first}name;mail\nx, y, z;a@x.de\nu, v, w;b@x.de\n".encode()
    assert detect.delimiter_of(BytesIO(content), "utf-8") == ";"
