"""The table of a torture run."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

import psutil

from torture.havoc import HARM
from torture.options import KILLS
from torture.pace import SECONDS, Pace

if TYPE_CHECKING:
    from torture.run import Run

Rows = list[tuple[str, str, str]]


def say(text: str, *, passing: bool = False) -> None:
    """Print a line; on a terminal the next takes the place of a passing one."""
    if sys.stdout.isatty():
        end = "" if passing else "\n"
        sys.stdout.write(f"\r\033[K{text}{end}")
    else:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(run: Run) -> str:
    """Return the table, and every fault."""
    all_faults = (run.faults, run.verdict.faults, run.second.faults)
    faults = [f"FAULT {each}" for kind in all_faults for each in kind.sentences]
    if not run.seconds:
        return "\n".join(["No harm was done.", *faults])
    rows = [*_harm(run), *_emails(run), *_calls(run), *_recovery(run), *_means(run)]
    rows.append(("faults", "", str(sum(kind.count for kind in all_faults))))
    return "\n".join([f"{group:<14} {name:<30} {value}" for group, name, value in rows] + faults)


def _harm(run: Run) -> Rows:
    rows = [("harm", "", "times")]
    rows += [("", harm.name, str(run.havoc.events[harm.name])) for harm in HARM]
    rows += [("kills", family, str(run.havoc.kills[family])) for family in KILLS]
    rows.append(("stops", "", str(run.havoc.kills["stop"])))
    rows += [("asked for", answer, str(n)) for answer, n in sorted(run.people.answers.items())]
    rows += [("uploads", answer, str(n)) for answer, n in sorted(run.ledger.answers.items())]
    return [*rows, ("", "unanswered but stored", str(run.verdict.unknown_stored))]


def _emails(run: Run) -> Rows:
    names = ("batches", "emails", "processed", "cancelled", "failed", "lost", "doubled")
    rows = [(name, "", f"{getattr(run.verdict, name):,}") for name in names]
    return [*rows, ("turns redone", "", f"{run.verdict.redone:,}")]


def _calls(run: Run) -> Rows:
    """What became of work that must not be repeated."""
    if run.recording is None:
        return []
    verdict, second = run.verdict, run.second
    rated = max(run.paces, key=lambda pace: pace.calls / pace.most, default=Pace(0, 0, 0))
    return [
        ("calls", "", f"{len(run.recording.keys):,}"),
        ("repeated keys", "", f"{verdict.repeated + second.repeated:,}"),
        ("miscalled", "", f"{verdict.miscalled + second.miscalled:,}"),
        ("interrupted", "", f"{len(verdict.interrupted):,}"),
        ("", "at most", f"{run.most_interrupted:,}"),
        ("", "by a Stop besides", f"{len(verdict.stopped):,}"),
        ("", "handed out again", f"{run.handed_out_again:,}"),
        ("", "handed out at once", str(run.window)),
        ("batches", "with a rate", str(len(run.paces))),
        ("", f"most calls in {SECONDS:g} s", f"{rated.calls} of at most {rated.most}"),
    ]


def _recovery(run: Run) -> Rows:
    rows = []
    for family in KILLS:
        seconds = run.recoveries.seconds[family] or [0.0]
        figures = f"median {statistics.median(seconds):.2f}, max {max(seconds):.2f}"
        count = len(run.recoveries.seconds[family])
        rows.append(("recovery in s", family, f"{figures}, count {count}"))
    return rows


def _means(run: Run) -> Rows:
    rows = [("messages heard", "", f"{run.listening.messages:,}")]
    for kind, megabytes in run.stage.peak_megabytes().items():
        rows.append(("peak memory", kind, f"{megabytes} MB"))
    own = psutil.Process().memory_info().rss // 1_000_000
    rows.append(("", "this harness", f"{own} MB"))
    rows.append(("seconds", "", f"{run.seconds:.0f}"))
    return [*rows, ("seed", "", str(run.options.seed))]
