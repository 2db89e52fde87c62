"""Where the bundled servers' sockets are, and who may have prepared that place."""

import os
import tempfile
from pathlib import Path

import pytest

from servers.confinement import BundledServerError, socket_folder

NOBODY = 65534


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder with a short path."""
    folder = tempfile.TemporaryDirectory(prefix="e-")
    monkeypatch.setattr(tempfile, "tempdir", folder.name)
    yield Path(folder.name)
    folder.cleanup()


def long(name="x"):
    return Path("/", name * 81)


def test_a_short_path_is_taken_itself():
    assert socket_folder(Path("/srv/data"), os.getuid()) == Path("/srv/data")


@pytest.mark.parametrize("folder", [long(), long("ü"), Path("/a,b")])
def test_another_is_private_and_found_again(folder, temporary):
    sockets = socket_folder(folder, os.getuid())
    assert sockets.parent == temporary
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert socket_folder(folder, os.getuid()) == sockets
    assert socket_folder(long("y"), os.getuid()) != sockets


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_it_belongs_to_the_user_as_whom_the_server_runs():
    # The first time, root was killed before it gave the folder away.
    for uid in (0, NOBODY, NOBODY):
        assert socket_folder(long(), uid).stat().st_uid == uid


def be_open(sockets):
    sockets.chmod(0o777)


def be_a_link(sockets):
    sockets.rmdir()
    elsewhere = sockets.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    sockets.symlink_to(elsewhere)


def be_a_file(sockets):
    sockets.rmdir()
    sockets.touch(mode=0o600)


def be_a_strangers(sockets):
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(sockets, NOBODY, -1)


@pytest.mark.parametrize("prepare", [be_open, be_a_link, be_a_file, be_a_strangers])
def test_one_that_somebody_else_may_have_prepared_is_refused(prepare):
    prepare(socket_folder(long(), os.getuid()))
    with pytest.raises(BundledServerError, match=r"no folder of mode 700 of our own, .* Remove it"):
        socket_folder(long(), os.getuid())


def test_a_temporary_folder_with_a_long_path_is_told(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + 81 * "t")
    with pytest.raises(BundledServerError, match="Name a shorter folder by TMPDIR"):
        socket_folder(long(), os.getuid())
