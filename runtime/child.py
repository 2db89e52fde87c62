"""Child processes that run a module of this project."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

_THIS = Path(__file__).resolve()


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a module by its full name, in any working directory; `options` are those of Popen."""
    # -P: import nothing from runtime/, which is this script's folder. The child adds the project's
    # folder to its own path: PYTHONPATH would go on to what a team's processor starts, and can't
    # have a folder with a colon in its name.
    return subprocess.Popen([sys.executable, "-P", str(_THIS), module, *arguments], **options)


if __name__ == "__main__":
    del sys.argv[0]
    sys.path.insert(0, str(_THIS.parent.parent))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
