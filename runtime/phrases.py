"""Numbers and times as people read them. The same words are in static/js/format.js."""

from __future__ import annotations

from typing import Any


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def several(number: int, name: str, plural: str = "") -> str:
    """A number of things."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {plural or f'{name}s'}"


def percent(part: int, whole: int) -> int:
    """Rounded down, so that 100 means all."""
    return 100 * part // whole


def rate(per_second: float | None) -> str:
    """Emails per second; a dash for what isn't known."""
    return "–" if per_second is None else f"{int(per_second):,}/s"


def clock(seconds: float | None) -> str:
    """A length of time as a clock shows it: 0:07, 12:30, 1:02:03; a dash for what isn't known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A length of time as people say it, rounded down."""
    for unit, size, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400):,} days"


def share(part: int, whole: int) -> float:
    """How wide a part of a bar is that is 1,000 wide."""
    return round(1000 * part / whole, 2) if whole else 0.0


def moment(time: str) -> str:
    """A date and time of day, of a time as the API tells it."""
    return f"{time[:16].replace('T', ' ')} UTC"


def by(name: str | None) -> str:
    """Who did something, where that is known."""
    return f" by {name}" if name else ""


def done(action: dict[str, Any]) -> str:
    """What somebody did to a batch, as the API tells it, but for the time."""
    what = str(action["action"]).capitalize() + by(action["by"])
    if action["emails"] is None:
        return what
    return f"{what}: {several(action['emails'], 'email')} ({action['which'].replace('_', ' ')})"
