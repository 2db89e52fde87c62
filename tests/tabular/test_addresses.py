"""What is made of a cell: its addresses, cleaned of what is around them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.texts import Texts
from tabular import addresses
from tabular.addresses import addresses_in, cleaned, is_blank, odd_cells

CELLS = {
    "one": ("anna@x.de", ["anna@x.de"]),
    "blank": (" \u200b\ufeff\t", []),
    "no address": (" none ", ["none"]),
    "commas": ("a@x.de,b@x.de, c@x.de", ["a@x.de", "b@x.de", "c@x.de"]),
    "semicolons, and one at the end": ("a@x.de; b@x.de;", ["a@x.de", "b@x.de"]),
    "as Google writes several": ("a@x.de ::: b@x.de", ["a@x.de", "b@x.de"]),
    "lines": ("a@x.de\nb@x.de\r\nc@x.de", ["a@x.de", "b@x.de", "c@x.de"]),
    "tabs and spaces": ("a@x.de\tb@x.de c@x.de", ["a@x.de", "b@x.de", "c@x.de"]),
    "malformed beside one": ("a@x.de; bob", ["a@x.de", "bob"]),
    "recipients": ("Smith, Anna <a@x.de>; Jones, Bob <b@x.de>", ["a@x.de", "b@x.de"]),
    "recipients by commas": ("Anna <a@x.de>, Bob <b@x.de>", ["a@x.de", "b@x.de"]),
    "recipients by spaces": ("Anna <a@x.de> Bob <b@x.de>", ["a@x.de", "b@x.de"]),
    "a name in quotes": ('"Smith; Anna, Dr." <a@x.de>, b@x.de', ["a@x.de", "b@x.de"]),
    "a local part in quotes": ('"a,b"@x.de; c@x.de', ['"a,b"@x.de', "c@x.de"]),
    "a comment": ("a@x.de (Anna; at work), b@x.de", ["a@x.de", "b@x.de"]),
    "a field of a message": ("To: a@x.de, b@x.de", ["a@x.de", "b@x.de"]),
    "a group": ("Friends: a@x.de, b@x.de;", ["a@x.de", "b@x.de"]),
    "a formula": ('="a@x.de"', ["a@x.de"]),
    "a link": ("mailto:a%2Bb@x.de?subject=Hi", ["a+b@x.de"]),
    "brackets": ("<a@x.de>", ["a@x.de"]),
    "quotes": ("'a@x.de'", ["a@x.de"]),
    "quotes of a typist": ("„a@x.de“", ["a@x.de"]),
    "a full stop": ("a@x.de.", ["a@x.de"]),
    "a wide at-sign": ("a＠x.de", ["a@x.de"]),
    "an apostrophe inside": ("o'hara@x.de", ["o'hara@x.de"]),
}


@pytest.mark.parametrize(("cell", "due"), CELLS.values(), ids=CELLS)
def test_the_addresses_in_a_cell(cell, due):
    assert addresses_in(cell) == due


def test_a_cell_that_is_not_split_is_one_address_and_still_cleaned():
    assert addresses_in("a@x.de; b@x.de", split=False) == ["a@x.de; b@x.de"]
    assert addresses_in(" <a@x.de>; ", split=False) == ["a@x.de"]
    assert addresses_in(" \u200b", split=False) == []


@pytest.mark.parametrize(
    "mark", ["\u200b", "\u200c", "\u2060", "\u00ad", "\ufeff", "\u200e", "\x1a"]
)
def test_invisible_characters_go_where_they_cannot_matter(mark):
    assert cleaned(f"{mark}a{mark}nna@x.de{mark}") == "anna@x.de"
    assert is_blank(f" {mark} ")


def test_invisible_characters_stay_where_they_can_matter():
    # A joiner in Persian makes another word; a reordering mark, another address to the eye.
    for address in (
        "می\u200cخواهم@مثال.ایران",
        "anna\u202e@x.de",
        "\u202emoc.live@x.de",
        "a\u2066b@x.de",
    ):
        assert cleaned(f"\u200b{address} ") == address


@given(st.text("aé@.,;<>\"'()= \t\n\u200b\u202e:", max_size=12))
@example("a@x.de\n.")
@example("(@)")
def test_whatever_is_in_a_cell_no_address_is_blank_and_none_changes_again(cell):
    addresses = addresses_in(cell)
    assert bool(addresses) == (not is_blank(cell))
    assert all(address and address == address.strip() for address in addresses)
    for split in (True, False):
        stripped = cell.strip()
        if not odd_cells(Texts.of([stripped])) and stripped:
            assert addresses_in(stripped, split=split) == [stripped]


@given(st.lists(st.text("aé@.\n'“x \u200b", max_size=4).map(str.strip), max_size=6))
@example(["a@x.de", "b@x.de.", "", "c@x.de'", "d e", "“é"])
def test_of_many_cells_those_that_are_not_plain_are_found(cells):
    odd = odd_cells(Texts.of(cells))
    assert odd == sorted(set(odd))
    for position, cell in enumerate(cells):
        assert position in odd or not cell or addresses_in(cell) == [cell]
    if not any("\n" in cell for cell in cells):  # which nothing but the cells tells apart
        assert not any(cells[position].isalpha() and cells[position].isascii() for position in odd)


@given(
    st.lists(st.sampled_from(["a@x.de", "b@y.de", "", " ", "Bob <c@z.de>", "d@x.de.", "é@x.de"]))
)
def test_a_long_cell_is_taken_apart_as_a_short_one_is(pieces):
    short = ",".join(pieces)
    long = short + "," * addresses.LONG
    if any("@" in piece for piece in pieces):
        assert addresses_in(long) == addresses_in(short)


@pytest.mark.parametrize(
    "unit", [" ", "\u200b ", "<@", '"\\', '"', "a:", "(x) ", "( ", "@", ",", "<"]
)
@pytest.mark.parametrize(("start", "end"), [("", ""), ("a@x.de", "b"), ("<", "@x.de>"), ("=", "@")])
def test_no_cell_takes_long_however_it_is_made(unit, start, end):
    cell = (
        start + unit * (130_000 // len(unit)) + end
    )  # would take minutes if it were searched again
    for split in (True, False):
        addresses_in(cell, split=split)


def test_an_address_is_found_far_inside_its_wrapping_and_in_long_cells():
    assert cleaned(" " * 100_000 + "<\"(x) mailto:'a@x.de'\">,;" + "\u200b" * 100_000) == "a@x.de"
    assert addresses_in("x" * 5000 + "; " + "é" * 400 + "; <a@x.de>") == ["a@x.de"]


@given(st.text("a1@. <>-_'+,é", max_size=14), st.booleans())
@example("Ann B. <a@x.de>", True)
@example("a@x b@y", True)
@example("a@x b@y", False)
@example("'a@x.de", True)
def test_what_is_matched_at_once_is_what_taking_it_apart_gives(cell, split):
    assert addresses_in(cell, split=split) == addresses.taken_apart(cell, split=split)
