import pytest

import phrases


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
