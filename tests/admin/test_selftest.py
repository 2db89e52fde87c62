"""`worker.py --selftest`, beside workers in service, and its judgement, which can fail."""

import signal

import pytest

from admin import selftest
from harness.batches import store
from harness.books import query
from harness.config import write_config
from harness.polling import eventually
from postgres.database import pool, session
from runtime.settings import load

SCHEMAS = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'selftest')"


def test_it_says_that_every_row_came_out_once_and_leaves_nothing_behind(
    processes, database, client
):
    in_service = processes("worker.py")
    in_service.await_line("worker started")
    run = processes("worker.py", "--selftest")
    assert run.wait(100) == 0
    assert any(line.startswith("A worker was started, and killed") for line in run.lines)
    assert run.lines[-2].startswith("All 10,000 rows came out exactly once")
    assert run.lines[-1] == "The batch is removed again."
    assert query(SCHEMAS) == []
    assert not list(client.scan_iter("*selftest*"))
    assert query("SELECT count(*) FROM batch") == [(0,)]
    assert not any("batch=" in line for line in in_service.lines)


def test_when_it_is_interrupted_it_leaves_nothing_behind_either(processes, database, client):
    run = processes("worker.py", "--selftest")
    run.await_line("are uploaded")
    assert run.stop(signal.SIGINT) == 130
    assert query(SCHEMAS) == []
    assert not list(client.scan_iter("*selftest*"))


def test_it_says_when_the_servers_cannot_be_reached(run, tmp_path, servers):
    config = write_config(tmp_path, database__url=f"postgresql://x@/x?host={tmp_path}")
    result = run("worker.py", "--selftest", "--config", str(config), REDIS_URL=servers.redis_url)
    assert result.wait(60) == 1
    assert result.lines[0].startswith("The selftest could not be carried out: ")


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE email SET status = 'pending', reason = NULL WHERE id = 7",
        "UPDATE email SET reason = 'other' WHERE id = 1",
        "UPDATE email SET email = 'twice' WHERE id IN (3, 4)",
        "DELETE FROM email WHERE id = 9",
        "UPDATE batch SET failed_count = failed_count + 1",
    ],
)
def test_its_judgement_sees_every_harm(database, monkeypatch, harm):
    monkeypatch.setattr(selftest, "ROWS", 100)
    batch_id = store(*selftest._addresses()).batch_id
    said = []
    with session():
        pool.execute_sql(
            "UPDATE email SET status = CASE WHEN email LIKE '%%@%%' THEN 'processed' ELSE 'failed'"
            " END, reason = CASE WHEN email LIKE '%%@%%' THEN NULL ELSE 'no_at_sign' END"
        )
        pool.execute_sql(
            "UPDATE batch SET status = 'completed', processed_count = 100, failed_count = 5,"
            " started_at = now(), completed_at = now()"
        )
    assert selftest._judge(batch_id, said.append)
    with session():
        pool.execute_sql(harm.replace("%", "%%"))
    assert not selftest._judge(batch_id, said.append)
    assert said[-1].startswith("SOMETHING IS WRONG")


def test_urls_keep_their_options(tmp_path):
    url = selftest._with_search_path("postgresql://a:p%40@h:1/db?sslmode=require", "s_1")
    assert url == "postgresql://a:p%40@h:1/db?sslmode=require&options=-csearch_path%3Ds_1"
    url = selftest._with_search_path("postgresql:///db", "s_1")
    assert url == "postgresql:///db?options=-csearch_path%3Ds_1"
    settings = load(write_config(tmp_path), environ={})
    with selftest._folder(settings, "s_1") as folder:
        own = load(folder / "config.ini", environ={})
    assert own.redis.queue_key == "email-queue:s_1"
    assert own.worker.processor == "admin.selftest:slow_check"
    assert own.server == settings.server
    assert eventually(lambda: not folder.exists())
