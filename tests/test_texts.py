"""The rows of text files: lines without quotes, and what a parser is needed for."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import texts
from formats import Format

FORMAT = Format("csv", "utf-8", ",")


def parsed(text):
    """The rows as Python's parser reads them, each with the line that it begins on."""
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="\n"))
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def blocks(text):
    return list(texts.Text(io.BytesIO(text.encode()), FORMAT).blocks())


PIECES = st.sampled_from(
    ["a", "b@x.de", ",", ",,", "\n", "\n\n", "\r\n", "\r", '"', '""', "\u2028"]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 20))
def test_rows_are_those_of_a_parser_wherever_blocks_end(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "BLOCK", block)
        patch.setattr(texts, "BLOCK_ROWS", 2)
        assert list(texts.Text(io.BytesIO(text.encode()), FORMAT).rows()) == list(parsed(text))
        for part in blocks(text):
            assert len(part) == len(part.lines) == len(part.cells(",")) > 0
            assert part.rows is not None or '"' not in "".join(part.lines)
            # Each line can be gone on with.
            for line, cells in zip(part.lines, part.cells(","), strict=True):
                again = io.StringIO(f"{line},end\n", newline="\n")
                assert list(csv.reader(again)) == [[*(cells or [""]), "end"]]


def test_only_what_has_quotes_is_parsed(monkeypatch):
    monkeypatch.setattr(texts, "BLOCK", 20)
    found = blocks("a@x.de,1\nb@x.de,1\n" + 'c@x.de,"2\n3"\n' + "d@x.de,4\ne@x.de,5\n")
    assert [(part.lines, part.rows) for part in found] == [
        (["a@x.de,1", "b@x.de,1"], None),
        (['c@x.de,"2\n3"', "d@x.de,4"], [["c@x.de", "2\n3"], ["d@x.de", "4"]]),
        (["e@x.de,5"], None),
    ]


def test_a_quote_left_open_at_the_end_is_closed():
    (block,) = blocks('a,"b\nc\n')
    assert (block.rows, block.lines) == ([["a", "b\nc\n"]], ['a,"b\nc\n"'])


def test_a_cell_that_a_parser_refuses_is_refused_without_quotes_too():
    with pytest.raises(texts.IntakeError, match="field larger than field limit") as refused:
        blocks("a@x.de\n" + "b" * 200_000 + "\n")
    assert (refused.value.code, refused.value.line) == ("bad_csv", 2)


def test_where_a_row_is():
    (block,) = blocks("a\nb\nc\n")
    assert [block.position(number) for number in range(5)] == [None, 0, 1, 2, None]
    (block,) = blocks('a\n"b\nb"\nc\n')
    assert [block.position(number) for number in range(1, 6)] == [0, 1, None, 2, None]
