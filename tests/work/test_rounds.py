"""Emails that a processor puts off are processed again in further rounds, so often and so long."""

import collections

import pytest

from batches import snapshots
from harness.batches import CHECK, store
from harness.books import assert_books_balance, emails, query, snapshot
from harness.polling import eventually
from postgres.database import pool, session
from processors import failed, later, one_by_one
from relay import publish
from work.turns import Turns

ADDRESSES = ["a@x.de", "later@x.de", "b@x.de"]


class Putting:
    """A processor that says of `later@…` what it is told to, and counts its calls."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.calls = collections.Counter()

    def __call__(self, addresses):
        yield from one_by_one(self._judge)(addresses)

    def _judge(self, address):
        self.calls[address] += 1
        if address != "later@x.de":
            return None
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def process(make_turns, queue):
    """Process ADDRESSES to the end by one thread, which is rung for as by a sweep."""

    def run(processor, **changes):
        turns = make_turns(processor, **changes)
        batch_id = store(*ADDRESSES).batch_id

        def turn():
            with session():
                queue.enqueue(*snapshots.unfinished_batches(CHECK))
            turns.run_once()
            assert_books_balance()
            return snapshot(batch_id).terminal

        eventually(turn)
        assert turns.emails == 3
        return emails(batch_id)[1][1:]

    return run


def test_the_others_have_had_their_turn_and_are_not_processed_again(process):
    processor = Putting(later("dns_timeout", 0.01), later("dns_timeout", 0.01), None)
    assert process(processor) == ("processed", None)
    assert processor.calls == {"a@x.de": 1, "later@x.de": 3, "b@x.de": 1}


def test_one_number_is_meant_for_each_of_five_rounds(process):
    processor = Putting(later("dns_error", 0.01))
    assert process(processor) == ("processed", "dns_error")
    assert processor.calls["later@x.de"] == 5


def test_with_several_numbers_there_are_as_many_further_rounds(process):
    processor = Putting(later("dns_timeout", 0.01, 0.02))
    assert process(processor) == ("processed", "dns_timeout")
    assert processor.calls["later@x.de"] == 3


def test_the_settings_limit_rounds_and_hours(process):
    processor = Putting(later("dns_timeout", 0.01))
    assert process(processor, worker__later_rounds=1) == ("processed", "dns_timeout")
    assert processor.calls["later@x.de"] == 1
    processor = Putting(later("dns_timeout", 4))
    assert process(processor, worker__later_hours=0.001) == ("processed", "dns_timeout")
    assert processor.calls["later@x.de"] == 2


@pytest.mark.parametrize(
    "wrong",
    [later("greylisted", 1), later("dns_timeout"), later("dns_timeout", 0), later("unknown", 1e9)],
)
def test_what_is_not_allowed_is_an_error_of_its_email(process, wrong):
    assert process(Putting(wrong)) == ("failed", "error")


def test_in_isolation_too(make_turns, queue, tmp_path, monkeypatch):
    (tmp_path / "putting.py").write_text(
        "from processors import later, one_by_one\n"
        "@one_by_one\n"
        "def put_off(address):\n"
        '    return later("dns_timeout", 100, 200) if address.startswith("later") else None\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    batch_id = store(*ADDRESSES).batch_id
    with session():
        pool.execute_sql("UPDATE chunk SET attempts = 5, begun_at = now() - interval '1 hour'")
    queue.enqueue(batch_id)
    make_turns(failed, worker__processor="putting:put_off").run_once()
    found = snapshot(batch_id)
    assert (found.processed, found.waiting, found.reasons) == (2, 1, {})
    assert query("SELECT due_at > now() + interval '50 s' FROM chunk") == [(True,)]
    assert_books_balance()


def test_it_is_published(make_services, queue, client):
    batch_id = store(*ADDRESSES).batch_id
    queue.enqueue(batch_id)
    services = make_services(Putting(later("dns_timeout", 100)))

    def last():
        services.publisher.flush()
        found = messages.get_message(timeout=1)
        return found and found["type"] == "message" and publish.parse(found["data"])

    with client.pubsub() as messages:
        messages.subscribe(f"batch:status:{batch_id}")
        Turns(services, 1).run_once()
        eventually(lambda: last() == snapshot(batch_id))
    assert (snapshot(batch_id).status, snapshot(batch_id).waiting) == ("processing", 1)
