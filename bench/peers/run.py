"""Compare the product with job queues that check each address as a job and update its row.

Each contender runs on the same bundled PostgreSQL and Redis, one after the other, round by round.
A peer's jobs are enqueued before its workers start; the time is measured from the first row
updated to the last. The product's batch is stored before its worker starts; the time is measured
from the batch's start to its completion.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import signal
import statistics
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# The project's modules, the tests' harness, and the other benchmarks.
sys.path[1:1] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

import machine
from addresses import addresses
from arena import Arena, ContenderError, say
from measuring import peer_rate, product_rate

from processors.check import check_one

PEERS = ("rq", "huey", "dramatiq", "celery")
PRODUCT = "product"
PRODUCT_SETTING = "worker.py --threads 4, [check] dns = off"
# The target: the product is so many times as fast as the best peer.
GOAL = 150
# Fewer emails would be processed before the measurement begins.
LEAST_EMAILS = 500


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="run.py",
        description=__doc__.split("\n", 1)[0],
        epilog="Needs requirements/peers.txt. Exit status: 0 if all was measured, whatever came"
        " of it, 1 if a contender failed, 2 for wrong options, 130 after Ctrl-C.",
    )

    def number(text: str) -> int:
        value = int(text)
        if value < 0:
            raise ValueError
        return value

    def add(name: str, default: int, about: str) -> None:
        about = f"{about} (default: {default:,})"
        result.add_argument(name, type=number, default=default, metavar="N", help=about)

    add("--emails", 20_000, f"emails for each peer, {LEAST_EMAILS} at least")
    add("--product-emails", 1_000_000, "emails for the product; 0 leaves it out")
    add("--rounds", 3, "times that each is measured, in turn")
    result.add_argument("--only", nargs="+", choices=PEERS, default=PEERS, help="these peers only")
    result.add_argument("--json", type=Path, metavar="FILE", help="where the result is written")
    return result


def measure(arena: Arena, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the rates of each contender, round by round. Raises ContenderError."""
    say("checking what is to come out")
    emails = addresses(max(options.emails, options.product_emails))
    outcomes = [check_one(email) for email in emails]
    contenders = [PRODUCT] * bool(options.product_emails) + list(options.only)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(1, options.rounds + 1):
        for name in contenders:
            say(f"round {turn} of {options.rounds}: {name}")
            count = options.product_emails if name == PRODUCT else options.emails
            given = arena, emails[:count], outcomes[:count]
            try:
                rate = product_rate(*given) if name == PRODUCT else peer_rate(name, *given)
            except ContenderError as error:
                raise ContenderError(f"{name}: {error}") from error
            rates[name].append(rate)
            say(f"  {rate:,.0f} emails/s")
    return rates


def summary(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return the median, least and most emails/s of each contender, and the product's factor."""
    result: dict[str, Any] = {"contenders": {}, "goal": GOAL}
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, each in rates.items():
        found = {"median": medians[name], "min": min(each), "max": max(each), "rounds": each}
        if PRODUCT in rates and name != PRODUCT:
            found["product_times"] = medians[PRODUCT] / medians[name]
        result["contenders"][name] = {key: _rounded(value) for key, value in found.items()}
    best = max((name for name in rates if name != PRODUCT), key=lambda name: medians[name])
    result["best_peer"] = best
    if PRODUCT in rates:
        result["product_times_best_peer"] = _rounded(medians[PRODUCT] / medians[best])
        result["goal_reached"] = medians[PRODUCT] / medians[best] >= GOAL
    return result


def _rounded(value: Any) -> Any:
    return [round(each, 1) for each in value] if isinstance(value, list) else round(value, 1)


def table(result: dict[str, Any]) -> str:
    """Return the result as a table."""
    lines = [f"{'':10} {'emails/s':>10} {'min–max':>19} {'product ÷ peer':>15}"]
    for name, found in result["contenders"].items():
        span = f"{found['min']:,.0f}–{found['max']:,.0f}"
        times = f"{found['product_times']:,.0f} ×" if "product_times" in found else ""
        lines.append(f"{name:10} {found['median']:10,.0f} {span:>19} {times:>15}".rstrip())
    if "goal_reached" in result:
        verdict = "reached" if result["goal_reached"] else "not reached"
        lines.append(
            f"product ÷ best peer ({result['best_peer']}):"
            f" {result['product_times_best_peer']:,.0f} ×; the goal of {GOAL} × is {verdict}"
        )
    return "\n".join(lines)


def surroundings(arena: Arena, options: argparse.Namespace) -> dict[str, Any]:
    """Return the sizes, settings, versions and machine on which the figures depend."""
    settings = {PRODUCT: PRODUCT_SETTING}
    settings |= {name: importlib.import_module(f"peer_{name}").SETTING for name in options.only}
    packages = (*options.only, "psycopg2-binary", "redis")
    return {
        "emails": options.emails,
        "product_emails": options.product_emails,
        "settings": settings,
        "versions": {
            "Python": platform.python_version(),
            **arena.versions(),
            **{name: metadata.version(name) for name in packages},
        },
        "machine": machine.describe(arena.folder),
    }


def main() -> int:
    """Run the command."""
    options = parser().parse_args()
    if options.emails < LEAST_EMAILS or options.rounds < 1:
        parser().error(f"--emails must be {LEAST_EMAILS} at least, and --rounds 1")
    missing = [name for name in options.only if find_spec(name) is None]
    if missing:
        parser().error(f"{', '.join(missing)} not installed; see requirements/peers.txt")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arena = Arena()
        try:
            around = surroundings(arena, options)
            result = {**summary(measure(arena, options)), **around}
        finally:
            arena.close()
    except ContenderError as error:
        say(f"Not measured: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
