"""Options of processors: what each may be, and how the texts that people write are read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.phrases import shorten

# A name is part of the name of a form's field, and the key of a line in config.ini.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "yes or no"}
_BOOLS = {"yes": True, "no": False}
# The most characters that an error shows of a value.
_SHOWN = 60


class OptionError(ValueError):
    """An option can't have this value, or doesn't exist; the message is a sentence's end.

    name: the option's name, with which the message begins.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = name


@dataclass(frozen=True)
class Option:
    """Something that may be chosen of a processor.

    name: up to 40 of a-z, 0-9 and _, beginning with a letter.
    kind: str, int, float or bool.
    default: the value if none is given; None if one must be given.
    choices: the only values that are allowed; empty for any.
    about: a sentence for the people who choose.
    per_batch: whether the option may be set for a batch, too, not only in config.ini.
    Raises ValueError for a declaration that can't be.
    """

    name: str
    kind: type = str
    default: Any = None
    choices: Sequence[Any] = ()
    about: str = ""
    per_batch: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the option {self.name!r} has no name of a-z, 0-9 and _")
        if self.kind not in _KINDS:
            raise ValueError(f"the option {self.name} must be of kind str, int, float or bool")
        values = [*self.choices, *([] if self.default is None else [self.default])]
        if not all(self._is_of_kind(value) for value in values):
            raise ValueError(f"the option {self.name} has a default or choice of another kind")
        if self.choices and self.default is not None and self.default not in self.choices:
            raise ValueError(f"the option {self.name} has a default that is no choice")

    def _is_of_kind(self, value: object) -> bool:
        # True and False are ints, too, and an int is good for a float.
        kinds = (int, float) if self.kind is float else (self.kind,)
        return isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))

    def parse(self, text: str) -> Any:
        """Return the value that the text means. Raises OptionError."""
        shown = repr(shorten(text, _SHOWN))
        try:
            value = _BOOLS[text] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            raise OptionError(self.name, f"must be {_KINDS[self.kind]}, not {shown}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(self.name, f"must be a finite number, not {shown}")
        if self.choices and value not in self.choices:
            choices = ", ".join(map(str, self.choices))
            raise OptionError(self.name, f"must be one of {choices}; not {shown}")
        return value


def parse_options(
    declared: Sequence[Option], given: Mapping[str, str], *, per_batch: bool
) -> dict[str, Any]:
    """Return the values of the options that are given as texts, by name. Raises OptionError.

    per_batch: whether they are given for a batch, so that only the options for that are allowed.
    """
    known = {each.name: each for each in declared if each.per_batch or not per_batch}
    for name in given:
        if name not in known:
            names = ", ".join(known) or "none"
            where = " that can be set for a batch" if per_batch else ""
            raise OptionError(shorten(name, _SHOWN), f"is no option{where}; there is {names}")
    return {name: known[name].parse(text) for name, text in given.items()}


def section_values(declared: Sequence[Option], section: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all options, by the texts in a section of config.ini and the defaults.

    An option without a value is left out if a batch may set it. Raises OptionError.
    """
    given = dict(section)
    if not any(each.name == "per_minute" for each in declared):
        given.pop("per_minute", None)  # the processor's rate
    values = {each.name: each.default for each in declared if each.default is not None}
    values |= parse_options(declared, given, per_batch=False)
    for each in declared:
        if each.name not in values and not each.per_batch:
            raise OptionError(each.name, "must be given")
    return values


def options_of(processor: object, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a loaded processor's options: the chosen ones, or else its section's.

    A float is one even if it has been a whole number meanwhile: JSON doesn't tell them apart.
    """
    values = {**getattr(processor, "options", {}), **chosen}
    declared: Sequence[Option] = getattr(processor, "declared_options", ())
    floats = [each.name for each in declared if each.kind is float and each.name in values]
    return values | {name: float(values[name]) for name in floats}
