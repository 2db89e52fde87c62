"""Numbers, times, actions and long texts as people read them.

static/js/lib/format.js has some of these for scripts.
"""

from __future__ import annotations


def count(number: int) -> str:
    """A whole number with commas between its thousands."""
    return f"{number:,}"


def several(number: int, name: str, plural: str = "") -> str:
    """A number with the name of what is counted: `1 email`, `1,200 emails`."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {plural or f'{name}s'}"


def percent(part: int, whole: int) -> int:
    """A part in percent, rounded down, so that 100 means all."""
    return 100 * part // whole


def rate(per_second: float | None) -> str:
    """Emails per second; a dash if unknown."""
    return "–" if per_second is None else f"{int(per_second):,}/s"


def clock(seconds: float | None) -> str:
    """A length of time as on a clock: 0:07, 12:30, 1:02:03; a dash if unknown."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A length of time in its largest unit, rounded down: 59 s, 47 h, 2 days."""
    for unit, size, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400):,} days"


def share(part: int, whole: int) -> float:
    """The width of a part in a bar that is 1,000 wide."""
    return round(1000 * part / whole, 2) if whole else 0.0


def moment(time: str) -> str:
    """The date and time of day of an ISO 8601 time in UTC."""
    return f"{time[:16].replace('T', ' ')} UTC"


def by(name: str | None) -> str:
    """The person behind an action, as in ` by alice`; empty if unknown."""
    return f" by {name}" if name else ""


def done(action: str, user: str | None, which: str | None, emails: int | None) -> str:
    """An action on a batch: `Retried by alice: 2 emails (failed)`, `Cancelled by bob`."""
    what = action.capitalize() + by(user)
    if emails is None:
        return what
    return f"{what}: {several(emails, 'email')} ({(which or '').replace('_', ' ')})"


def further_addresses(rows: int) -> str:
    """The rows that have addresses in columns which nobody looks at."""
    have = "has" if rows == 1 else "have"
    return f"{several(rows, 'row')} {have} further addresses in other columns"


def shorten(text: str, length: int) -> str:
    """The text, cut to `length` characters with an ellipsis as the last."""
    return text if len(text) <= length else text[: length - 1] + "…"
