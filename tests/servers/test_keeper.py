"""The bundled servers, with users and keepers killed for real."""

import os
import resource
import shutil
import signal
import sys

import pytest
import redis

from harness.bundled import leave, mode, socket_path, stranger, works
from harness.polling import eventually
from harness.servers import processes, running
from servers.bundled import SERVERS
from servers.confinement import BundledServerError
from servers.keeper import BundledServer


@pytest.mark.parametrize("kind", SERVERS)
class TestEachServer:
    def test_users_that_come_together_share_it_and_the_last_one_out_stops_it(
        self, kind, folder, use
    ):
        users = [use(kind, folder, wait=False) for _ in range(4)]
        urls = {user.stdout.readline().strip() for user in users}
        assert len(urls) == 1
        assert works(kind, urls.pop())
        # Keepers that found another at work need a moment to go.
        eventually(lambda: len(running(kind, folder)) == 2)
        for user in users[:-1]:
            leave(user)
        assert len(running(kind, folder)) == 2
        leave(users[-1])
        # release() has waited for the end.
        assert running(kind, folder) == []

    def test_it_stops_when_its_users_are_killed(self, kind, made, use):
        users = [use(kind, made) for _ in range(2)]
        for user in users:
            user.kill()
        eventually(lambda: running(kind, made) == [])

    def test_it_is_started_again_when_it_is_killed(self, kind, made):
        server = BundledServer(kind, made)
        (process,) = [p for p in running(kind, made) if "servers.keeper" not in str(p.cmdline())]
        process.kill()
        eventually(lambda: works(kind, server.url) and len(running(kind, made)) == 2)
        server.release()
        assert running(kind, made) == []

    def test_it_outlives_its_keeper_and_is_started_again_by_another(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        keeper.kill()
        keeper.wait(20)
        assert works(kind, server.url)
        for process in running(kind, made):
            process.kill()
        eventually(lambda: works(kind, server.url) and len(running(kind, made)) == 2)
        server.release()
        assert running(kind, made) == []

    def test_the_last_one_out_stops_it_though_the_keeper_was_killed(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        keeper.kill()
        keeper.wait(20)
        server.release()
        assert running(kind, made) == []

    def test_signals_meant_for_app_and_worker_leave_it_alone(self, kind, made):
        server = BundledServer(kind, made)
        (keeper,) = processes("servers.keeper", made)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            keeper.send_signal(signum)
        assert os.getsid(keeper.pid) == keeper.pid
        assert works(kind, server.url)
        assert len(running(kind, made)) == 2
        server.release()

    @pytest.mark.parametrize(
        "parts",
        [
            ["a-folder-with-quite-a-long-name"] * 4,
            ["short"],
            # Whatever a shell, a URL, a list of settings or of hosts could stumble over.
            ['it\'s "so" $HOME `id` \\ 100% ümläut'],
            ["a, b"],
        ],
        ids=["long", "short", "odd", "comma"],
    )
    def test_in_any_folder_it_works_and_only_its_owner_gets_in(self, kind, folder, parts):
        parent = folder.joinpath(*parts)
        assert parts[0] != "a-folder-with-quite-a-long-name" or len(str(parent / kind)) > 134
        server = BundledServer(kind, parent)
        assert works(kind, server.url)
        path = socket_path(kind, server.url)
        assert path.is_socket()
        assert mode(path) == mode(path.parent) == mode(parent / kind) == 0o700
        if os.getuid() == 0:
            assert "PermissionError" in stranger(path)
        server.release()
        assert running(kind, parent) == []
        if folder not in path.parents:
            shutil.rmtree(path.parent)

    def test_it_stops_though_its_folder_was_removed(self, kind, made, use):
        user = use(kind, made)
        # The server goes on writing meanwhile.
        eventually(lambda: shutil.rmtree(made / kind, True) or not (made / kind).exists())
        user.kill()
        eventually(lambda: running(kind, made) == [])

    def test_the_modes_of_the_folders_above_stay(self, kind, folder):
        parent = folder / "private" / "var"
        parent.mkdir(parents=True)
        above = [parent, *parent.parents]
        for each, wanted in zip(above, (0o755, 0o711, 0o700), strict=False):
            each.chmod(wanted)
        modes = [mode(each) for each in above]
        server = BundledServer(kind, parent)
        assert works(kind, server.url)
        assert [mode(each) for each in above] == modes
        server.release()

    def test_a_folder_that_was_opened_to_others_is_closed(self, kind, folder):
        (folder / kind).mkdir()
        (folder / kind).chmod(0o755)
        BundledServer(kind, folder).release()
        assert mode(folder / kind) == 0o700

    def test_a_socket_folder_that_somebody_else_may_have_made_is_refused(
        self, kind, folder, monkeypatch
    ):
        monkeypatch.setattr("servers.keeper.RESTART_TIMEOUT", 0)
        parent = folder.joinpath(*["a-folder-with-quite-a-long-name"] * 4)
        server = BundledServer(kind, parent)
        sockets = socket_path(kind, server.url).parent
        server.release()
        sockets.chmod(0o777)
        with pytest.raises(BundledServerError, match=f"{sockets} must hold a socket, .* Remove it"):
            BundledServer(kind, parent)
        sockets.chmod(0o700)
        shutil.rmtree(sockets)


def test_the_keeper_outlives_a_full_disk(folder):
    server = BundledServer("redis", folder)
    (keeper,) = processes("servers.keeper", folder)
    # Only its log is beyond what a file may have from now on; a full disk says no as well.
    os.truncate(folder / "redis" / "keeper.log", 1 << 30)
    resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (1 << 29, 1 << 29))
    (process,) = [p for p in running("redis", folder) if p != keeper]
    process.kill()
    eventually(lambda: works("redis", server.url) and keeper in running("redis", folder))
    server.release()
    assert running("redis", folder) == []


def test_a_server_whose_user_goes_while_it_starts_is_stopped_at_once(folder, use, monkeypatch):
    late = "import os, sys, time; time.sleep(60); os.execv(sys.argv[1], sys.argv[1:])"
    path = folder / "bin" / "redis-server"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c '{late}' {SERVERS['redis']._executable()} \"$@\"\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    user = use("redis", folder, wait=False)
    eventually(lambda: len(running("redis", folder)) == 2)
    user.kill()
    eventually(lambda: running("redis", folder) == [])


def test_a_redis_that_was_told_to_save_and_cannot_is_stopped(folder):
    server = BundledServer("redis", folder)
    (folder / "gone").mkdir()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("dir", str(folder / "gone"))
        client.config_set("save", "1000 1000")
    (folder / "gone").rmdir()
    server.release()
    assert running("redis", folder) == []
