"""The rows of text files: lines without quotes, and what a parser is needed for."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.files import characters_of
from tabular import text as text_module
from tabular.addresses import addresses_in
from tabular.formats import Format, IntakeError

FORMAT = Format("csv", "utf-8", ",", strict=True)


def parsed(text):
    """The rows as Python's parser reads them, each with the line that it begins on."""
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="\n"))
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def blocks(text):
    return list(text_module.Text(io.BytesIO(text.encode()), FORMAT).blocks())


PIECES = st.sampled_from(
    ["a", "b@x.de", ",", ",,", "\n", "\n\n", "\r\n", "\r", '"', '""', '","', '"\n"', "\u2028"]
)


@example('"\n"","', 20)
@example('"","\n","x"\n"a"b"', 30)
@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 20))
def test_rows_are_those_of_a_parser_wherever_blocks_end(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "BLOCK", block)
        patch.setattr(text_module, "BLOCK_ROWS", 2)
        patch.setattr(text_module, "MAX_SWALLOWED", 40)
        try:
            found = blocks(text)
        except IntakeError as error:
            assert error.code == "open_quote"  # noqa: PT017
            with pytest.raises(csv.Error):
                list(csv.reader(io.StringIO(text, newline=None), strict=True))
            return
        rows = [row for part in found for row in zip(part.numbers, part.cells(","), strict=True)]
        assert rows == list(parsed(text))
        for part in found:
            assert len(part) == len(part.lines) == len(part.cells(",")) > 0
            assert part.rows is not None or '"' not in "".join(part.lines)
            # Each line can be gone on with.
            for line, cells in zip(part.lines, part.cells(","), strict=True):
                again = io.StringIO(f"{line},end\n", newline="\n")
                assert list(csv.reader(again)) == [[*(cells or [""]), "end"]]


def test_only_what_has_quotes_is_parsed(monkeypatch):
    monkeypatch.setattr(text_module, "BLOCK", 20)
    found = blocks("a@x.de,1\nb@x.de,1\n" + 'c@x.de,"2\n3"\n' + "d@x.de,4\ne@x.de,5\n")
    assert [(part.lines, part.rows) for part in found] == [
        (["a@x.de,1", "b@x.de,1"], None),
        (['c@x.de,"2\n3"', "d@x.de,4"], [["c@x.de", "2\n3"], ["d@x.de", "4"]]),
        (["e@x.de,5"], None),
    ]


def test_rows_of_many_lines_are_not_kept(monkeypatch):
    monkeypatch.setattr(text_module, "BLOCK", 1000)
    monkeypatch.setattr(text_module, "BLOCK_ROWS", 10)
    content = io.BytesIO((b'"' + b"line\n" * 1000 + b'",a@x.de\n') * 400)
    tracemalloc.start()
    try:
        assert sum(map(len, text_module.Text(content, FORMAT).blocks())) == 400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content.getvalue())


def test_no_block_is_much_longer_than_its_last_row():
    # Each of these rows is parsed, and the quotes of each but the last reach into the next part.
    row = b"a@x.de," + b'"line\n' + b"x" * 40_000 + b'"\n'
    sizes = [
        (characters_of(part), len(part))
        for part in text_module.Text(io.BytesIO(row * 100), FORMAT).blocks()
    ]
    assert sum(rows for _, rows in sizes) == 100
    assert max(characters for characters, _ in sizes) < 2 * len(row) + text_module.BLOCK


def test_a_part_of_a_block():
    (block,) = blocks('a,1\n"b",2\nc,3\n')
    part = block.part(1, 3)
    assert (part.numbers, part.lines, part.cells(",")) == (
        range(2, 4), ['"b",2', "c,3"], [["b", "2"], ["c", "3"]]
    )  # fmt: skip


def test_a_quote_left_open_is_refused_where_it_opens_but_closed_if_the_end_is_not_there():
    with pytest.raises(IntakeError, match=r"Line 2: a quotation mark opens .* the end") as refused:
        blocks('x\na,"b\nc\n')
    assert (refused.value.code, refused.value.line) == ("open_quote", 2)
    (block,) = text_module.Text(io.BytesIO(b'a,"b\nc\n'), FORMAT, cut=True).blocks()
    assert (block.rows, block.lines) == ([["a", "b\nc\n"]], ['a,"b\nc\n"'])


@pytest.mark.parametrize("text", ['a,"b\nc\n', 'a,"b\n"c",d\n', '"' + "a,b@x.de\n" * 9 + '"\n'])
def test_a_batch_of_before_keeps_the_rows_that_an_open_quote_made(text):
    before = Format("csv", "utf-8", ",")
    (block,) = text_module.Text(io.BytesIO(text.encode()), before).blocks()
    assert [*zip(block.numbers, block.rows, strict=True)] == list(parsed(text))
    with pytest.raises(IntakeError):
        blocks(text)


def test_a_quote_that_a_later_one_closes_by_chance_is_refused():
    with pytest.raises(IntakeError, match=r"Line 2: .* no quote closes it where a cell may end"):
        blocks('name,email\n"Anna,a@x.de\n"Bob",b@x.de\n')


def test_rows_that_a_quote_has_made_a_cell_are_refused():
    rows = "".join(f"name {number},{number}@x.de\n" for number in range(4))
    assert blocks(f'"{rows[:-1].rpartition(chr(10))[0]}",end\n')
    with pytest.raises(IntakeError, match=r"Line 1: .* a cell has 4 lines with addresses"):
        blocks(f'"{rows}",end\n')


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_that_a_parser_refuses_is_always_refused(quote):
    message = r"Line 2: this row has a cell of more than 131,072 characters\. Shorten it"
    with pytest.raises(IntakeError, match=message) as refused:
        blocks(f"{quote}a@x.de{quote}\n{quote}" + "b" * 200_000 + f"{quote}\n")
    assert (refused.value.code, refused.value.line) == ("cell_too_long", 2)


def test_where_rows_are():
    (block,) = blocks("a\nb\nc\n")
    assert (block.positions([]), block.positions([(1, 0), (3, 0)])) == ([], [0, 2])
    assert block.positions([(0, 0), (3, 0)]) is block.positions([(1, 0), (4, 0)]) is None
    (block,) = blocks('a\n"b\nb"\nc\n')
    assert (block.positions([]), block.positions([(2, 0), (4, 0)])) == ([], [1, 2])
    assert block.positions([(1, 0), (3, 0)]) is block.positions([(4, 0), (5, 0)]) is None
    apart = text_module.Block([1, 2, 2, 3], parts=[0, 0, 1, 0])
    assert apart.positions([(2, 1), (3, 0)]) == [2, 3]
    assert apart.positions([(1, 1)]) is None


@pytest.mark.parametrize("end", ["", "\n", "\nc@x.de\n"])
def test_the_longest_line_is_the_same_wherever_it_ends(end):
    line = ",".join(["b" * 1023] * (text_module.MAX_LINE // 1024)) + ","
    assert len(line) == text_module.MAX_LINE
    assert blocks(f"a@x.de\n{line}{end}")
    with pytest.raises(IntakeError) as refused:
        blocks(f"a@x.de\n{line}b{end}")
    assert (refused.value.code, refused.value.line) == ("line_too_long", 2)


LIST = Format("list", "utf-8")
RECIPIENTS = st.sampled_from(
    ["a@x.de", "Anna <b@x.de>", '"Jones, B." <c@x.de>', '"d,e"@x.de', ",", "; ", "\n", "\t", "\n\n"]
)


@given(st.lists(RECIPIENTS, max_size=30).map("".join), st.integers(1, 12))
def test_the_addresses_of_a_list_are_those_of_its_lines_wherever_blocks_end(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "BLOCK", block)
        found = [
            (line, part, address)
            for each in text_module.Text(io.BytesIO(text.encode()), LIST).blocks()
            for line, part, address in zip(each.numbers, each.parts, each.addresses, strict=True)
        ]
    lines = text.removesuffix("\n").split("\n") if text else []
    assert found == [
        (line, part, address)
        for line, content in enumerate(lines, start=1)
        for part, address in enumerate(addresses_in(content) or [""])
    ]


@pytest.mark.parametrize("kind", ["csv", "list"])
@pytest.mark.parametrize(
    "text", ["a@x.de\nb@x.de\n", "a@x.de\r\nb@x.de", "\x1aa@x.de\n\x1a\nb", ""]
)
def test_a_ctrl_z_counts_as_nothing_at_the_end_of_a_text_and_only_there(monkeypatch, kind, text):
    def rows_of(text, **more):
        found = Format(kind, "utf-8", ",", **more)
        read = text_module.Text(io.BytesIO(text.encode()), found).blocks()
        return [row for part in read for row in zip(part.numbers, part.cells(","), strict=True)]

    for block in (1, 2, len(text) + 1, 100):
        monkeypatch.setattr(text_module, "BLOCK", block)
        due = rows_of(text)
        assert rows_of(text + "\x1a", strict=True) == due
        # As in batches that were stored before, whose rows are where they were.
        assert kind == "list" or rows_of(f"{text}\n\x1a")[-1][1] == ["\x1a"]


def test_a_line_of_a_list_may_be_as_long_as_the_file():
    addresses = [f"user{number}@example.com" for number in range(40_000)]
    file = io.BytesIO(", ".join(addresses).encode())
    found = [*text_module.Text(file, LIST).blocks()]
    assert [address for block in found for address in block.addresses] == addresses
    assert [part for block in found for part in block.parts] == [*range(40_000)]
    assert max(map(len, found)) < 5000
    with pytest.raises(IntakeError, match="Line 2: nothing separates 262,144 characters"):
        [*text_module.Text(io.BytesIO(b"a@x.de\n" + b"b" * 300_000), LIST).blocks()]
