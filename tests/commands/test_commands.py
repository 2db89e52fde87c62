"""app.py and worker.py as processes: options, signals, exit statuses."""

import shutil
import signal
import socket
import sys
import threading

import pytest
from peewee import OperationalError

from harness.batches import store
from harness.books import query, snapshot
from harness.config import write_config
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import run_to_end
from harness.servers import running, temporary_folder
from harness.site import Site
from postgres import schema
from postgres.database import disconnect, init, pool
from postgres.schema import SchemaError
from runtime.paths import ROOT
from runtime.settings import load
from servers import connect


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("app.py", ["--config", "--host", "--port", "Ctrl-C"]),
        ("worker.py", ["--threads", "kill -9"]),
    ],
)
def test_help_is_worth_reading(script, words):
    result = run_to_end(sys.executable, script, "--help")
    assert result.returncode == 0
    for word in words:
        assert word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["app.py", "--port", "x"], "--port: [server] port must be a whole number"),
        (["worker.py", "--threads", "0"], "--threads: [worker] threads must be"),
        (["worker.py", "--config", "nowhere.ini"], "nowhere.ini: the configuration can't be read"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_status_2(arguments, sentence):
    result = run_to_end(sys.executable, *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_processor_that_cannot_be_loaded_is_one_sentence_and_status_2(tmp_path):
    config = write_config(tmp_path, worker__processor="nowhere:check")
    result = run_to_end(sys.executable, "worker.py", "--config", str(config))
    assert result.returncode == 2
    assert "[worker] processor: the processor 'nowhere:check' can't be loaded" in result.stderr


def test_a_processor_with_the_name_of_our_folder_is_told_which_file_was_found(tmp_path):
    (tmp_path / "work.py").write_text("def check(addresses): ...")
    config = write_config(tmp_path, worker__processor="work:check")
    result = run_to_end(sys.executable, "worker.py", "--config", str(config))
    assert result.returncode == 2
    found = ROOT / "work" / "__init__.py"
    assert f"'work:check' can't be loaded: {found} has no 'check'." in result.stderr


def test_a_port_in_use_is_one_sentence_and_status_2(processes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = processes("app.py", "--port", str(taken.getsockname()[1]))
        assert app.wait() == 2
    assert "Can't listen on 127.0.0.1" in app.lines[-1]


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1")],  # noqa: S104
)
def test_the_app_ends_its_start_with_the_address_to_open(processes, host, here):
    app = processes("app.py", "--host", host, access__allow_anonymous="yes")
    port = app.await_line(r"^Open http://[\d.]+:(\d+)/$")[1]
    assert app.lines[-1] == f"Open http://{here}:{port}/"
    assert Site(f"http://{here}:{port}").get("/").status == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_both_stop_cleanly_on_a_signal(processes, signum):
    app, worker = processes("app.py"), processes("worker.py")
    app.site()
    worker.await_line("worker started")
    assert worker.stop(signum) == 0
    assert app.stop(signum) == 0
    assert worker.lines[-1].endswith("stopped")


def test_a_worker_stops_in_the_middle_of_a_batch_and_the_next_goes_on(processes, slow):
    batch_id = store(*(f"user{n}@x.de" for n in range(2000)), chunk_size=400).batch_id
    worker = processes("worker.py", **{**slow, "worker__threads": 2})
    eventually(lambda: snapshot(batch_id).processed)
    assert worker.stop() == 0
    done = snapshot(batch_id).processed
    assert 0 < done < 2000
    assert query("SELECT count(*) FROM email WHERE status = 'processed'") == [(done,)]
    processes("worker.py")  # one that isn't slow
    eventually(lambda: snapshot(batch_id).status == "completed", 60)


def test_a_killed_worker_loses_and_doubles_nothing(processes, slow):
    batch_id = store(*(f"user{n}@x.de" for n in range(3000)), chunk_size=200).batch_id
    worker = processes("worker.py", **{**slow, "worker__threads": 4})
    eventually(lambda: snapshot(batch_id).processed)
    worker.stop(signal.SIGKILL)
    assert snapshot(batch_id).processed < 3000
    processes("worker.py", worker__sweep_seconds=0.5)  # one that isn't slow
    eventually(lambda: snapshot(batch_id).status == "completed", 60)
    assert query("SELECT count(*), max(processed_count) FROM email, batch") == [(3000, 3000)]


@pytest.mark.parametrize("script", ["app.py", "worker.py"])
def test_one_that_waits_for_postgres_can_be_stopped(run, tmp_path, servers, script):
    config = write_config(tmp_path, database__url=f"postgresql://x@/x?host={tmp_path}")
    waiting = run(script, "--config", str(config), REDIS_URL=servers.redis_url)
    waiting.await_line("unreachable server=postgres")
    assert waiting.stop() == 0


def test_a_stop_before_postgres_was_reached_is_clean(tmp_path, servers, database):
    settings = load(write_config(tmp_path), environ=servers.environment)
    stopping = threading.Event()
    stopping.set()
    disconnect()
    pool.init(None)  # as in a process that has not connected yet
    with connect.servers(settings, stopping, name="test", connections=1) as doorbell:
        assert doorbell.client.ping()
    init(servers.database_url, connections=30)


def test_what_is_refused_late_stops_what_was_begun(tmp_path, servers, database, monkeypatch):
    """As when PostgreSQL comes up after the app, and turns out to be newer than its code."""
    refused = threading.Event()

    def migrate():
        if not refused.is_set():
            raise OperationalError("not yet")
        raise SchemaError("it is newer")

    monkeypatch.setattr(schema, "migrate", migrate)
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.05)
    settings = load(write_config(tmp_path), environ=servers.environment)
    stopping = threading.Event()

    def serve():
        with connect.servers(settings, stopping, name="test", connections=2, wait=False):
            assert not stopping.is_set()
            refused.set()
            assert stopping.wait(20)

    with pytest.raises(SchemaError, match="it is newer"):
        serve()
    init(servers.database_url, connections=30)


@pytest.mark.parametrize("first", ["app.py", "worker.py"])
def test_with_bundled_servers_either_may_come_first_and_nothing_is_left_behind(run, first):
    scripts = sorted(["app.py", "worker.py"], reverse=first == "worker.py")
    with temporary_folder() as folder:
        config = write_config(folder, server__port=0)
        for _ in range(2):  # running it twice needs no cleaning up
            started = [run(script, "--config", str(config)) for script in scripts]
            app, worker = started if first == "app.py" else reversed(started)
            site = app.site()
            worker.await_line("worker started")
            batch_id = site.upload(csv_of("a@example.com")).json["batchId"]
            path = f"/api/batches/{batch_id}"
            eventually(lambda: site.get(path).json["status"] == "completed")  # noqa: B023
            worker.stop(signal.SIGKILL if first == "app.py" else signal.SIGTERM)
            assert app.stop() == 0
            assert running("postgres", folder / "var") == []
            assert running("redis", folder / "var") == []


def test_the_makefile_explains_its_targets():
    make = shutil.which("make")
    assert make
    result = run_to_end(make, "help")
    for target in ("run", "test", "lint", "help"):
        assert f"make {target} " in result.stdout
