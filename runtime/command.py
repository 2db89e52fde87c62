"""The start of every command: read its arguments and settings, and prepare to stop on signals."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import NoReturn

from runtime import settings
from runtime.settings import DEFAULT_PATH, VERSION, Settings, SettingsError


def keep_imports() -> None:
    """Spare what has been imported from Python's searches for garbage.

    It stays until the process ends. At the end, Python would look at all of it once more, which
    takes a quarter as long as the imports.
    """
    gc.freeze()


def argument_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all commands have."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help=f"the configuration (default: {DEFAULT_PATH})"
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def load_or_exit(
    arguments: argparse.Namespace, overrides: Mapping[tuple[str, str], str | None] | None = None
) -> Settings:
    """Load the settings as settings.load() does, but end the process if they are wrong."""
    try:
        return settings.load(arguments.config, overrides)
    except SettingsError as error:
        exit_with(str(error))


def exit_with(message: str) -> NoReturn:
    """Print one sentence to standard error and end with status 2, the status of wrong usage."""
    sys.stderr.write(f"{message}\n")
    sys.exit(2)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or Ctrl-C sets; a second signal ends the process at once."""
    stopping = threading.Event()
    # The handler may interrupt the main thread while that waits for the event and holds its lock,
    # so another thread sets the event. A queue's put() may be interrupted by itself.
    arrived: SimpleQueue[int] = SimpleQueue()
    stopped = False

    def stop(signum: int, _frame: object) -> None:
        nonlocal stopped
        if stopped:
            os._exit(128 + signum)
        stopped = True
        arrived.put(signum)

    def wait() -> None:
        arrived.get()
        stopping.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
