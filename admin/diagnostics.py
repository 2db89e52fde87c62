"""What the checks of `manage.py check` yield: the state of a part, and advice."""

from __future__ import annotations

from dataclasses import dataclass

from runtime import logs

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Diagnostic:
    """The state of one part, and what to do about it; `level` is ok, warning or problem."""

    level: str
    part: str
    text: str
    advice: str = ""


def judged(wrong: bool, part: str, text: str, advice: str, level: str = WARNING) -> Diagnostic:
    """Return a diagnostic of this level, with the advice, if the part is `wrong`; or else an ok."""
    return Diagnostic(level, part, text, advice) if wrong else Diagnostic(OK, part, text)


def message(error: BaseException) -> str:
    """Return an error's message as the end of a sentence, without its full stop."""
    return logs.said(error).rstrip(".")
