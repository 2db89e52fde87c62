import tracemalloc
from io import BytesIO

import pytest

from harness.files import rows_of
from tabular import reader
from tabular.formats import Format, IntakeError, Overrides


def read(content, *, cut=False, **overrides):
    table = reader.read(BytesIO(content), Overrides(**overrides), cut=cut)
    return rows_of(table.blocks(), table.format)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [*",;\t|"])
def test_rows_have_the_lines_that_they_begin_on(encoding, end, delimiter):
    lines = ["", "name|mail", '"Müller\nund Köln"|m@x.de', "", '"say ""hé"""|a@x.de']
    text = "\n".join(lines).replace("|", delimiter).replace("\n", end)
    assert read(text.encode(encoding)) == [
        (1, []),
        (2, ["name", "mail"]),
        (3, ["Müller\nund Köln", "m@x.de"]),
        (5, []),
        (6, ['say "hé"', "a@x.de"]),
    ]


def test_the_same_format_reads_the_same_rows_again():
    file = BytesIO("Kontakt;Ort\nmüller@x.de;Köln\n".encode("cp1252"))
    table = reader.read(file, Overrides())
    first = rows_of(table.blocks(), table.format)
    found = Format.from_json(table.format.to_json())
    assert rows_of(reader.blocks(file, found), found) == first
    assert not file.closed


def test_a_part_of_a_file_ends_with_its_last_whole_row():
    assert read(b"a@x.de,1\nb@x.de,2\nc@x", cut=True) == [
        (1, ["a@x.de", "1"]),
        (2, ["b@x.de", "2"]),
    ]
    assert read(b'a@x.de,1\nb@x.de,"2\n3\n', cut=True) == [(1, ["a@x.de", "1"])]
    assert read(b"a@x.d", cut=True) == [(1, ["a@x.d"])]
    assert len(read(b"a@x.de\n" * 1000, cut=True)) == 1000


LINES = b"a@x.de\n" * 100_000


@pytest.mark.parametrize(
    ("content", "overrides", "code", "line"),
    [
        (b"", {}, "empty_file", None),
        (LINES + b"\0", {}, "binary_file", 100_001),
        (LINES + b"\xff", {"encoding": "utf-8"}, "undecodable", 100_001),
        (LINES + b"\x81", {"encoding": "cp1252"}, "undecodable", 100_001),
        (b"a@x.de\r\rb\xff", {"encoding": "ascii"}, "undecodable", 3),
        ("\ufeffa@x.de\n\ud800".encode("utf-16-le", "surrogatepass"), {}, "undecodable", 2),
        (LINES + b"a" * 1_500_000, {}, "line_too_long", 100_001),
        (LINES + b'"' + b'\n","' * 2_000_000, {"delimiter": ","}, "row_too_long", 100_001),
        (LINES + b'"' + LINES, {}, "cell_too_long", 100_001),
        (b",".join([b"a@x.de"] + [b"x"] * 20_000), {}, "too_many_columns", 1),
        (b"a@x.de\n" * 100 + b"," * 16_384, {}, "too_many_columns", 101),
        (b"," * 16_384 + b"\na@x.de,1\n", {}, "too_many_columns", 1),
    ],
)
def test_what_is_wrong_is_said_with_its_line(content, overrides, code, line):
    with pytest.raises(IntakeError) as caught:
        read(content, **overrides)
    assert (caught.value.code, caught.value.line) == (code, line)


def test_few_long_rows_are_looked_at_first():
    file = BytesIO((b"a@x.de," + b"name," * 16_000 + b"\n") * 200)
    tracemalloc.start()
    try:
        table = reader.read(file, Overrides())
        assert 10 < len(table.sample) < 100
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
        assert sum(map(len, table.blocks())) == 200
    finally:
        tracemalloc.stop()


def test_a_large_file_takes_no_more_memory_than_a_small_one():
    file = BytesIO(b"some name,user@example.org,1234\n" * 400_000)
    tracemalloc.start()
    try:
        for _ in reader.read(file, Overrides()).blocks():
            pass
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
