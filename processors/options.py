"""Options of processors: what each may be, and how the texts that people write are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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
        for value in (*self.choices, *([] if self.default is None else [self.default])):
            try:
                self._require(value)
            except OptionError as error:
                raise ValueError(f"the option {error}") from None

    def _is_of_kind(self, value: object) -> bool:
        # True and False are ints, too, and an int is good for a float.
        kinds = (int, float) if self.kind is float else (self.kind,)
        return isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))

    def parse(self, given: Any) -> Any:
        """Return the value that a text means, or any other value if it is of this kind.

        Raises OptionError.
        """
        value = given
        if isinstance(given, str) and self.kind is not str:
            with suppress(KeyError, ValueError):  # it stays a text, which is refused
                value = _BOOLS[given] if self.kind is bool else self.kind(given)
        self._require(value, of_text=isinstance(given, str))
        return self.kind(value)  # a whole number is good for a float

    def _require(self, value: Any, *, of_text: bool = False) -> None:
        """Raise OptionError for a value that isn't allowed; `of_text` if a text means it."""
        short = shorten(value, _SHOWN) if isinstance(value, str) else value
        shown = shorten(repr(short), 2 * _SHOWN)
        if not self._is_of_kind(value):
            kind = "True or False" if self.kind is bool and not of_text else _KINDS[self.kind]
            raise OptionError(self.name, f"must be {kind}, not {shown}")
        if self.kind is float and not abs(value) <= sys.float_info.max:  # NaN is not less, either
            raise OptionError(self.name, f"must be a finite number, not {shown}")
        if self.choices and value not in self.choices:
            choices = ", ".join(map(str, self.choices))
            raise OptionError(self.name, f"must be one of {choices}; not {shown}")


def parse_options(
    declared: Sequence[Option], given: Mapping[str, Any], *, per_batch: bool
) -> dict[str, Any]:
    """Return the values of the options that are given, as texts or values. Raises OptionError.

    per_batch: whether they are given for a batch, so that only the options for that are allowed.
    """
    known = {each.name: each for each in declared if each.per_batch or not per_batch}
    for name in given:
        if name not in known:
            where = " that can be set for a batch" if per_batch else ""
            others = f"; the options are {', '.join(known)}" if known else "; there is none"
            raise OptionError(shorten(name, _SHOWN), f"is no option{where}{others}")
    return {name: known[name].parse(value) for name, value in given.items()}


def section_values(declared: Sequence[Option], section: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all options, by the texts in a section of config.ini and the defaults.

    An option without a value is left out if a batch may set it. Raises OptionError.
    """
    given = dict(section)
    if not any(each.name == "per_minute" for each in declared):
        given.pop("per_minute", None)  # the processor's rate
    values = {each.name: each.parse(each.default) for each in declared if each.default is not None}
    values |= parse_options(declared, given, per_batch=False)
    _require_all((each for each in declared if not each.per_batch), values)
    return values


def options_of(processor: object, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a loaded processor's options: the chosen ones, or else its section's.

    Raises OptionError if the processor has no such option, if a value isn't allowed, or if one is
    missing: a batch's options may have been chosen for another version of the processor.
    """
    declared: Sequence[Option] = getattr(processor, "declared_options", ())
    # Of an object that declares none, the attribute means something else.
    values = {**getattr(processor, "options", {})} if declared else {}
    values |= parse_options(declared, chosen, per_batch=True)
    _require_all(declared, values)
    return values


def _require_all(declared: Iterable[Option], values: Mapping[str, Any]) -> None:
    for each in declared:
        if each.name not in values:
            raise OptionError(each.name, "must be given")
