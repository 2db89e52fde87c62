"""Numbers, times, actions and long texts as people read them.

static/js/lib/format.js has some of these for scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

# As browsers abbreviate them in British English.
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sept", "Oct", "Nov", "Dec"),
)


def count(number: int) -> str:
    """A whole number with commas between its thousands."""
    return f"{number:,}"


def several(number: int, name: str, plural: str = "") -> str:
    """A number with the name of what is counted: `1 email`, `1,200 emails`."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {plural or f'{name}s'}"


def percent(part: int, whole: int) -> int:
    """A part in percent, rounded down, so that 100 means all."""
    return 100 * part // whole


def proportion(part: int, whole: int) -> str:
    """A part in rounded percent: neither 0% for some nor 100% for most; 0% of nothing."""
    rounded = (200 * part + whole) // (2 * whole) if whole else 0
    if part and not rounded:
        return "<1%"
    return ">99%" if part < whole and rounded == 100 else f"{rounded}%"


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


def length(seconds: float) -> str:
    """A length of time in its largest units: 0.4 s, 12 s, 3 min 20 s, 1 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "under 0.1 s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def ending(
    status: str, processed: int, total: int, seconds: float | None, verb: str = "checked"
) -> str:
    """How a batch with this status came to its end; empty before its end.

    verb: the word for what is done to its emails.
    """
    if status == "completed":
        return f"{verb.capitalize()} in {length(seconds or 0)}"
    how = {"cancelled": "Cancelled", "failed": "Broke off"}.get(status)
    return f"{how} after {count(processed)} of {several(total, 'email')}" if how else ""


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


def ago(time: str, now: datetime) -> str:
    """An ISO 8601 time as seen from `now`: `just now`, `3 minutes ago`; after a week, its day."""
    then = datetime.fromisoformat(time)
    minutes = int((now - then).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{several(minutes, 'minute')} ago"
    hours = minutes // 60
    if hours < 24:
        return f"{several(hours, 'hour')} ago"
    days = hours // 24
    if days < 7:
        return "yesterday" if days == 1 else f"{days} days ago"
    return f"{then.day} {_MONTHS[then.month - 1]} {then.year}"


def pace(done: int, total: int, per_second: float | None, left: float | None) -> str:
    """How far a batch is, without what is unknown: `42% · 1,200/s · 0:12 left`."""
    parts = [f"{percent(done, total)}%"]
    if per_second is not None:
        parts.append(rate(per_second))
    if left is not None:
        parts.append(f"{clock(left)} left")
    return " · ".join(parts)


def waiting(number: int, time: str | None) -> str:
    """The emails that wait for their next round, and its ISO 8601 time; empty without any.

    With seconds, because most waits are shorter than a minute.
    """
    if not number or time is None:
        return ""
    verb = "has" if number == 1 else "have"
    return f"{several(number, 'email')} {verb} no answer yet; the next try is at {time[11:19]} UTC"


def paused(pause: Mapping[str, str | None] | None) -> str:
    """Who paused a batch, or why, and until when, in sentences; empty if it isn't paused."""
    if pause is None:
        return ""
    until = f" until {moment(pause['until'])}" if pause["until"] else ""
    said = f"Paused{by(pause['by'])}{until}"
    why = pause["why"]
    if not why:
        return f"{said}."
    end = "" if why.endswith((".", "!", "?", "…")) else "."
    return f"{said}: {why}{end} Anybody can resume it."


def limit(number: int | None) -> str:
    """A rate beside the progress that it limits: `At most 600 a minute`; empty for no limit."""
    return "" if number is None else f"At most {count(number)} a minute"


def per_minute(number: int | None) -> str:
    """A batch's rate: `at most 600 emails a minute`; None for no limit."""
    return "no limit" if number is None else f"at most {several(number, 'email')} a minute"


def by(name: str | None) -> str:
    """The person behind an action, as in ` by alice`; empty if unknown."""
    return f" by {name}" if name else ""


def done(
    action: str,
    user: str | None,
    which: str | None,
    emails: int | None,
    why: str | None = None,
    verb: str = "checked",
) -> str:
    """An action on a batch: `Checked again by alice: 2 emails (invalid)`, `Cancelled by bob`.

    verb: the word for what is done to the batch's emails.
    """
    name = {"retried": f"{verb} again", "rate": "rate set"}.get(action, action)
    what = name.capitalize() + by(user)
    if action == "rate":
        return f"{what}: {per_minute(None if which == 'none' else int(which or 0))}"
    if why:
        return f"{what} by the processor: {why.removesuffix('.')}"
    if emails is None:
        return what
    kind = "invalid" if which == "failed" else (which or "").replace("_", " ")
    return f"{what}: {several(emails, 'email')} ({kind})"


def further_addresses(rows: int) -> str:
    """The rows that have addresses in columns which nobody looks at."""
    have = "has" if rows == 1 else "have"
    return f"{several(rows, 'row')} {have} further addresses in other columns"


def shown(rows: int, matching: int | None) -> str:
    """How many of the matching rows are shown; empty if there are none."""
    if not rows:
        return ""
    all_of_them = "shown" if matching is None else f"of {count(max(rows, matching))}"
    return f"{count(rows)} {all_of_them}"


def checked_again(emails: int, ended: bool, verb: str = "checked") -> str:
    """Emails of a retry, while they are processed or after the end.

    verb: the word for what is done to them.
    """
    one, more = ("was", "were") if ended else ("is", "are")
    return f"{several(emails, 'email')} {one if emails == 1 else more} {verb} again."


def value(chosen: object) -> str:
    """The value of an option: yes or no for a truth."""
    return ("yes" if chosen else "no") if isinstance(chosen, bool) else str(chosen)


def options(chosen: Mapping[str, object]) -> str:
    """The chosen values of options: `mode: add, dry run: no`."""
    return ", ".join(f"{name.replace('_', ' ')}: {value(each)}" for name, each in chosen.items())


def columns(names: Sequence[str]) -> str:
    """The columns whose cells a processor gets: `with the columns “Name”, “City”`."""
    if not names:
        return ""
    return "with all columns" if "*" in names else f"with the {_named_columns(names)}"


def takes(names: Sequence[str]) -> str:
    """The columns whose cells a processor gets of each list that has them, in a sentence."""
    if "*" in names:
        return "It gets all columns."
    them = "it" if len(names) == 1 else "them"
    return f"It gets the {_named_columns(names)} of a list that has {them}."


def lacking(names: Sequence[str], processor: str) -> str:
    """The columns that a list lacks, and its processor takes, in a sentence."""
    return f"This list has no {_named_columns(names)}, which {processor} takes." if names else ""


def _named_columns(names: Sequence[str]) -> str:
    """These columns: `column “Name”`, or `columns “Name”, “City”`."""
    noun = "column" if len(names) == 1 else "columns"
    return f"{noun} {', '.join(f'“{name}”' for name in names)}"


def interrupted(emails: int) -> str:
    """What a person is told who would have the work for interrupted emails done again."""
    work = f"The work for {several(emails, 'email')} may have been done; nobody can tell."
    return f"{work} If it was, it is done twice."


def as_csv(names: Sequence[str]) -> str:
    """Names of columns as a line of CSV.

    A space stands for any white space, because a browser drops a line end in a control's value.
    """
    special = re.compile('[",]')
    spaced = (" ".join(name.split()) for name in names)
    return ", ".join(
        '"' + name.replace('"', '""') + '"' if special.search(name) else name for name in spaced
    )


# The most answers of an email that are shown at once, and the most characters of a value there.
FEW, FEW_CHARACTERS = 3, 60


Answers = list[tuple[str, str]]


def few_answers(answers: Mapping[str, str]) -> tuple[Answers, Answers]:
    """The first FEW answers, shortened, and those that they don't show in full."""
    pairs = list(answers.items())
    few = [(name, shorten(text, FEW_CHARACTERS)) for name, text in pairs[:FEW]]
    return few, [pair for pair in pairs if pair not in few]


def shorten(text: str, length: int) -> str:
    """The text, cut to `length` characters with an ellipsis as the last."""
    return text if len(text) <= length else text[: length - 1] + "…"


def message_of(error: BaseException) -> str:
    """Return an error's message; a sentence if the error, of a team's own code, can't tell it."""
    try:
        return str(error)
    except Exception:
        return "its message can't be read"
