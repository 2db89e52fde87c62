"""How a module of ours is run in a child process, whatever its working directory is."""

from __future__ import annotations

import os
import sys

from runtime.paths import ROOT


def command(module: str) -> list[str]:
    """The words that run this module by its full name; its arguments follow."""
    # -P: nothing is imported from the working directory, which may hold anything.
    return [sys.executable, "-P", "-m", module]


def environment() -> dict[str, str]:
    """The environment in which the module is found."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
