import pytest

from runtime import phrases


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


def test_a_share_is_never_rounded_up_to_all():
    assert phrases.percent(999_999, 1_000_000) == 99
    assert phrases.percent(7, 7) == 100


def test_a_bar_without_anything_is_empty():
    assert phrases.share(0, 0) == 0.0
    assert phrases.share(1, 4) == 250.0


def test_the_scripts_say_the_same(page, site):
    numbers = [0, 1, 7, 59, 60, 3599, 3600, 3723, 90_000, 1_234_567]
    page.goto(site.url)
    script = page.locator("script").get_attribute("src")
    said = page.evaluate(
        """async ([path, numbers]) => {
            const { clock, count, percent, rate, several } = await import(path);
            const each = (n) => [count(n), several(n, "email"), percent(n, 1234567), rate(n + 0.9),
                                 clock(n + 0.9)];
            return [...numbers.map(each), [rate(null), clock(null)]];
        }""",
        [script.replace("home.js", "lib/format.js"), numbers],
    )
    assert said == [
        *(
            [
                phrases.count(n),
                phrases.several(n, "email"),
                phrases.percent(n, 1_234_567),
                phrases.rate(n + 0.9),
                phrases.clock(n + 0.9),
            ]
            for n in numbers
        ),
        [phrases.rate(None), phrases.clock(None)],
    ]


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (("cancelled", None, None, None), "Cancelled"),
        (("retried", "alice", "failed", 1), "Retried by alice: 1 email (failed)"),
        (("retried", "böb", "no_at_sign", 1_234), "Retried by böb: 1,234 emails (no at sign)"),
    ],
)
def test_an_action_on_a_batch(action, text):
    assert phrases.done(*action) == text
