"""The rows of results files as text, whichever way they are written."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from answers import Answers, Known
from formats import FORMULA_STARTS, RESULT_COLUMNS, Format
from processors import reasons, syntax
from texts import Text

OUTCOMES = [
    ("processed", None),
    ("processed", "dns_timeout"),
    ("processed", "likely_typo"),
    ("failed", "no_at_sign"),
    ("failed", "a_team's_own,_or;_two"),
    ("failed", "=1,2;3|4"),
    ("failed", "=1"),
    ("pending", None),
    ("blank", None),
    ("without_address", None),
    ("duplicate", None),
]
CELLS = st.one_of(
    st.sampled_from(
        ["", "x", "=1+1", "+49 30", "-5", "-5.5", "+1,5", "@x", "\tx", "a b", "-", "'"]
    ),
    st.text("=+-@ax19.,;|\t", max_size=5),
)
ADDRESSES = st.sampled_from(
    ["a@x.de", " A@X.de ", "Info@gmial.com", "=a@x.de", "+b@x.de", "b|b@x.de", "no", "ä@ö.de", "-7"]
)


def expected_cell(cell):
    """As a spreadsheet shows it: numbers are harmless, other formulas get an apostrophe."""
    number = cell.removeprefix("+") if cell.startswith("+") else cell.removeprefix("-")
    if cell.startswith(FORMULA_STARTS) and not _is_number(number):
        return f"'{cell}"
    return cell


def _is_number(text):
    return all(part.isascii() and part.isdigit() for part in text.replace(",", ".").split("."))


def expected_row(cells, address, known, width):
    status, reason = known.status, known.reason
    form = suggestion = ""
    if status in {"pending", "processed", "failed"}:
        form = syntax.normalized(address) if reason not in syntax.MALFORMED else ""
        suggestion = (
            "info@gmail.com" if (address, reason) == ("Info@gmial.com", "likely_typo") else ""
        )
    explanation = {
        "duplicate": f"This address is on line {known.first_row} already.",
        "without_address": "This row has no address.",
    }.get(status, reasons.explanation(reason))
    shown = "" if status == "blank" else status
    answer = [shown, known.verdict or "", reason or "", explanation, suggestion, form]
    return [*map(expected_cell, [*cells, *[""] * (width - len(cells)), *answer])]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(CELLS, ADDRESSES, st.lists(CELLS, max_size=2), st.sampled_from(OUTCOMES))),
    st.sampled_from([*",;\t|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
    st.sampled_from([None, "ok", "risky", "invalid"]),
    st.booleans(),
)
def test_whatever_is_in_a_row_it_is_there_again_with_its_answer(
    rows, delimiter, quoting, verdict, header
):
    if quoting == csv.QUOTE_NONE:
        rows = [row for row in rows if delimiter not in "".join([row[0], row[1], *row[2]])]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    if header:
        writer.writerow(["=one", "email"])
    writer.writerows([first, address, *rest] for first, address, rest, _ in rows)
    names = ("=one", "email") if header else None
    found = Format("csv", "utf-8", delimiter, names, 0, 1, 4)
    answers, text, due = Answers(found), b"", []
    due = [["'=one", "email", "", "", *RESULT_COLUMNS]] if header else []
    for block in Text(io.BytesIO(file.getvalue().encode()), found).blocks():
        others = []
        for position, line in enumerate(block.numbers):
            if header and line == 1:
                others.append((position, None))
                continue
            first, address, rest, (status, reason) = rows[line - 1 - header]
            known = Known(line, status, reason, 1 if status == "duplicate" else None)
            if (status, reason) != ("processed", None):
                others.append((position, known))
            if verdict in (None, known.verdict):
                due.append(expected_row([first, address, *rest], address.strip(), known, 4))
        text += answers.text(block, others, verdict)
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    assert list(reader) == due


def test_reasons_of_a_team_are_defused_though_they_need_quotes():
    found = Format("csv", "utf-8", ",", None, 0, 1, 2)
    (block,) = Text(io.BytesIO(b"x,a@x.de\n"), found).blocks()
    text = Answers(found).text(block, [(0, Known(1, "failed", "=1,2"))], None)
    assert text == b'x,a@x.de,failed,invalid,"\'=1,2","\'=1,2.",,a@x.de\n'


def test_an_address_may_have_the_delimiter_in_it():
    found = Format("csv", "utf-8", "|", None, 0, 1, 2)
    (block,) = Text(io.BytesIO(b'x|"a|b@x.de"\n'), found).blocks()
    assert Answers(found).text(block, [], None) == b'x|"a|b@x.de"|processed|ok||||"a|b@x.de"\n'


def test_a_cell_that_begins_with_the_delimiter_is_defused():
    found = Format("csv", "utf-8", "\t", None, 0, 1, 2)
    (block,) = Text(io.BytesIO(b'"\tx"\ta@x.de\n'), found).blocks()
    text = Answers(found).text(block, [], None)
    assert text == b'"\'\tx"\ta@x.de\tprocessed\tok\t\t\t\ta@x.de\n'


def test_a_row_with_quotes_stays_as_it_was_written():
    found = Format("csv", "utf-8", ",", None, 0, 1, 3)
    (block,) = Text(io.BytesIO(b'"x",a@x.de\n""\n'), found).blocks()
    text = Answers(found).text(block, [(1, Known(2, "blank"))], None)
    assert text == b'"x",a@x.de,,processed,ok,,,,a@x.de\n"",,,,,,,,\n'


def test_a_file_without_header_gets_one():
    found = Format("csv", "utf-8", ";", None, 0, 1, 3)
    expected = b"column 1;email;column 3;status;verdict;reason;explanation;suggestion;normalized\n"
    assert Answers(found).header() == expected
