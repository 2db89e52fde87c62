"""The system packages that the tests need. As a script, run by root on Debian, installs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness import chromium

# Programs, and the Debian packages that have them.
PROGRAMS = {
    "WebKitWebDriver": "webkit2gtk-driver",
    "Xvfb": "xvfb",
    "firefox-esr": "firefox-esr",
    "nginx": "nginx",
    "soffice": "libreoffice-calc-nogui",
    "systemd-analyze": "systemd",
    "/usr/sbin/nsd": "nsd",
    "/usr/sbin/unbound": "unbound",
    "/usr/sbin/pgbouncer": "pgbouncer",
    "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",
}
# The package for a Chromium, if there is none of any kind.
BROWSER = "chromium-headless-shell"
# Keeps packages from starting their services: the tests start their own.
_NO_SERVICES = "#!/bin/sh\nexit 101\n"
_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


def missing() -> list[str]:
    """Return the packages that are missing."""
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    return packages if chromium.executable() else [*packages, BROWSER]


def _install(apt_get: str, packages: list[str]) -> None:
    print(f"installing for the tests: {' '.join(packages)}", flush=True)  # noqa: T201
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if not _NO_CLUSTER.exists():
        _NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        _NO_CLUSTER.write_text("create_main_cluster = false\n")
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(_NO_SERVICES)
        _POLICY.chmod(0o755)
    try:
        subprocess.run([apt_get, "update", "-qq"], check=False, **quiet)
        install = [apt_get, "install", "-y", "-qq", "--no-install-recommends"]
        subprocess.run([*install, *packages], check=False, **quiet)
    finally:
        if ours:
            _POLICY.unlink()


def main() -> int:
    packages, apt_get = missing(), shutil.which("apt-get")
    if packages and apt_get and os.geteuid() == 0:
        _install(apt_get, packages)
    if BROWSER in missing():
        # Playwright's own, which not every network lets through.
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    packages = missing()
    if packages:
        said = " ".join(packages)
        sys.stderr.write(f"The tests need more of the system. On Debian 12: apt install {said}\n")
    return 1 if packages else 0


if __name__ == "__main__":
    sys.exit(main())
