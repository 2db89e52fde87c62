"""The options of a torture run."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from torture.stage import WORKER_THREADS

# How many emails are uploaded at least, by default, in work of each kind: without "once", it may be
# repeated; with it, it must not be, and takes a commit for each email.
EMAILS = {"repeatable": 100_000, "once": 20_000}
# The families of harm that have a goal, and the option for each.
KILLS = {
    "worker": "worker_kills",
    "redis": "redis_kills",
    "postgres": "postgres_kills",
    "app": "app_kills",
}
GOALS = {**KILLS, "stop": "worker_stops"}


def _number(kind: type, least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value: float = kind(text)
        if not least <= value < 1e12:
            raise ValueError
        return value

    parse.__name__ = f"number from {least} up"  # what argparse calls it in its message
    return parse


def parser(about: str) -> argparse.ArgumentParser:
    """Return the parser of the command line; `about` says what the command does."""
    result = argparse.ArgumentParser(
        prog="tests/torture/run.py",
        description=about,
        epilog="The run ends when the seconds have passed and all goals are reached. Exit status:"
        " 0 if nothing was lost or doubled and nothing else is wrong, 1 if so, 2 for wrong"
        " options, 130 after Ctrl-C. A big run: --seconds 400 --emails 1000000 --worker-kills 200"
        " --redis-kills 20 --postgres-kills 20 --app-kills 20",
    )

    def add(name: str, kind: type, least: float, default: float | None, about: str) -> None:
        shown = "" if default is None else f" (default: {default})"
        result.add_argument(
            name, type=_number(kind, least), default=default, metavar="N", help=about + shown
        )

    result.add_argument(
        "--work",
        choices=list(EMAILS),
        default="repeatable",
        help="what the processor does: work that may be repeated (the default), or that must be"
        " done once",
    )
    add("--seconds", float, 1, 60, "do harm for so long at least")
    emails = ", ".join(f"{number:,} if {work}" for work, number in EMAILS.items())
    add("--emails", int, 1, None, f"upload so many emails at least (default: {emails})")
    add("--workers", int, 1, 3, f"processes of worker.py, with {WORKER_THREADS} threads each")
    add("--worker-kills", int, 0, 30, "least number of workers killed")
    add("--worker-stops", int, 0, 6, "least number of workers stopped for a while")
    add("--redis-kills", int, 0, 3, "least number of times that Redis is killed or flushed")
    add("--postgres-kills", int, 0, 3, "least number of times that PostgreSQL is killed")
    add("--app-kills", int, 0, 3, "least number of times that the app is killed")
    add("--seed", int, 0, None, "for the same harm and the same uploads as in another run")
    result.add_argument("--keep-logs", action="store_true", help="also when all went well")
    return result
