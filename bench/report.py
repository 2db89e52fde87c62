"""The figures: values of product and floor, targets, and the table."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_began = time.monotonic()


@dataclass
class Row:
    """One line of the table. All values of `product` and `floor` are in `unit`.

    The target is compared with the median of the ratios product : floor, round by round, or of the
    product's values if there is no floor. `relation` is "<=", ">=", or "+-" for a ratio that may
    be this much off 1. A row without a target is for information. With `worst`, the largest value
    counts, not the median.
    """

    figure: str
    label: str
    unit: str
    product: list[float]
    floor: list[float] = field(default_factory=list)
    relation: str = "<="
    target: float | None = None
    worst: bool = False

    @property
    def ratios(self) -> list[float]:
        if not self.floor:
            return []
        floors = self.floor
        if len(floors) != len(self.product):
            floors = [statistics.median(floors)] * len(self.product)
        return [mine / floor for mine, floor in zip(self.product, floors, strict=True)]

    @property
    def value(self) -> float:
        """The value that is compared with the target."""
        values = self.ratios or self.product
        return max(values) if self.worst else statistics.median(values)

    @property
    def ok(self) -> bool | None:
        """True if the target is reached; None without a target."""
        if self.target is None:
            return None
        if self.relation == "+-":
            return abs(self.value - 1) <= self.target
        return self.value <= self.target if self.relation == "<=" else self.value >= self.target

    def as_json(self) -> dict[str, Any]:
        """Return values, medians, spread, and whether the target is reached."""
        return {
            "figure": self.figure,
            "label": self.label,
            "unit": self.unit,
            "product": _with_spread(self.product),
            "floor": _with_spread(self.floor),
            "ratio": _with_spread(self.ratios),
            "relation": self.relation,
            "target": self.target,
            "ok": self.ok,
        }

    def cells(self) -> list[str]:
        """Return the cells of the table's columns."""
        product = max(self.product) if self.worst else statistics.median(self.product)
        return [
            self.label,
            written(statistics.median(self.floor), self.unit) if self.floor else "–",
            written(product, self.unit),
            self._spread(),
            self._to_reach(),
            {True: "ok", False: "SHORT", None: ""}[self.ok],
        ]

    def _spread(self) -> str:
        ratios = self.ratios
        if ratios:
            text = f"{statistics.median(ratios):.2f} ×"
            several = f" ({min(ratios):.2f}–{max(ratios):.2f})"
            return text + (several if len(ratios) > 1 else "")
        if len(self.product) > 1:
            low, high = (
                written(each, self.unit) for each in (min(self.product), max(self.product))
            )
            return f"({low} – {high})"
        return "–"

    def _to_reach(self) -> str:
        if self.target is None:
            return "–"
        if self.relation == "+-":
            return f"± {self.target:.0%} of it"
        sign = {"<=": "≤", ">=": "≥"}[self.relation]
        return f"{sign} " + (
            f"{self.target:g} ×" if self.floor else written(self.target, self.unit)
        )


def _with_spread(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"values": []}
    return {
        "values": [round(value, 6) for value in values],
        "median": round(statistics.median(values), 6),
        "min": round(min(values), 6),
        "max": round(max(values), 6),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the percentile of the values (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def written(value: float, unit: str) -> str:
    """Return the value with three significant digits, and its unit."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    # In a large number, the digits after the third are noise.
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{digits}f} {unit}"


def table(rows: Sequence[Row]) -> str:
    """Return the table of all rows."""
    head = ["figure", "floor", "product", "ratio or spread", "to reach", ""]
    lines = [head, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    # Words are aligned to the left, numbers to the right.
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in (1, 2) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def say(text: str) -> None:
    """Write to standard error, with the time, what is being measured."""
    seconds = time.monotonic() - _began
    sys.stderr.write(f"[{seconds // 60:3.0f}:{seconds % 60:02.0f}] {text}\n")
    sys.stderr.flush()
