"""What becomes of rows is the same whether cells are taken out of plain text or rows are made."""

from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batches import accounting
from batches.accounting import Rows
from batches.kept_columns import kept_columns
from tabular import block as block_module
from tabular import reader, text
from tabular.block import Block
from tabular.formats import IntakeError, Overrides


@dataclass
class Skipped:
    """The rows that become no emails."""

    rows: list = field(default_factory=list)

    def duplicate(self, *of):
        self.rows.append(("duplicate", *of))

    def without_address(self, *of):
        self.rows.append(("without address", *of))

    def blank(self, *of):
        self.rows.append(("blank", *of))


def told(content, overrides, columns, max_rows=40):
    """All that is told of a file: the format, emails with lines and cells, counts, skipped rows."""
    counts, skipped, emails = Rows(), Skipped(), []
    with closing(reader.read(BytesIO(content), overrides)) as table:
        kept = kept_columns(table.format, columns)
        try:
            for piece in accounting.read_addresses(table, counts, max_rows, skipped, kept):
                # A line without the last cells is the same as one where they are empty.
                cells = [""] * len(piece.lines) if kept is None else piece.cells.strings()
                cells = [line.rstrip("\t") for line in cells]
                emails += zip(piece.addresses.strings(), piece.lines.tolist(), cells, strict=True)
        except IntakeError as error:
            return table.format, str(error)
    return table.format, emails, counts, counts.width, counts.plain, skipped.rows


CELL = st.sampled_from(
    [
        "",
        "a@x.de",
        "A@X.de",
        "b@x.de",
        " b@x.de",
        "  c@x.de  ",
        "   d@x.de",
        "\te@x.de",
        "é@x.de",
        "Bob <f@x.de>",
        "a@x.de b@x.de",
        "Anna",
        "x",
        "\\",
        "ü",
        "g@x.de.",
        "\u200b",
        "'h@x.de'",
        "\xa0i@x.de",
        "two words",
        "@",
    ]
)


@example([["a@x.de"]] * 50, "", "email,name,city", ",", None, ("*",))
@given(
    st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=40),
    st.sampled_from(["", "note\n", "\n"]),
    st.sampled_from(["", "email,name,city", "name,email"]),
    st.sampled_from(",;\t"),
    st.sampled_from([None, "1", "2"]),
    st.sampled_from([(), ("*",), ("name",), ("name", "city"), ("email", "city")]),
)
def test_plain_rows_become_the_same_either_way(rows, above, header, delimiter, column, columns):
    lines = [delimiter.join(row) for row in rows]
    names = [header.replace(",", delimiter)] if header else []
    content = (above + "\n".join([*names, *lines])).encode()
    overrides = Overrides(column=column, delimiter=delimiter)
    columns = [name for name in columns if name == "*" or name in header]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", 60)  # so that most rows come after the header's block
        patch.setattr(block_module, "FEW", 0)
        patch.setattr(accounting, "PIECE_ROWS", 9)
        try:
            due = told(content, overrides, columns)
        except IntakeError as error:
            assert error.code in {"empty_file", "bad_column", "no_such_column"}  # noqa: PT017
            return
        patch.setattr(Block, "plain", lambda *_: None)
        assert told(content, overrides, columns) == due


def test_most_rows_of_a_file_are_not_made(monkeypatch):
    made = []
    split = Block.cells
    monkeypatch.setattr(Block, "cells", lambda *of: made.extend(each := split(*of)) or each)
    rows = [f"a{n}@x.de,Ännchen {n}\n" for n in range(20_000)]
    rows[15_000] = "Bob <b@x.de>,Bob\n"
    content = ("email,name\n" + "".join(rows)).encode()
    emails = told(content, Overrides(), ["name"], 20_000)[1]
    assert len(emails) == 20_000
    assert emails[15_000] == ("b@x.de", 15_002, "Bob")
    assert len(made) < 10_000
