"""What systemd is told, by a socket that stands for it."""

import contextlib
import socket

import pytest

from harness.polling import eventually
from runtime import systemd as systemd_module


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A function that gives what came since it was called last, as one text."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def heard():
            lines = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    lines += listener.recv(1000).decode().split("\n")
            return lines

        yield heard


def await_lines(systemd, *awaited):
    """Wait until these have come; all that came."""
    heard = []

    def came():
        heard.extend(systemd())
        return set(awaited) <= set(heard)

    eventually(came)
    return heard


@pytest.mark.parametrize("script", ["app.py", "worker.py"])
def test_it_is_told_that_they_are_ready_alive_and_stopping(processes, systemd, script):
    process = processes(script)
    heard = await_lines(systemd, "READY=1", "WATCHDOG=1")
    status = next(line for line in heard if line.startswith("STATUS="))
    if script == "app.py":
        assert status == f"STATUS=serving {process.site().url}/"
    else:
        assert status == "STATUS=4 threads processing batches"
    await_lines(systemd, "WATCHDOG=1")
    assert process.stop() == 0
    assert "STOPPING=1" in systemd()
    assert "Open http" not in process.output  # nobody watches the start


def test_a_worker_that_waits_for_postgresql_is_ready_and_alive_and_says_so(run, systemd, tmp_path):
    nowhere = {"DATABASE_URL": f"postgresql://x@/x?host={tmp_path}", "REDIS_URL": "unix:///nobody"}
    worker = run("worker.py", **nowhere)
    await_lines(systemd, "READY=1", "STATUS=waiting for PostgreSQL")
    await_lines(systemd, "WATCHDOG=1")
    assert worker.stop() == 0


def test_what_is_refused_is_never_ready(run, systemd):
    assert run("worker.py", "--threads", "0").wait() == 2
    assert systemd() == []


def test_without_systemd_or_with_one_that_has_gone_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd_module.ready("serving")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd_module.stopping()


def test_an_abstract_socket_is_heard_too(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{tmp_path}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}")
        systemd_module.ready("serving")
        assert listener.recv(100) == b"READY=1\nSTATUS=serving"
