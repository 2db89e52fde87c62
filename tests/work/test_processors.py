"""Several processors in a worker: each batch is done by its own, and none starves."""

import sys
import threading
from dataclasses import replace
from io import BytesIO

import pytest

from batches import changes, intake
from batches.intake import Upload
from harness.batches import CHECK, store, take_turns
from harness.books import assert_books_balance, emails, snapshot
from harness.config import ROOT, write_config
from harness.polling import eventually
from harness.processes import run_to_end
from harness.site import post
from postgres.database import session
from processors import Option, failed, one_by_one, per_item
from relay.batch_queue import BatchQueue
from relay.presence import workers
from work.supervisor import Supervisor
from work.turns import Turns

OFFERED = {"processors__crm": "crm:add", "processors__send": "send:it"}
NAMES = "crm", "send", "check"


def marking(name):
    return one_by_one(lambda address: failed(f"by_{name}"))


@pytest.fixture
def lists(client):
    return BatchQueue(client, "email-queue", "crm", "check")


def batch_of(name, *addresses, chunk_size=5000, per_minute=None):
    upload = Upload(processor=name, per_minute=per_minute)
    return store(*(addresses or ("a@x.de",)), chunk_size=chunk_size, upload=upload).batch_id


def reasons(batch_id):
    return {reason for _, _, reason in emails(batch_id)}


def all_of(*names):
    return {name: marking(name) for name in names}


def test_each_batch_is_done_by_its_processor_and_by_who_has_it(make_turns, lists):
    ids = {name: batch_of(name) for name in (*NAMES, None)}
    for name, batch_id in ids.items():
        lists.enqueue(name, batch_id)
    some = make_turns(all_of("send", "check"), **OFFERED)
    assert [some.run_once() for _ in range(4)] == [True, True, True, False]
    assert snapshot(ids["crm"]).status == "pending"
    other = make_turns(all_of("crm"), **OFFERED)
    assert [other.run_once() for _ in range(2)] == [True, False]
    found = {name: reasons(batch_id) for name, batch_id in ids.items()}
    assert found == {**{name: {f"by_{name}"} for name in NAMES}, None: {"by_check"}}
    assert_books_balance()


@pytest.mark.parametrize("redis_away", [False, True])
def test_a_small_batch_waits_for_no_more_than_a_turn_of_each_other(
    make_turns, lists, no_redis, redis_away
):
    turns = make_turns(all_of(*NAMES), *([no_redis] if redis_away else []), **OFFERED)
    many = [f"user{number}@x.de" for number in range(20)]
    huge = [batch_of("crm", *many, chunk_size=1) for _ in range(5)]
    for batch_id in huge:
        lists.enqueue("crm", batch_id)
    for _ in range(10):
        assert turns.run_once()
    small = {name: batch_of(name) for name in ("send", "check")}
    for name, batch_id in small.items():
        lists.enqueue(name, batch_id)
    for _ in range(len(NAMES)):
        assert turns.run_once()
    assert {snapshot(each).status for each in small.values()} == {"completed"}
    assert sum(snapshot(each).processed for each in huge) == 11


@pytest.mark.parametrize("per_minute", [None, 60])
def test_an_id_on_the_wrong_list_is_dropped_and_not_processed(make_turns, lists, per_minute):
    batch_id = batch_of("send", "a@x.de", "b@x.de", per_minute=per_minute)
    turns = make_turns(all_of(*NAMES), **OFFERED)
    for _ in range(3):
        lists.enqueue("crm", batch_id)
        assert not turns.run_once()
        assert lists.depth(*NAMES) == 0
        assert batch_id not in turns._services.later_rings
    assert snapshot(batch_id).status == "pending"
    lists.enqueue("send", batch_id)
    assert turns.run_once()
    assert reasons(batch_id) >= {"by_send"}


def test_a_processor_that_waits_for_its_rate_holds_up_no_other(make_turns, lists):
    changes = {**OFFERED, "crm__per_minute": "1", "send__per_minute": "1"}
    turns = make_turns(all_of(*NAMES), **changes)
    for name in NAMES:
        for _ in range(3):
            lists.enqueue(name, batch_of(name))
    done = sum(turns.run_once() for _ in range(9))
    assert done == 1 + 1 + 3
    rings = turns._services.later_rings
    assert [rings.everyone_waits(name) for name in NAMES] == [True, True, False]


@pytest.mark.parametrize("once", [False, True])
def test_a_batch_with_options_of_another_version_is_left_alone_and_others_go_on(
    make_services, lists, caplog, once
):
    asked = []

    @per_item
    def add(item):
        asked.append(item.options)

    add.once = once
    add.declared_options, add.options = (Option("days", int, per_batch=True),), {"days": 30}
    services = make_services({"crm": add}, **OFFERED)
    turns, mine = Turns(services, 1), services.processors["crm"]
    supervisor = Supervisor(services, threading.Event())
    chosen = {"days": 7}, {"days": 7, "colour": "blue"}, {"days": "soon"}, {}
    ids = [
        store("a@x.de", upload=Upload(processor="crm", options=each)).batch_id for each in chosen
    ]
    for _ in range(3):
        lists.enqueue("crm", *ids)
        for _ in ids:
            turns.run_once()
    assert asked == [{"days": 7}, {"days": 30}]
    statuses = [snapshot(each).status for each in ids]
    assert statuses == ["completed", "pending", "pending", "completed"]
    logged = [each for each in caplog.messages if "different versions" in each]
    assert len(logged) == 1  # a minute
    assert f"batch={ids[1]} processor=crm" in logged[0]
    assert "colour is no option that can be set for a batch; the options are days" in logged[0]
    assert "days must be a whole number, not 'soon'" in mine.unfit[ids[2]]
    assert mine.ability().error is None
    assert mine.ability().hindrance.startswith(
        f"Batch {ids[1]} waits, because crm has changed: colour is no option that can be set"
    )
    supervisor.sweep()
    assert lists.depth("crm") == 0  # nobody looks at them again and again
    with session():
        changes.cancel(ids[1], None)
        changes.pause(ids[2], None)
    supervisor.sweep()
    assert mine.ability().hindrance == ""
    assert_books_balance()


def test_batches_that_do_not_fit_keep_no_other_waiting_without_redis(
    make_services, no_redis, monkeypatch
):
    monkeypatch.setattr("work.turns.DEQUEUE_SECONDS", 60)  # a wait would be seen
    services = make_services({"crm": marking("crm")}, no_redis, **OFFERED)
    turns = Turns(services, 1)
    for _ in range(3):
        store("a@x.de", upload=Upload(processor="crm", options={"gone": 1}))
    fitting = batch_of("crm")
    no_redis.check()
    assert [turns.run_once() for _ in range(4)] == [False, False, False, True]
    assert snapshot(fitting).status == "completed"
    batch_of("crm")
    assert turns.run_once()  # at once, because the worker knows the others
    assert_books_balance()


def test_a_worker_goes_on_without_a_processor_that_cannot_be_loaded(processes, client, tmp_path):
    (tmp_path / "crm.py").write_text("import nowhere_at_all\n")
    (tmp_path / "send.py").write_text(
        "from processors import failed, one_by_one\n"
        "it = one_by_one(lambda address: failed('by_send'))\n"
    )
    ids = {name: batch_of(name) for name in NAMES}
    worker = processes("worker.py", **OFFERED)
    eventually(lambda: snapshot(ids["send"]).status == snapshot(ids["check"]).status == "completed")
    assert reasons(ids["send"]) == {"by_send"}
    assert snapshot(ids["crm"]).status == "pending"
    (alive,) = eventually(lambda: workers(client, "email-queue").alive)
    errors = {each.name: each.error for each in alive.processors}
    assert "nowhere_at_all" in errors.pop("crm")
    assert errors == {"send": None, "check": None}
    worker.stop()
    (tmp_path / "crm.py").write_text("from send import it as add\n")
    second = processes("worker.py", "--processors", "crm", **OFFERED)
    second.await_line("worker started")
    eventually(lambda: snapshot(ids["crm"]).status == "completed")
    (alive,) = eventually(lambda: workers(client, "email-queue").alive)
    assert [each.name for each in alive.processors] == ["crm"]


def test_whoever_rings_does_so_on_the_list_of_the_batchs_processor(serve, lists):
    site = serve(**OFFERED)
    batch_id = batch_of("send")
    for change in ("pause", "resume"):
        assert post(site, f"/api/batches/{batch_id}/{change}").status == 200
    assert lists.depth("crm", "check") == 0
    assert lists.dequeue(0.1, ["send"]) == ("send", batch_id)
    take_turns(batch_id, [(1, "failed", "no_at_sign")], replace(CHECK, name="send"))
    assert post(site, f"/api/batches/{batch_id}/retry", which="failed").json["requeued"] == 1
    assert lists.depth("crm", "check") == 0
    assert lists.dequeue(0.1, ["send"]) == ("send", batch_id)
    assert post(site, f"/api/batches/{batch_id}/cancel").status == 200
    assert lists.depth(*NAMES) == 0  # nothing of it is to be done


def test_manage_rings_on_the_list_of_the_batchs_processor(servers, lists, tmp_path):
    batch_id = batch_of("send")
    take_turns(batch_id, [(1, "failed", "no_at_sign")], replace(CHECK, name="send"))
    config = write_config(tmp_path, **OFFERED)
    command = (sys.executable, ROOT / "manage.py", "--config", config)
    done = run_to_end(*command, "retry", str(batch_id), "failed", **servers.environment)
    assert done.returncode == 0, done.stderr
    assert lists.depth("crm", "check") == 0
    assert lists.dequeue(0.1, ["send"]) == ("send", batch_id)


def test_a_worker_refuses_a_processor_that_is_not_there(servers, tmp_path):
    config = write_config(tmp_path, **OFFERED)
    command = (sys.executable, ROOT / "worker.py", "--config", config, "--processors", "crm,crmm")
    ended = run_to_end(*command, **servers.environment)
    assert ended.returncode == 2
    said = f"--processors crm,crmm: there is no processor 'crmm'; {config} has crm, send, check."
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("takes", "kept", "fits"),
    [
        (("Town",), (), False),
        (("*",), (), False),
        (("Town",), ("Town",), True),
        (("*",), ("Town",), False),
        (("*",), ("*",), True),
        (("Street",), (), True),  # the list lacks it
        ((), (), True),
    ],
)
def test_a_batch_without_a_column_that_is_taken_now_is_left_alone(make_services, takes, kept, fits):
    @per_item
    def add(item):
        return None

    add.columns = takes
    services = make_services({"crm": add}, **OFFERED)
    content = b"mail,Town,*\na@x.de,Ulm,1\n"
    upload = Upload(processor="crm", columns=kept)
    batch_id = intake.store(
        BytesIO(content), "list.csv", chunk_size=9, max_rows=9, upload=upload
    ).id
    mine = services.processors["crm"]
    with session():
        assert mine.fits(batch_id) is fits
    if not fits:
        what = "all columns" if takes == ("*",) else "the column Town"
        assert f"it takes {what}, which the batch didn't keep" in mine.unfit[batch_id]
