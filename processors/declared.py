"""A stand-in for what processors declare, until the real one comes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.outcomes import ProcessorError


class OptionError(ValueError):
    """A value that an option can't have."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = name


@dataclass(frozen=True)
class Option:
    """What may be chosen of a processor."""

    name: str
    kind: type = str
    default: Any = None
    choices: Sequence[Any] = ()
    about: str = ""
    per_batch: bool = False

    def __init__(
        self,
        name: str,
        kind: type = str,
        default: Any = None,
        *,
        choices: Sequence[Any] = (),
        about: str = "",
        per_batch: bool = False,
    ) -> None:
        for key, value in locals().copy().items():
            if key != "self":
                object.__setattr__(self, key, value)


@dataclass(frozen=True)
class Declared:
    """The options and columns of a processor."""

    options: tuple[Option, ...] = ()
    columns: tuple[str, ...] = ()


def declared(reference: str, folder: Path | None = None) -> Declared:
    """Return what a processor declares. Raises ProcessorError."""
    if reference == "check":
        return Declared()
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ProcessorError(f"the processor {reference!r} can't be loaded: {error}") from error
    return Declared(
        tuple(getattr(found, "declared_options", ())), tuple(getattr(found, "columns", ()))
    )


_BOOLS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def parse_options(
    options: Sequence[Option], given: Mapping[str, str], *, per_batch: bool
) -> dict[str, Any]:
    """Return the values of the texts. Raises OptionError."""
    known = {each.name: each for each in options if each.per_batch or not per_batch}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            raise OptionError(name, "is no option that can be chosen for a batch")
        option = known[name]
        try:
            value = _BOOLS[text.lower()] if option.kind is bool else option.kind(text)
        except (KeyError, ValueError):
            raise OptionError(name, f"can't be {text!r}") from None
        if option.choices and value not in option.choices:
            names = ", ".join(map(str, option.choices))
            raise OptionError(name, f"must be one of {names}, not {text!r}")
        values[name] = value
    return values
