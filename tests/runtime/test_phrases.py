from datetime import UTC, datetime, timedelta

import pytest

from runtime import phrases

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3599.9, "59 min"),
        (3600.0, "1 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_unit(seconds, text):
    assert phrases.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0:00"), (7.9, "0:07"), (60, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_a_clock(seconds, text):
    assert phrases.clock(seconds) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=23, minutes=59), "23 hours ago"),
        (timedelta(days=1), "yesterday"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=6, hours=23), "6 days ago"),
        (timedelta(days=7), "21 Nov 2026"),
        (timedelta(days=61), "28 Sept 2026"),
    ],
)
def test_a_time_that_has_passed(passed, text):
    assert phrases.ago((NOON - passed).isoformat(), NOON) == text


@pytest.mark.parametrize(
    ("rate", "left", "text"),
    [
        (None, None, "42%"),
        (0.0, None, "42% · 0/s"),
        (1234.5, 12.9, "42% · 1,234/s · 0:12 left"),
    ],
)
def test_a_pace_leaves_out_what_is_unknown(rate, left, text):
    assert phrases.pace(42, 100, rate, left) == text


@pytest.mark.parametrize(
    ("names", "taken", "lacking"),
    [
        (["*"], "It gets all columns.", None),
        (
            ["Name"],
            "It gets the column “Name” of a list that has it.",
            "This list has no column “Name”, which Add to our CRM takes.",
        ),
        (
            ["Name", "City, country"],
            "It gets the columns “Name”, “City, country” of a list that has them.",
            "This list has no columns “Name”, “City, country”, which Add to our CRM takes.",
        ),
    ],
)
def test_what_is_said_of_the_columns_that_a_processor_takes(names, taken, lacking):
    assert phrases.takes(names) == taken
    if lacking:
        assert phrases.lacking(names, "Add to our CRM") == lacking


def test_a_rate_beside_the_progress():
    assert phrases.limit(1_200) == "At most 1,200 a minute"
    assert phrases.limit(None) == ""


def test_a_share_is_never_rounded_up_to_all():
    assert phrases.percent(999_999, 1_000_000) == 99
    assert phrases.percent(7, 7) == 100


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0%"), (0, 1, "0%"), (1, 1000, "<1%"), (1, 200, "1%"), (1, 3, "33%"),
     (999, 1000, ">99%"), (199, 200, ">99%"), (7, 7, "100%")],
)  # fmt: skip
def test_a_proportion_is_neither_nothing_nor_all_if_it_is_some(part, whole, text):
    assert phrases.proportion(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "under 0.1 s"), (0.4, "0.4 s"), (9.94, "9.9 s"), (12.7, "12 s"), (200.0, "3 min 20 s"),
     (3900.0, "1 h 5 min")],
)  # fmt: skip
def test_how_long_something_took(seconds, text):
    assert phrases.length(seconds) == text


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (("completed", 5, 5, 0.4), "Checked in 0.4 s"),
        (("completed", 5, 5, None), "Checked in under 0.1 s"),
        (("cancelled", 1200, 5000, 3.0), "Cancelled after 1,200 of 5,000 emails"),
        (("failed", 0, 1, None), "Broke off after 0 of 1 email"),
        (("processing", 1, 2, 3.0), ""),
    ],
)
def test_how_a_batch_ended(ended, text):
    assert phrases.ending(*ended) == text


def test_a_bar_without_anything_is_empty():
    assert phrases.share(0, 0) == 0.0
    assert phrases.share(1, 4) == 250.0


def test_the_scripts_say_the_same(open_page, site):
    numbers = [0, 1, 7, 59, 60, 3599, 3600, 3723, 90_000, 1_234_567]
    days = [*range(9), *range(30, 400, 30)]
    times = [NOON - timedelta(days=day, hours=hour) for day in days for hour in (0, 1, 5)]
    times += [NOON - timedelta(minutes=minutes) for minutes in (-1, 0, 1, 2, 59, 61)]
    page = open_page(timezone_id="UTC")
    page.goto(site.url)
    script = page.locator("script").get_attribute("src")
    said = page.evaluate(
        """async ([path, numbers, times, now]) => {
            const { ago, checkedAgain, clock, count, interrupted, limit, pace, percent, proportion,
                    rate, several, shown, waiting, paused, lacking } = await import(path);
            const each = (n) => [count(n), several(n, "email"), percent(n, 1234567),
                                 proportion(n, 1234567), rate(n + 0.9), clock(n + 0.9),
                                 pace(n, 1234567, n + 0.9, n), shown(n, null), shown(n, 60),
                                 checkedAgain(n, false), checkedAgain(n, true),
                                 waiting(n, now), waiting(n, null), interrupted(n), limit(n)];
            return [...numbers.map(each), [rate(null), clock(null), pace(1, 2, null, null),
                     proportion(0, 0), limit(null),
                     paused({ by: null, why: null, until: null }),
                     paused({ by: "alice", why: "Bad password.", until: null }),
                     paused({ by: null, why: "Bad password", until: null }),
                     ...[[], ["Name"], ["Name", "=x"]].map((names) => lacking(names, "CRM"))],
                    ...times.map((time) => ago(time, Date.parse(now)))];
        }""",
        [
            script.replace("home.js", "lib/format.js"),
            numbers,
            [time.isoformat() for time in times],
            NOON.isoformat(),
        ],
    )
    assert said == [
        *(
            [
                phrases.count(n),
                phrases.several(n, "email"),
                phrases.percent(n, 1_234_567),
                phrases.proportion(n, 1_234_567),
                phrases.rate(n + 0.9),
                phrases.clock(n + 0.9),
                phrases.pace(n, 1_234_567, n + 0.9, n),
                phrases.shown(n, None),
                phrases.shown(n, 60),
                phrases.checked_again(n, False),
                phrases.checked_again(n, True),
                phrases.waiting(n, NOON.isoformat()),
                phrases.waiting(n, None),
                phrases.interrupted(n),
                phrases.limit(n),
            ]
            for n in numbers
        ),
        [
            phrases.rate(None),
            phrases.clock(None),
            phrases.pace(1, 2, None, None),
            phrases.proportion(0, 0),
            phrases.limit(None),
            phrases.paused({"by": None, "why": None, "until": None}),
            phrases.paused({"by": "alice", "why": "Bad password.", "until": None}),
            phrases.paused({"by": None, "why": "Bad password", "until": None}),
            *(phrases.lacking(names, "CRM") for names in ([], ["Name"], ["Name", "=x"])),
        ],
        *(phrases.ago(time.isoformat(), NOON) for time in times),
    ]


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (("cancelled", None, None, None), "Cancelled"),
        (("paused", None, None, None, "Blocked."), "Paused by the processor: Blocked"),
        (("retried", "alice", "failed", 1), "Checked again by alice: 1 email (invalid)"),
        (
            ("retried", "böb", "no_at_sign", 1_234),
            "Checked again by böb: 1,234 emails (no at sign)",
        ),
    ],
)
def test_an_action_on_a_batch(action, text):
    assert phrases.done(*action) == text
