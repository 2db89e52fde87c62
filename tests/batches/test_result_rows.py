"""The rows of results files as text, whichever way they are written."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import result_rows
from batches.result_rows import ResultWriter, RowResult, taken_apart
from processors import reasons, syntax
from tabular.formats import RESULT_COLUMNS, Format
from tabular.formulas import undefused
from tabular.text import Text

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
        ["", "x", "=1+1", "+49 30", "-5", "-5.5", "+1,5", "@x", "\tx", "a b", "-", "'", "'=1"]
    ),
    st.text("=+-@ax19.,;|\t'＝", max_size=5),
)
ADDRESSES = st.sampled_from(
    [
        "a@x.de",
        "b@GMX.de",
        " A@X.de ",
        "Info@gmial.com",
        "=a@x.de",
        "+b@x.de",
        "b|b@x.de",
        "no",
        "ä@ö.de",
        "-7",
    ]
)


def verdict_on(result):
    is_email = result.status in reasons.STATUSES
    return reasons.verdict(result.status, result.reason) if is_email else None


def expected_row(cells, address, result, width):
    status, reason = result.status, result.reason
    form = suggestion = free = ""
    if status in {"pending", "processed", "failed"}:
        form = syntax.parse(address).normalized or "" if reason not in syntax.MALFORMED else ""
        free = "true" if "GMX" in address and reason not in syntax.MALFORMED else "false"
        suggestion = (
            "info@gmail.com" if (address, reason) == ("Info@gmial.com", "likely_typo") else ""
        )
    explanation = {
        "duplicate": f"This address is on line {result.first_row} already.",
        "without_address": "This row has no address.",
    }.get(status, reasons.explanation(reason, address))
    shown = "" if status == "blank" else status
    columns = [shown, verdict_on(result) or "", reason or "", explanation, suggestion, form, free]
    return [*cells, *[""] * (width - len(cells)), *columns]


@settings(max_examples=400)
@given(
    st.lists(st.tuples(CELLS, ADDRESSES, st.lists(CELLS, max_size=2), st.sampled_from(OUTCOMES))),
    st.sampled_from([*",;\t|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
    st.sampled_from([None, "ok", "risky", "invalid"]),
    st.booleans(),
    st.sampled_from([1, 8, 1000]),
)
def test_whatever_is_in_a_row_it_is_there_again_with_its_result(
    rows, delimiter, quoting, verdict, header, most
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_rows, "MAX_CELLS", most)
        writer = ResultWriter(found, defuses=True)
    text = b""
    due = [["=one", "email", "", "", *RESULT_COLUMNS]] if header else []
    for block in Text(io.BytesIO(file.getvalue().encode()), found).blocks():
        kept, others = [], []
        for position, line in enumerate(block.numbers):
            if header and line == 1:
                kept.append(position)
                others.append((0, None))
                continue
            first, address, rest, (status, reason) = rows[line - 1 - header]
            result = RowResult(line, status, reason, 1 if status == "duplicate" else None)
            if verdict in (None, verdict_on(result)):
                if not result.is_plain:
                    others.append((len(kept), result))
                kept.append(position)
                due.append(expected_row([first, address, *rest], address.strip(), result, 4))
        block = taken_apart(block, found, above=header)
        text += b"".join(writer.pieces(block.picked(kept), others))
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    assert [[*map(undefused, row)] for row in reader] == due


def written(content, delimiter, columns, others=()):
    found = Format("csv", "utf-8", delimiter, None, 0, 1, columns)
    (block,) = Text(io.BytesIO(content), found).blocks()
    block = taken_apart(block, found, above=0)
    return b"".join(ResultWriter(found, defuses=True).pieces(block, others))


def test_reasons_of_a_team_are_defused_though_they_need_quotes():
    text = written(b"x,a@x.de\n", ",", 2, [(0, RowResult(1, "failed", "=1,2"))])
    assert text == b'x,a@x.de,failed,invalid,"\'=1,2","\'=1,2.",,a@x.de,false\n'


def test_an_address_may_have_the_delimiter_in_it():
    text = written(b'x|"a|b@x.de"\n', "|", 2)
    assert text == b'x|"a|b@x.de"|processed|ok||||"a|b@x.de"|false\n'
    text = written(b'"x"|"a|b@x.de"\n', "|", 2, [(0, RowResult(1, "processed", "dns_error"))])
    assert text.startswith(b'"x"|"a|b@x.de"|processed|unknown|dns_error|')
    assert text.endswith(b'||"a|b@x.de"|false\n')


def test_a_formula_behind_the_delimiter_within_quotes_is_defused():
    text = written(b'"\t=x"\ta@x.de\n', "\t", 2)
    assert text == b'"\t\'=x"\ta@x.de\tprocessed\tok\t\t\t\ta@x.de\tfalse\n'


def test_a_row_with_quotes_stays_as_it_was_written():
    text = written(b'"x",a@x.de\n""\n"=1",b@x.de\n', ",", 3, [(1, RowResult(2, "blank"))])
    assert text == (
        b'"x",a@x.de,,processed,ok,,,,a@x.de,false\n"",,,,,,,,,\n'
        b'"\'=1",b@x.de,,processed,ok,,,,b@x.de,false\n'
    )


def test_what_is_written_at_once_is_bounded_whatever_the_width():
    content = b"".join(b"%d,user%d@x.de\n" % (n, n) for n in range(4000))
    found = Format("csv", "utf-8", ",", None, 0, 1, 50_000)
    tracemalloc.start()
    try:
        writer, lines = ResultWriter(found, defuses=True), 0
        for block in Text(io.BytesIO(content), found).blocks():
            others = [
                (position, RowResult(line, "pending"))
                for position, line in enumerate(block.numbers)
            ]
            block = taken_apart(block.part(0, 100), found, above=0)
            for piece in writer.pieces(block, others[50:100]):
                assert len(piece) < 200_000
                lines += piece.count(b"\n")
        assert lines == 200
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_file_without_header_gets_one():
    found = Format("csv", "utf-8", ";", None, 0, 1, 3)
    expected = (
        b"column 1;email;column 3;"
        b"status;verdict;reason;explanation;suggestion;normalized;free_provider\n"
    )
    assert ResultWriter(found, defuses=True).header() == expected


def test_free_providers_are_told_of_plain_addresses_and_others():
    content = b"a@gmail.com\na@GMX.de\na@x.de\ninfo@web.de\na@@web.de\n"
    others = [
        (3, RowResult(4, "processed", "role_account")),
        (4, RowResult(5, "failed", "bad_domain")),
    ]
    found = Format("csv", "utf-8", ",", None, 0, 0, 1)
    (block,) = Text(io.BytesIO(content), found).blocks()
    block = taken_apart(block, found, above=0)
    text = b"".join(ResultWriter(found, defuses=True).pieces(block, others)).decode()
    last = [line.rpartition(",")[2] for line in text.splitlines()]
    assert last == ["true", "true", "false", "true", "false"]
