"""Child processes that run a module of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from runtime.paths import ROOT


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a module by its full name, in any working directory; `options` are those of Popen."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        # -P: import nothing from the working directory, which may hold anything.
        [sys.executable, "-P", "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        **options,
    )
