"""What a processor may say of an email: an Outcome, or that it is to be asked again Later.

It may also raise Stop: nothing will work for now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from processors import reasons
from runtime.phrases import shorten


class Outcome(NamedTuple):
    """The result for one email.

    `status` is `processed` or `failed`.
    `reason` is a code such as `no_at_sign`: 1 to 40 characters of a-z, 0-9 and _.
    A failed email must have a reason. A processed email with a reason is risky or unknown.
    `answers` has what else is to be told of the email, by name; None for nothing. They are
    MAX_ANSWERS at most. A name has 1 to MAX_NAME printable characters; a value is a text of
    MAX_ANSWER characters at most, or a number, or a bool.
    """

    status: str
    reason: str | None = None
    answers: Mapping[str, Any] | None = None


class Later(NamedTuple):
    """Says that an email stays pending, to be processed again in a further round.

    `reason` has the verdict unknown. It becomes the email's if the last round doesn't help.
    `waits` has the seconds before each further round; a single number is meant for every round.
    """

    reason: str
    waits: Sequence[float]

    def wait(self, rounds: int) -> float | None:
        """Return the seconds to wait after this many rounds, or None if that was the last one."""
        if len(self.waits) == 1:
            return self.waits[0]
        return self.waits[rounds - 1] if rounds <= len(self.waits) else None


# The most bytes of a Stop's reason, in UTF-8; a longer one is cut.
MAX_STOP_BYTES = 200
# The longest time after which a batch goes on after a Stop, in seconds: a quota may last a month.
MAX_STOP_SECONDS = 31 * 86_400


class Stop(Exception):  # noqa: N818 - it tells of no error in the program
    """Says that nothing will work for now, such as after a wrong password: the batch pauses itself.

    `reason` is a short sentence for people, kept on one line of MAX_STOP_BYTES at most, without
    control characters.
    `seconds` is the time after which the batch goes on by itself; None if a person is to resume it.
    Raises ValueError for a reason without text, and for seconds that are not allowed.
    """

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        if not isinstance(reason, str) or not (line := _one_line(reason)):
            raise ValueError("Stop() takes a sentence that says why")
        allowed = isinstance(seconds, (int, float)) and 0 < seconds <= MAX_STOP_SECONDS
        if seconds is not None and not allowed:
            raise ValueError(f"Stop() takes seconds above 0 and up to {MAX_STOP_SECONDS:,}")
        super().__init__(line)
        self.reason = line
        self.seconds = None if seconds is None else float(seconds)


def _one_line(text: str) -> str:
    """Return the text on one line of MAX_STOP_BYTES at most, without unprintable characters."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    encoded = line.encode()
    if len(encoded) <= MAX_STOP_BYTES:
        return line
    end = "…"
    return encoded[: MAX_STOP_BYTES - len(end.encode())].decode(errors="ignore") + end


PROCESSED = Outcome("processed")
# The outcomes of an email whose processing raises an exception, kills the process repeatedly, or
# takes longer than a turn may.
ERROR = Outcome("failed", "error")
CRASHED = Outcome("failed", "worker_crashed")
TIMED_OUT = Outcome("failed", "timed_out")
# The outcome of an email that was handed out to a processor whose work must not be repeated, and
# about which nothing more is known. No processor may yield it.
INTERRUPTED = Outcome("processed", reasons.INTERRUPTED)

# Outcomes that checked() has accepted before, and accepts again without a closer look, because it
# is called for every email: MAX_ACCEPTED at most, because a processor may invent any number of
# reasons.
_accepted: set[Outcome] = set()
MAX_ACCEPTED = 1000
# The longest wait before a further round, in seconds.
MAX_WAIT = 86_400
# The most characters that an error shows of a reason or an answer that isn't allowed.
MAX_SHOWN = 100
# The most answers of an outcome, and the most characters of a name and of a value.
MAX_ANSWERS = 20
MAX_NAME = 60
MAX_ANSWER = 500
# What PostgreSQL can't store in a text, and UTF-8 can't say.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class ProcessorError(Exception):
    """A processor can't be loaded, or has yielded something other than a valid Outcome."""


class ReasonError(ProcessorError):
    """A processor has given a reason that isn't allowed. The message is for its author."""


class AnswerError(ReasonError):
    """A processor has given answers that aren't allowed. The message is for its author."""


def failed(reason: str) -> Outcome:
    """Return the outcome of an email that failed for this reason."""
    return Outcome("failed", reason)


def risky(reason: str) -> Outcome:
    """Return the outcome of an email that was processed and is risky, or unknown, for a reason."""
    return Outcome("processed", reason)


def answered(**values: str | float | Decimal) -> Outcome:
    """Return the outcome of an email that was processed, with answers such as a customer number.

    Names that Python doesn't allow are given as `answered(**{"Customer no.": 7})`.
    """
    return Outcome("processed", None, values)


def later(reason: str, *seconds: float) -> Later:
    """Return a Later: the email is to be processed again after some seconds.

    One number is the wait before every further round; with several, there are as many rounds.
    `[worker] later_rounds` and `later_hours` limit both. After the last round, the email comes out
    as unknown, for this reason.
    """
    return Later(reason, seconds)


def to_values(outcome: Outcome | Later) -> list[Any]:
    """Return the values of a checked outcome, for JSON.

    Without answers they are two, because workers of the version before know no others.
    """
    values = [*outcome]
    return values[:2] if values[2:] == [None] else values


def from_values(values: Sequence[Any]) -> Outcome | Later:
    """Return the outcome with these values, which JSON held; those of a Later have a list."""
    kind = Later if isinstance(values[1], list) else Outcome
    return kind(*values)


def checked(outcome: object) -> Outcome | Later:
    """Return the outcome if it is valid; its answers become a plain dict of texts.

    Raises ReasonError if only its reason isn't allowed, AnswerError if only its answers aren't, or
    ProcessorError.
    """
    if (
        type(outcome) is Outcome
        and type(outcome.status) is type(outcome.reason) is str  # others may have no hash
        and outcome.answers is None
        and outcome in _accepted
    ):
        return outcome
    if isinstance(outcome, Later):
        return _checked_later(outcome)
    if not isinstance(outcome, Outcome) or outcome.status not in ("processed", "failed"):
        raise ProcessorError(f"a processor yields Outcome objects, not {outcome!r:.200}")
    status, reason, answers = outcome
    if answers is not None:
        accepted = checked(Outcome(status, reason))
        return Outcome(status, accepted.reason, _checked_answers(answers))
    if outcome == PROCESSED:
        return outcome
    if not isinstance(reason, str) or not reasons.is_code(reason):
        shown = shorten(repr(reason), MAX_SHOWN)
        raise ReasonError(f"the reason {shown} is not allowed; {reasons.RULE}")
    if not reasons.allowed(status, reason):
        raise ReasonError(
            f"the reason {reason!r} is not allowed for a {status} email; it is one of the"
            " product's own, for other emails, so choose another word"
        )
    if len(_accepted) < MAX_ACCEPTED:
        _accepted.add(outcome)
    return outcome


def _checked_answers(answers: object) -> dict[str, str] | None:
    """Return the answers as texts, or None if there are none. Raises AnswerError."""
    if not isinstance(answers, Mapping):
        shown = shorten(repr(answers), MAX_SHOWN)
        raise AnswerError(f"answers are a mapping of names to values, not {shown}")
    answers = dict(answers)
    if len(answers) > MAX_ANSWERS:
        raise AnswerError(f"an outcome has {MAX_ANSWERS} answers at most, not {len(answers):,}")
    return {_checked_name(name): _as_text(name, value) for name, value in answers.items()} or None


def _checked_name(name: object) -> str:
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable():
        return str.__str__(name)  # also of an Enum, whose str() is another text
    raise AnswerError(
        f"the answer's name {shorten(repr(name), MAX_SHOWN)} is not allowed;"
        f" a name has 1 to {MAX_NAME} printable characters"
    )


def _as_text(name: object, value: object) -> str:
    """Return an answer's value as a text that PostgreSQL can store. Raises AnswerError."""
    about = f"the answer {shorten(repr(name), MAX_SHOWN)}"
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int) and abs(value) >= 10**MAX_ANSWER:
        raise AnswerError(f"{about} is a number of more than {MAX_ANSWER} digits")
    elif isinstance(value, (int, float, Decimal)):
        text = str(value)
    else:
        raise AnswerError(f"{about} is a text, a number or a bool, not {type(value).__name__}")
    if len(text) > MAX_ANSWER:
        raise AnswerError(f"{about} has {len(text):,} characters, but {MAX_ANSWER} at most")
    return _UNSTORABLE.sub("\ufffd", text)  # a number of a class of its own may say anything


def _checked_later(outcome: Later) -> Later:
    if outcome.reason not in reasons.RETRIED:
        shown = shorten(repr(outcome.reason), MAX_SHOWN)
        allowed = ", ".join(reasons.RETRIED)
        raise ReasonError(f"later() takes one of the reasons {allowed}, not {shown}")
    waits = tuple(outcome.waits)
    if not waits or not all(0 < seconds <= MAX_WAIT for seconds in waits):
        raise ReasonError(f"later() takes seconds above 0 and up to {MAX_WAIT:,}")
    # As plain numbers, which JSON and PostgreSQL take: they may be of Decimal, numpy or bool.
    return Later(outcome.reason, tuple(map(float, waits)))
