"""File descriptors never run out by what others do, and if they do, it is said as what it is."""

import base64
import contextlib
import resource
from pathlib import Path

import pytest

from harness.config import ROOT, write_config
from harness.files import csv_of
from harness.site import ALICE, HOST, PASSWORD, body, connect
from web.access import users

LAUNCHER = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
MANY = 20_000
# More than a server with a few connections polls, and fewer than it has open at any time.
POLLED = 8
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
MADE_UP = b"Authorization: Basic %b\r\n" % base64.b64encode(b"nobody:nothing")


@pytest.fixture
def limited(servers, database, client, run, tmp_path):
    """Start app.py or worker.py with these limits of file descriptors, soft and hard."""

    def start(script, soft, hard, **changes):
        (tmp_path / "limited.py").write_text(LAUNCHER)
        config = write_config(tmp_path, **{"server__port": 0, **changes})
        arguments = (str(soft), str(hard), str(ROOT / script), "--config", str(config))
        return run(str(tmp_path / "limited.py"), *arguments, **servers.environment)

    return start


def form(content):
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n"


def limits_of(process):
    return resource.prlimit(process.pid, resource.RLIMIT_NOFILE)


def open_files(process):
    return len([*Path(f"/proc/{process.pid}/fd").iterdir()])


@pytest.mark.parametrize("hard", [1_024, MANY])
def test_six_hundred_unfinished_bodies_keep_nobody_who_signs_in_out(limited, tmp_path, hard):
    users.add(tmp_path / "users", "alice", PASSWORD)
    app = limited("app.py", 1024, hard)
    site = app.site()
    piece = b"a" * 600_000  # more than is kept in memory
    head = body(1_000_000).replace(HOST, HOST + MADE_UP)
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            connection = stack.enter_context(connect(site))
            with contextlib.suppress(ConnectionError):
                connection.sendall(head + piece)
        assert open_files(app) < hard - 100
        assert site.get("/api/health", Authorization=ALICE).status == 200
        content = b"".join(b"user%d@example.com\n" % number for number in range(50_000))
        for small in (csv_of("a@x.de"), content):
            uploaded = site.request("POST", "/api/upload", form(small), **FORM, Authorization=ALICE)
            assert uploaded.status == 201, uploaded.body
        assert "Too many open files" not in app.output
        assert "disk" not in app.output
        assert len(app.output) < 200_000


def test_the_limit_is_raised_to_what_the_settings_need(limited):
    app = limited("app.py", 256, MANY, server__max_streams=1_000)
    app.site()
    assert limits_of(app)[0] > 4_000
    worker = limited("worker.py", 256, MANY, worker__threads=64)
    worker.await_line("started|ready|working|threads")
    assert limits_of(worker)[0] > 1_024


@pytest.mark.parametrize(
    ("script", "changes", "named"),
    [
        ("app.py", {"server__max_streams": 2_000}, "max_streams = 2000"),
        ("worker.py", {"worker__threads": 64}, "threads = 64"),
    ],
)
def test_settings_that_need_more_than_there_may_be_are_refused(limited, script, changes, named):
    process = limited(script, 1_024, 1_024, **changes)
    assert process.wait() == 2
    assert named in process.output
    assert "this process may have 1,024. Raise that limit" in process.output


def test_with_few_there_are_fewer_connections(limited):
    app = limited("app.py", 800, 800)
    assert app.site().get("/api/health").status == 200
    app.await_line("fewer connections for want of file descriptors")


def test_when_none_is_left_it_is_told_as_what_it_is_and_once(limited):
    app = limited("app.py", MANY, MANY)
    site = app.site()
    with contextlib.ExitStack() as stack:
        # Of what is received, in mid-body; and of what a request then opens.
        for addresses in (300_000, 30_000, 30_000):
            with contextlib.closing(site.connection()) as connection:
                connection.request("GET", "/api/health")
                assert connection.getresponse().read()
                # As if all others were in use. To poll more than that fails, too.
                resource.prlimit(app.pid, resource.RLIMIT_NOFILE, (POLLED, MANY))
                connection.request("POST", "/api/upload", form(b"a@x.de\n" * addresses), FORM)
                answer = connection.getresponse()
                assert answer.status == 503
                assert answer.headers["Retry-After"]
                assert b"as many files and connections open as it may" in answer.read()
            # The next waits to be accepted.
            waiting = stack.enter_context(connect(site, b"GET /api/health HTTP/1.0\r\n\r\n"))
            app.await_line("no connection can be accepted.*Too many open files")
            resource.prlimit(app.pid, resource.RLIMIT_NOFILE, (MANY, MANY))
            assert b" 200 " in waiting.recv(100)
    for said in ("no file descriptor is left", "no connection can be accepted"):
        assert app.output.count(said) == 1
    assert "disk is full" not in app.output
    assert "Traceback" not in app.output


def test_the_units_allow_what_any_settings_need():
    units = (ROOT / "deploy").glob("*.service")
    assert [name for name in units if "LimitNOFILE=65536\n" not in name.read_text()] == []
