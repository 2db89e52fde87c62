"""`make trial`: do what docs/deploy.md says in a bare Debian 12, and try what comes of it.

The Debian is made by debootstrap and booted by systemd-nspawn, so this needs root, both programs,
and Debian's and Python's registries. It shares this machine's network: ports 80, 443, 5432, 6379
and 8080 must be free.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

from harness.config import ROOT
from harness.files import csv_of
from harness.polling import eventually
from harness.site import Response, Site, basic

HOST = "batches.test"
PASSWORD = "a password for the trial"
BASIC = basic("alice", PASSWORD)
# Programs that the trial needs, and the Debian packages that have them.
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
}
# Rows of the lists that are uploaded: some seconds of work.
ROWS = 1_500_000
APP, WORKER = "email-batch-app", "email-batch-worker@1"


def commands() -> str:
    """All that docs/deploy.md says to type, as one script."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/deploy.md").read_text(), re.M | re.S)
    return "set -ex\n" + "".join(blocks)


def lacking() -> str:
    """Return in a sentence what the trial needs and doesn't have; empty if it has all."""
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        return f"The trial needs more of the system. On Debian 12: apt install {' '.join(packages)}"
    return "" if os.geteuid() == 0 else "The trial boots a Debian, which only root can do."


def run(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)


class Machine:
    """A Debian that is booted in a folder."""

    def __init__(self, folder: Path, copied: list[Path]) -> None:
        self.root, bare = folder / "machine", folder / "bare"
        if not bare.exists():  # of an earlier trial
            unfinished = folder / "unfinished"
            packages = "systemd-sysv,dbus,ca-certificates"
            run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", unfinished)
            unfinished.rename(bare)
        run("rm", "-rf", self.root)
        run("cp", "-a", bare, self.root)
        for path in copied:
            copy: Any = shutil.copytree if path.is_dir() else shutil.copy
            target = self.root / path.relative_to("/")
            copy(path, target, **({"dirs_exist_ok": True} if path.is_dir() else {}))
        self._log = (folder / "boot.log").open("wb")
        self._process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory", self.root, "--boot", "--register=no",
             "--keep-unit", "--resolv-conf=copy-host", f"--bind-ro={ROOT}:/src"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        eventually(lambda: self._leader() is not None, 30, "systemd runs")
        booted = ("running", "degraded")
        eventually(
            lambda: self.says("systemctl", "is-system-running") in booted, 60, "it is booted"
        )

    def _leader(self) -> int | None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in there."""
        inside = ["nsenter", "--target", str(self._leader()), "--all", "--", "/usr/bin/env", "-i",
                  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                  "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]  # fmt: skip
        passed = [f"{key}={value}" for key, value in os.environ.items() if key == "PIP_CERT"]
        return subprocess.run([*inside, *passed, *command], text=True, check=False, **options)

    def says(self, *command: str) -> str:
        return self.run(*command, capture_output=True).stdout.strip()

    def shown(self, unit: str, what: str) -> str:
        """What systemd shows of a unit."""
        return self.says("systemctl", "show", "--value", f"--property={what}", unit)

    def pid(self, unit: str) -> int:
        """The unit's main process, as this machine numbers it."""
        inside = int(self.shown(unit, "MainPID"))
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                numbers = re.search(r"^NSpid:(.*)", status.read_text(), re.M)
                if numbers and numbers[1].split()[1:] == [str(inside)]:
                    return int(status.parent.name)
        raise RuntimeError(f"{unit} has no process")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)  # it shuts down in good order
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Page(Site):
    """The page behind HTTPS, as alice has it."""

    def __init__(self, authority: Path) -> None:
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.check_hostname = False  # it is reached by this machine's address

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection("127.0.0.1", timeout=60, context=self._context)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Response:
        names = {"Host": HOST, "Authorization": BASIC} | headers
        return super().request(method, path, body, **names)

    def upload_rows(self, rows: int) -> int:
        """Upload a list, and give the batch's id."""
        response = self.upload(csv_of(*(f"user{number}@example.com" for number in range(rows))))
        assert response.status == 201, response.body
        return int(response.json["batchId"])

    def batch(self, batch_id: int) -> Any:
        """The batch; empty while it isn't told."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            response = self.get(f"/api/batches/{batch_id}")
            if response.status == 200:
                return response.json
        return {"status": "", "processedCount": 0}

    def await_completed(self, batch_id: int) -> None:
        eventually(
            lambda: self.batch(batch_id)["status"] == "completed", 120, f"batch {batch_id} is done"
        )
        assert self.batch(batch_id)["processedCount"] == self.batch(batch_id)["totalEmails"]


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    sys.stdout.write(f"ok  {what} ({time.monotonic() - begun:.0f} s)\n")
    sys.stdout.flush()


def install(machine: Machine) -> None:
    """Do what the page says."""
    (machine.root / "root/deploy.sh").write_text(commands())
    with (machine.root / "root/deploy.log").open("w") as log:
        done = machine.run("env", "REPOSITORY=/src", f"HOST={HOST}", "bash", "/root/deploy.sh",
                           input=f"{PASSWORD}\n", stdout=log, stderr=log)  # fmt: skip
    last = (machine.root / "root/deploy.log").read_text()[-3000:]
    assert done.returncode == 0, last
    assert "none counted twice" in last, last


def harm(machine: Machine, page: Page) -> None:
    """Kill, hang and restart what was installed, in mid-batch."""
    with said("a worker that is killed is started anew, and the batch is completed"):
        batch_id = page.upload_rows(ROWS)
        eventually(lambda: page.batch(batch_id)["processedCount"], 60, "the batch is begun")
        os.kill(machine.pid(WORKER), signal.SIGKILL)
        page.await_completed(batch_id)
        assert machine.shown(WORKER, "NRestarts") == "1"
    with said("an app that hangs is started anew by systemd's watchdog"):
        os.kill(machine.pid(APP), signal.SIGSTOP)
        eventually(lambda: machine.shown(APP, "NRestarts") == "1", 90, "the watchdog has seen it")
        eventually(lambda: page.batch(batch_id)["status"] == "completed", 60, "the app is back")
    with said("app and worker are restarted one by one on a running batch"):
        batch_id = page.upload_rows(ROWS)
        machine.run("systemctl", "restart", WORKER)
        machine.run("systemctl", "restart", APP)
        page.await_completed(batch_id)
    with said("PostgreSQL and Redis are restarted on a running batch"):
        batch_id = page.upload_rows(ROWS)
        machine.run("systemctl", "restart", "postgresql@15-main", "redis-server")
        page.await_completed(batch_id)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/email-batch-trial"))
    parser.add_argument(
        "--copy",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder of this machine that it needs to reach the registries",
    )
    arguments = parser.parse_args()
    if sentence := lacking():
        sys.exit(sentence)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    machine = Machine(arguments.folder, arguments.copy)
    try:
        with said("docs/deploy.md is done to its end"):
            install(machine)
        page = Page(machine.root / "etc/ssl/email-batch.crt")
        with said("the page is there behind HTTPS, and nobody comes in without a password"):
            assert page.get("/").status == 200
            assert page.get("/", Authorization="").status == 401
            assert machine.shown(APP, "StatusText") == "serving http://127.0.0.1:8080/"
        harm(machine, page)
        with said("a backup is made by the service's user, and all is well"):
            command = ("email-batch", "manage.py", "backup", "/var/lib/email-batch/b.dump")
            done = machine.run(*command, capture_output=True)
            assert done.returncode == 0, done.stderr
    finally:
        machine.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
