"""The cache of what is known of domains."""

from hypothesis import given
from hypothesis import strategies as st

from processors.domains import cache
from processors.domains.cache import Cache

RESULTS = (None, "no_such_domain", "dns_timeout")


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=20), st.sampled_from(RESULTS), st.integers(1, 10**6)
        ),
        max_size=200,
    )
)
def test_the_newest_result_of_each_name_is_found_until_its_time(stored):
    known = Cache(RESULTS, 1_000_000)
    newest = {}
    for name, result, until in stored:
        known.put(name, result, until)
        newest[name] = result, until
    assert len(known) == len(newest)
    for name, (result, until) in newest.items():
        assert known.get(name, until - 1) == (result, until)
        assert known.get(name, until) is None
    assert known.get("", 0) is None


def test_it_grows_and_of_too_many_names_those_are_dropped_that_end_first(monkeypatch):
    monkeypatch.setattr(cache, "FIRST", 16)
    most = 100 * cache.TABLES
    known = Cache(RESULTS, most)
    for number in range(1, 4 * most):
        known.put(f"d{number}.example.net", None, number)
    assert most / 4 < len(known) < 2 * most
    assert known.get(f"d{4 * most - 1}.example.net", 0) == (None, 4 * most - 1)
    assert known.get("d1.example.net", 0) is None


def test_there_is_room_if_all_names_end_at_the_same_time(monkeypatch):
    monkeypatch.setattr(cache, "FIRST", 16)
    most = 100 * cache.TABLES
    known = Cache(RESULTS, most)
    for number in range(4 * most):
        known.put(f"d{number}.example.net", None, 100)
    assert len(known) < 2 * most
    assert known.get(f"d{4 * most - 1}.example.net", 0) == (None, 100)


def test_many_names_take_little_memory():
    known = Cache(RESULTS, 1_000_000)
    for number in range(100_000):
        known.put(f"d{number}.example.net", None, 100)
    tables = known._tables
    held = sum(len(each.keys) * 8 + len(each.until) * 4 + len(each.numbers) for each in tables)
    assert held < 100_000 * 100
