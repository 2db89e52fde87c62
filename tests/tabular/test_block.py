"""Rows that follow one another, and parts of them."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tabular.block import Block

LINES = st.lists(st.sampled_from(["", "a,b", "c", "d,e,f"]), min_size=1, max_size=6)


@dataclass
class All:
    """What is told of a block."""

    numbers: list
    lines: list | None
    cells: list
    addresses: list | None
    parts: list | None


def told(block):
    cells = [[*row] for row in block.cells(",")]
    return All([*block.numbers], block.lines, cells, block.addresses, block.parts)


@given(LINES, st.integers(0, 7), st.integers(0, 7), st.booleans(), st.booleans())
def test_a_part_is_the_same_whether_lines_were_made_or_not(lines, start, stop, ends, looked):
    numbers, text = range(5, 5 + len(lines)), "\n".join(lines) + "\n" * (ends or not lines[-1])
    addresses = [f"{n}@x.de" for n in numbers]
    packed = Block(numbers, text=text).with_addresses(addresses)
    if looked:
        assert packed.lines == lines
    due = Block(numbers, lines, addresses=addresses).part(start, stop)
    assert told(packed.part(start, stop)) == told(due)
    assert due.lines == lines[start:stop]
    assert due.addresses == addresses[start:stop]
