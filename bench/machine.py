"""The machine and the versions of a measurement, so that figures can be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from harness.config import ROOT
from runtime import settings

if TYPE_CHECKING:
    from ground import Ground

# PostgreSQL's settings that matter for writing.
_POSTGRES = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
# The largest order of pages on most machines; a higher page_reporting_order turns reporting off.
_REPORTING = Path("/sys/module/page_reporting/parameters/page_reporting_order")
_LARGEST_ORDER = 10


def describe(folder: Path) -> dict[str, Any]:
    """Return the machine, and the file system of the folder with the servers' data."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryGB": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "filesystem": _filesystem(folder),
        "givesMemoryBack": gives_memory_back(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def versions(ground: Ground) -> dict[str, Any]:
    """Return the versions of the project, of Python and the servers, and of the pinned packages."""
    return {
        "project": settings.VERSION,
        "revision": _revision(),
        "python": platform.python_version(),
        "postgresql": ground.rows("SHOW server_version")[0][0],
        "postgresqlSettings": {name: ground.rows(f"SHOW {name}")[0][0] for name in _POSTGRES},
        "redis": ground.redis().info("server")["redis_version"],
        "packages": _packages(),
    }


def gives_memory_back() -> bool:
    """Return whether this is a virtual machine that gives free memory back to its host.

    It gets the memory back page by page, which takes time. The kernel calls this free page
    reporting, in blocks of 2^order pages.
    """
    try:
        order = int(_REPORTING.read_text())
    except (OSError, ValueError):
        return False
    return 0 <= order <= _LARGEST_ORDER


def _filesystem(folder: Path) -> str:
    """Return the type of the innermost mount that contains the folder."""
    best, kind = "", "unknown"
    for mount in psutil.disk_partitions(all=True):
        inside = str(folder.resolve()).startswith(mount.mountpoint.rstrip("/") + "/")
        if inside and len(mount.mountpoint) > len(best):
            best, kind = mount.mountpoint, mount.fstype
    return kind


def _revision() -> str | None:
    """Return the commit, with a + if files differ from it; None without git."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return None
    outputs = [
        subprocess.run(
            [git, "-C", str(ROOT), *command], capture_output=True, text=True, check=False
        ).stdout.strip()
        for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
    ]
    return outputs[0] + "+" * bool(outputs[1]) if outputs[0] else None


def _packages() -> dict[str, str]:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = {}
    for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
