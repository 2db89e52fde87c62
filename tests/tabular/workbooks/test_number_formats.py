import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tabular.workbooks import number_formats

# 45000 is 15 March 2023 for Excel, counted from 1900 on.
SHOWN = {
    "00000": (1067, "01067"),
    "000000": (1_234_567, "1234567"),
    "00000-0000": (10_671_234, "01067-1234"),
    "(000) 000-0000": (301_234_567, "(030) 123-4567"),
    '0000" "0000': (12_345, "0001 2345"),
    '"D-"00000;[Red]0': (1067, "D-01067"),
    "+0": (4_930_123_456, "+4930123456"),
    "###-0000": (12, "-0012"),
    "dd.mm.yyyy": (45_000.9, "15.03.2023"),
    r"d\.m\.yy;@": (45_000, "15.3.23"),
    "m/d/yyyy": (45_000, "3/15/2023"),
    "[$-409]m/d/yy h:mm AM/PM;@": (45_000.75, "3/15/23 6:00 PM"),
    "yyyy-mm-dd hh:mm:ss": (45_000.5, "2023-03-15 12:00:00"),
    "hh:mm": (0.5, "12:00"),
    "mm:ss": (0.001, "01:26"),
    'dd"{0}"yyyy': (45_000, "15{0}2023"),
}


@pytest.mark.parametrize(("code", "number", "text"), [(k, *v) for k, v in SHOWN.items()], ids=SHOWN)
def test_a_number_is_shown_as_a_spreadsheet_does(code, number, text):
    show = number_formats.of_code(code)
    assert show is not None
    assert show(number) == text


@pytest.mark.parametrize(
    "code",
    [
        *(
            "General",
            "@",
            "0",
            "#",
            "##0",
            "0.00",
            "#,##0",
            "00%",
            "0E+00",
            "[Red]00000",
            "00000_)",
        ),
        *("[h]:mm", "d. mmmm yyyy", "ddd", "yyyy.000", '"', "\\", "", "y" * 500, "0#0"),
    ],
)
def test_other_formats_are_left_to_the_number_itself(code):
    assert number_formats.of_code(code) is None


@pytest.mark.parametrize("number", [-5, 1.5, 1e15, 1e300, math.inf, -math.inf, math.nan])
def test_a_number_that_would_lose_something_is_left_as_it_is(number):
    show = number_formats.of_code("00000")
    assert show is not None
    assert show(number) is None


@pytest.mark.parametrize("number", [-1, 0, 60.9, 1e9, math.inf, math.nan])
def test_a_day_that_spreadsheets_count_in_several_ways_is_left_as_it_is(number):
    show = number_formats.of_code("dd.mm.yyyy")
    assert show is not None
    assert show(number) is None


def test_days_may_be_counted_from_1904_on():
    show = number_formats.of_code("dd.mm.yyyy", since_1904=True)
    assert show is not None
    assert show(45_000 - 1462) == "15.03.2023"


@given(
    st.lists(st.sampled_from([*'0#ymdhs".-/ @{}\\;', "AM/PM", "[$-407]"]), max_size=12),
    st.floats() | st.integers(0, 10**15).map(float),
)
@example(["yyyy"], 2_949_999.9999)
def test_any_format_shows_any_number_or_leaves_it(tokens, number):
    show = number_formats.of_code("".join(tokens))
    assert show is None or isinstance(show(number), str | None)


def test_styles_are_counted_as_cells_count_them():
    styles = (
        b'<x:styleSheet><x:numFmts count="2"><x:numFmt numFmtId="170" formatCode="00000"/>'
        b'<x:numFmt formatCode="&quot;&amp;&quot;00" numFmtId="171"/></x:numFmts>'
        b'<x:cellStyleXfs><x:xf numFmtId="170"/></x:cellStyleXfs>'
        b'<x:cellXfs><x:xf numFmtId="0"/><x:xf numFmtId="170"><x:alignment/></x:xf>'
        b'<x:xf numFmtId="14"/><x:xf numFmtId="171"/></x:cellXfs></x:styleSheet>'
    )
    shows = number_formats.shows(styles, since_1904=False)
    assert {style: show(7) for style, show in shows.items()} == {1: "00007", 3: "&07"}
    assert number_formats.shows(b"", since_1904=False) == {}
