"""The worker process: `python worker.py --threads 4`.

A supervisor runs several threads; each dequeues batch ids and takes turns on the batches.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
import threading

from postgres.database import UNREACHABLE
from postgres.schema import SchemaError
from runtime import command, descriptors, logs, memory
from runtime.command import exit_with, load_or_exit
from runtime.entries import ProcessorEntry
from runtime.settings import Settings
from servers import connect
from servers.confinement import BundledServerError
from work import loaded
from work.loaded import Broken, Loaded
from work.supervisor import Supervisor, ended_if_frozen
from work.turns import Services

# Objects, made and not freed yet, between two looks for unreachable cycles, instead of 700. These
# looks go over all domains under way, and took an eighth of the time with DNS lookups.
_ALLOCATIONS = 20_000


def _selftest(settings: Settings) -> int:
    # Imported only here: the selftest uploads too, and a worker needs none of that code.
    from admin import selftest
    from admin.selftest import SelftestError

    # Each line appears at once, even if the output goes to a file.
    say = functools.partial(print, flush=True)
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()  # an exception that is raised while a finalizer runs gets lost
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        passed = selftest.run(settings, say)
        if interrupted.is_set():
            return 130
        return 0 if passed else 1
    except (BundledServerError, SelftestError, *UNREACHABLE) as error:
        say(f"The selftest could not be carried out: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _allow_descriptors(settings: Settings) -> None:
    """Raise the limit of file descriptors to what is needed, or end with what to do."""
    threads = settings.worker.threads
    needed = (
        descriptors.OWN
        + descriptors.CONNECTION * settings.worker.connections
        + descriptors.THREAD * threads
        + descriptors.LOOKUPS
    )
    limit = descriptors.allow(needed)
    if limit < needed:
        exit_with(str(descriptors.too_few(f"[worker] threads = {threads}", needed, limit)))


def _wanted(settings: Settings, names: str | None) -> list[ProcessorEntry]:
    """Return the processors of these names, separated by commas; all of config.ini without any."""
    if names is None:
        return list(settings.processors)
    wanted = [name.strip() for name in names.split(",")]
    offered = [each.name for each in settings.processors]
    for name in wanted:
        if name not in offered:
            there = f"{settings.path} has {', '.join(offered)}"
            exit_with(f"--processors {names}: there is no processor {name!r}; {there}.")
    return [each for each in settings.processors if each.name in wanted]


def _load(settings: Settings, wanted: list[ProcessorEntry]) -> tuple[list[Loaded], list[Broken]]:
    """Load the processors, or end with why none of them can be loaded."""
    found = loaded.load(settings, wanted)
    broken = [each for each in found if isinstance(each, Broken)]
    if len(broken) == len(found):
        single = len(settings.processors) == 1
        why = [
            f"{'[worker] processor' if single else f'[processors] {each.entry.name}'}: {each.error}"
            for each in broken
        ]
        exit_with(f"{settings.path}: {'; '.join(why)}.")
    return [each for each in found if isinstance(each, Loaded)], broken


def main() -> int:
    """The command. Exit status 0 after a clean stop, 1 after another, 2 for wrong settings."""
    parser = command.argument_parser(
        "Process the uploaded batches, with several threads. Any number of workers may run, on"
        " any number of machines, against the same PostgreSQL and Redis.",
        "Stop it with Ctrl-C or SIGTERM: each thread ends its turn (about a second) first. A\n"
        "second signal ends it at once. Nothing is lost or counted twice either way, nor by\n"
        "kill -9: an unfinished turn is undone and repeated by another thread or worker.",
    )
    parser.add_argument("--threads", metavar="N", help="threads, instead of [worker] threads")
    parser.add_argument(
        "--processors",
        metavar="NAMES",
        help="do only what these processors of config.ini are for: crm,check",
    )
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="upload 10,000 generated rows, kill a worker half-way, and see whether each row"
        " comes out once; touches nothing else on the configured servers",
    )
    arguments = parser.parse_args()
    settings = load_or_exit(arguments, {("worker", "threads"): arguments.threads})
    if arguments.selftest:
        return _selftest(settings)
    logs.setup()
    wanted = _wanted(settings, arguments.processors)
    memory.keep_small()
    # Before the processors are loaded, which may take long.
    stopping = command.stop_on_signals()
    able, broken = _load(settings, wanted)
    _allow_descriptors(settings)
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    try:
        with connect.servers(
            settings, stopping, name="worker", connections=settings.worker.connections
        ) as doorbell:
            supervisor = Supervisor(Services(settings, doorbell, able), stopping, broken)
            with ended_if_frozen(settings.worker.turn_timeout_seconds) as not_frozen:
                clean = supervisor.run(not_frozen)
    except (BundledServerError, SchemaError) as error:
        exit_with(f"{error}.")
    if supervisor.worn_out and not stopping.is_set():
        os.execv(sys.executable, sys.orig_argv)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
