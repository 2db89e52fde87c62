"""Loading a processor by its name, and what it declares."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from processors.options import Option, OptionError, section_values
from processors.outcomes import ProcessorError
from runtime.phrases import message_of, shorten

# Takes the settings in its section of config.ini, as values that JSON can hold.
Factory = Callable[[Mapping[str, Any]], Any]
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_CHECK = "processors.check:configured_check"
# The most options of a processor that may be set for a batch. A form has a field for each of them,
# of all processors, and takes 150 fields.
MAX_PER_BATCH = 50
# The most characters of an error's message, because workers announce it again and again.
MAX_SAID = 1000


class UnforeseenError(ProcessorError):
    """A team's own code raised what no rule foresees; the cause has its traceback."""


@contextmanager
def _errors_of(reference: str) -> Iterator[None]:
    """Turn whatever a team's own module raises into a ProcessorError."""
    try:
        yield
    except (ProcessorError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UnforeseenError(
            f"the processor {reference!r} can't be loaded: {type(error).__name__}:"
            f" {shorten(message_of(error), MAX_SAID)}{_place(error, reference)}"
        ) from error


def _place(error: BaseException, reference: str) -> str:
    """Return the line of a team's own code that an error comes from; empty if it has none."""
    package = reference.partition(":")[0].partition(".")[0]
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            place = f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return place


@dataclass(frozen=True)
class Declared:
    """What a processor says of itself before it is made.

    options: those that it has.
    columns: the names of the columns whose cells it gets of each row that has them; `*` for all.
    """

    options: tuple[Option, ...] = ()
    columns: tuple[str, ...] = ()


@overload
def configured(factory: Factory, /) -> Factory: ...
@overload
def configured(*options: Option) -> Callable[[Factory], Factory]: ...
def configured(*arguments: Any) -> Any:
    """Mark a function that takes its section of config.ini and returns a processor.

    The section has the name that [processors] gives the processor, or else that of its module;
    without the section, the mapping is empty. The function is called once a process. If it raises a
    KeyError or ValueError, the processor isn't loaded, and the section is reported.

    With Options as arguments, the section may have these and no others, and the function gets their
    values, defaults included, instead of texts. The section's `per_minute` isn't passed on. Raises
    ValueError for two of one name, and if a batch could set more than MAX_PER_BATCH.
    """
    if len(arguments) == 1 and not isinstance(arguments[0], Option):
        arguments[0].configured = True
        return arguments[0]
    names = [each.name for each in arguments]
    if len(set(names)) < len(names):
        raise ValueError("two options have the same name")
    if sum(each.per_batch for each in arguments) > MAX_PER_BATCH:
        raise ValueError(f"more than {MAX_PER_BATCH} options may be set for a batch")

    def mark(factory: Any) -> Factory:
        factory.configured, factory.declared_options = True, arguments
        return factory  # type: ignore[no-any-return]

    return mark


def takes_columns(*names: str) -> Callable[[F], F]:
    """Mark a processor that takes cells of these columns; or its function with @configured.

    A row's cells are in Item.cells, by the names of the columns; a column that a list lacks is
    missing there. `*` stands for all columns. Raises ValueError for no name.
    """
    if not names or not all(names):
        raise ValueError('takes_columns() takes the names of columns, or "*"')

    def mark(function: F) -> F:
        function.columns = names  # type: ignore[attr-defined]
        return function

    return mark


def declared(reference: str, folder: Path | None = None) -> Declared:
    """Return what the processor named by `module:function` declares; its function isn't called.

    `folder` is as for load(). Raises ProcessorError, also for anything that the module raises.
    """
    if reference == "check":
        return Declared()
    with _errors_of(reference):
        return _declared(_imported(reference, folder), reference)


def _declared(found: object, reference: str) -> Declared:
    return Declared(
        _all_of(Option, found, reference, "declared_options"),
        _all_of(str, found, reference, "columns"),
    )


def _all_of(kind: type[T], processor: object, reference: str, attribute: str) -> tuple[T, ...]:
    """Return what such an attribute of a processor has. Raises ProcessorError.

    An object of a team's own may have one that means something else.
    """
    found = getattr(processor, attribute, ())
    if not isinstance(found, (tuple, list)) or not all(isinstance(each, kind) for each in found):
        raise ProcessorError(
            f"the processor {reference!r} can't be used: its attribute {attribute!r} must be a"
            f" tuple of {kind.__name__}, which a decorator of `processors` sets"
        )
    return tuple(found)


def _imported(reference: str, folder: Path | None) -> Any:
    """Return the function named by `module:function`. Raises ProcessorError, and what it raises."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, AttributeError) as error:
        why = f"{error}{_place(error, reference)}"
        raise ProcessorError(f"the processor {reference!r} can't be loaded: {why}") from error
    if not hasattr(module, attribute):
        # The file, because a module of the product or of Python may have the name of a team's own.
        file = getattr(module, "__file__", None) or module_name
        raise ProcessorError(
            f"the processor {reference!r} can't be loaded: {file} has no {attribute!r}"
        )
    return getattr(module, attribute)


def load(
    name: str,
    options: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    *,
    section: str | None = None,
) -> Any:
    """Return the processor `check`, or the processor named by `module:function`.

    `options` are the settings in its section, and `section` is the name of that for errors; by
    default, it is the module's.
    `folder` is that of config.ini, beside which a team's own module usually lies.
    Raises ProcessorError, also for anything that the module raises.
    """
    with _errors_of(name):
        found = _imported(_CHECK if name == "check" else name, folder)
        return made(found, name, options or {}, section or name.partition(":")[0])


def made(found: Any, name: str, options: Mapping[str, Any], section: str) -> Any:
    """Return the processor that such a function of a module is, or makes if it is `configured`.

    The other arguments are as for load(). If the processor declares options, it gets the attributes
    `options` with their values, and `declared_options`. Raises ProcessorError.
    """
    processor, columns = found, _declared(found, name).columns
    if callable(processor) and getattr(processor, "configured", False):
        if getattr(processor, "once", False) or getattr(processor, "takes_items", False):
            raise ProcessorError(
                f"the processor {name!r} is a function with @configured: put the other decorators"
                " on the processor that it returns"
            )
        processor = _make(name, processor, options, section)
    if not callable(processor):
        raise ProcessorError(f"the processor {name!r} is not a function")
    if columns and not getattr(processor, "takes_items", False):
        raise ProcessorError(
            f"the processor {name!r} takes columns, but its function gets only addresses: make it"
            " with @per_item or @in_windows"
        )
    if getattr(processor, "columns", ()) and not columns:
        # The app, which keeps the cells, doesn't call the function with @configured.
        raise ProcessorError(
            f"the processor {name!r} declares its columns too late: put @takes_columns above"
            " @configured"
        )
    return processor


def _make(name: str, factory: Any, options: Mapping[str, Any], section: str) -> Any:
    declared = getattr(factory, "declared_options", None)
    try:
        values = options if declared is None else section_values(declared, options)
        processor = factory(values)
    except OptionError as error:
        raise ProcessorError(f"the processor {name!r}: [{section}] {error}") from error
    except KeyError as error:
        key = error.args[0] if error.args else "with another key"
        raise ProcessorError(f"the processor {name!r} needs [{section}] {key}") from error
    except ValueError as error:
        raise ProcessorError(f"the processor {name!r} can't use [{section}]: {error}") from error
    if processor is None:
        raise ProcessorError(
            f"the function with @configured of {name!r} returned None; return the processor"
        )
    if declared is None:
        return processor
    try:
        processor.options, processor.declared_options = values, declared
    except AttributeError as error:
        raise ProcessorError(
            f"the function with @configured of the processor {name!r} must return a function, not"
            f" a {type(processor).__name__}"
        ) from error
    return processor
