"""Compare the product with PostgreSQL by itself: `python bench/run.py`.

All runs use bundled servers of their own in a temporary folder, which is removed afterwards.
The exit status is 0 if all was measured, even if targets are missed; 1 if a measurement failed or
a batch's counts were wrong; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The project's modules and the tests' harness; this folder stays first.
sys.path[1:1] = [str(ROOT), str(ROOT / "tests")]

import crowds
import domains
import fanout
import growth
import latency
import machine
import once
import reading
import scaling
import serving
import stored
import throughput
from ground import Ground, Interrupts
from report import Row, say, table

ROOMS = (
    throughput, domains, latency, fanout, reading, serving, crowds, stored, growth, scaling, once,
)  # fmt: skip
FIGURES = tuple(name for room in ROOMS for name in room.FIGURES)


@dataclass
class Bench:
    """The options of a run, and its measurements so far."""

    rows: int
    rounds: int
    wanted: set[str]
    # Million emails that are stored before the figures of stored.py are measured.
    stored: int
    table: list[Row] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    described: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Measure all wanted figures; a failure is noted, and the others are measured."""
        interrupts = Interrupts()
        rows, rounds, wanted = self.rows, self.rounds, self.wanted
        with Ground(interrupts) as ground:
            self.described = {
                "machine": machine.describe(ground.folder),
                "versions": self._versions(ground),
            }
            if chosen := wanted & {*throughput.FIGURES}:
                self._room("throughput", lambda: throughput.measure(ground, chosen, rows, rounds))
            for figure, measure in domains.MEASURES.items():
                if figure in wanted:
                    self._room(figure, partial(measure, ground, rows, rounds))
            if "small" in wanted:
                self._room("small", lambda: latency.measure_small(ground, rounds))
            if "small-behind" in wanted:
                self._room("small-behind", lambda: latency.measure_behind(ground, rows, rounds))
            if "small-processors" in wanted:
                measure_processors = partial(latency.measure_processors, ground, rows, rounds)
                self._room("small-processors", measure_processors)
            if "streams" in wanted:
                self._room("streams", lambda: fanout.measure(ground, rounds))
            if read := wanted & {*reading.FIGURES}:
                self._room("reading", lambda: reading.measure(ground, read, rows, rounds))
            if "requests" in wanted:
                self._room("requests", lambda: serving.measure(ground, rounds))
            if "crowd" in wanted:
                self._room("crowd", lambda: crowds.measure(ground, rounds))
            if of_stored := wanted & {*stored.FIGURES}:
                full = partial(stored.measure, ground, interrupts, of_stored, self.stored, rounds)
                self._room("stored", full)
            if "growth" in wanted:
                self._room("growth", lambda: growth.measure_growth(ground, rows, rounds))
                if machine.gives_memory_back():
                    self.sentences.append(
                        "This machine gives free memory back to its host (free page reporting), so"
                        " accepting the largest list, which writes the most files, takes longer."
                    )
            if "memory" in wanted:
                self._room("memory", lambda: growth.measure_memory(ground, rows))
        if wanted & {"processes", "once"}:
            with Ground(interrupts, scaling.POSTGRES_CONFIG) as ground:
                if "once" in wanted:
                    self._room("once", lambda: once.measure(ground, rounds))
                if "processes" in wanted:
                    self._room("processes", lambda: scaling.measure(ground, rows))

    def _versions(self, ground: Ground) -> dict[str, Any]:
        with ground.app():  # makes the tables
            return machine.versions(ground)

    def _room(self, name: str, measure: Callable[[], tuple[Any, ...]]) -> None:
        try:
            measured = measure()
        except Exception as error:
            traceback.print_exc()
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            return
        self.table += measured[0]
        self.details[name] = measured[1]
        for sentences in measured[2:]:
            self.sentences += sentences

    def as_json(self) -> dict[str, Any]:
        """Return all options and measurements."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": self.rows,
            "rounds": self.rounds,
            "storedMillions": self.stored,
            **self.described,
            "figures": [row.as_json() for row in self.table],
            "sentences": self.sentences,
            "failures": self.failures,
            "details": self.details,
        }

    def show(self) -> None:
        """Print the table and the sentences below it."""
        print(table(self.table))
        for sentence in self.sentences:
            print(sentence)
        short = sum(row.ok is False for row in self.table)
        judged = sum(row.ok is not None for row in self.table)
        print(f"{judged - short} of {judged} targets reached.")
        for failure in self.failures:
            print(f"NOT MEASURED: {failure}")


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text.replace("_", "").replace(",", ""))
        if value < least:
            raise argparse.ArgumentTypeError(f"must be {least} at least")
        return value

    return number


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description="Measure the product, and what PostgreSQL takes by itself, round by round."
    )
    parser.add_argument(
        "--rows", type=_at_least(1000), default=1_000_000, help="rows of a large list"
    )
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="rounds of each figure")
    parser.add_argument(
        "--stored", type=_at_least(1), default=1, metavar="N", help="million emails stored before"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all values are written")
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, metavar="NAME", help=f"of {', '.join(FIGURES)}"
    )
    arguments = parser.parse_args()
    wanted = {*(arguments.only or FIGURES)}
    bench = Bench(arguments.rows, arguments.rounds, wanted, arguments.stored)
    try:
        bench.run()
    except KeyboardInterrupt:
        say("interrupted; nothing is left behind")
        return 130
    bench.show()
    if arguments.json:
        text = json.dumps(bench.as_json(), indent=1, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    say("measured")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
