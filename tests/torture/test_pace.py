"""The pace of batches with a rate."""

from torture.pace import Pace, paces


def test_the_fastest_seconds_of_each_batch_with_a_rate_are_found():
    calls = [(number / 2, f"b1-e{number}-r1") for number in range(100)]
    calls += [(20 + number / 10, f"b2-e{number}-r1") for number in range(500)]
    calls += [(30.0, "b3-e1-r1"), (31.0, "nonsense")]
    assert paces(reversed(calls), {1: 120, 2: 120, 4: 60}, 6) == [
        Pace(1, 21, 36),
        Pace(2, 101, 36),
        Pace(4, 0, 21),
    ]
