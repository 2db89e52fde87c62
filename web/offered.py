"""The processors on offer: what may be chosen of them for a batch, and what a form chooses."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import processors
from models import Batch
from processors import Option, OptionError, ProcessorError
from processors.options import section_values
from runtime import logs, phrases
from runtime.entries import CHECK, ProcessorEntry
from runtime.phrases import shorten
from runtime.settings import Settings
from tabular.columns import cell_names
from tabular.formats import Format
from web.abilities import MAX_WHY, why
from web.parameters import bad_parameter
from web.problems import Problem

# The most characters of an option's value, of all names of columns in a field, and of a name that
# an error shows.
MAX_VALUE, MAX_NAMES, MAX_NAME = 500, 50_000, 100
# What the name of an option's field begins with.
OPTION = "option."
# What stands for all columns.
ALL = "*"
# The other fields by which a form chooses a processor and what it gets.
CHOICE = ("processor", "columns")

logger = logs.Logger("app")

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Offer:
    """A processor that may be chosen.

    options: those that may be chosen for a batch, each with the default that counts here.
    columns: the columns of a list whose cells it gets in any case; `*` for all.
    """

    name: str
    title: str
    options: tuple[Option, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def columns_json(self) -> str:
        return json.dumps(self.columns)

    def lacking(self, found: Format) -> list[str]:
        """Return those of its columns that a list with this format lacks."""
        names = {*cell_names(found), ALL}
        return [name for name in self.columns if name not in names]


class Chosen(NamedTuple):
    """What a form chooses.

    processor: its name; None if there is only the check, and the form doesn't name it.
    options: the chosen values by the options' names.
    columns: the columns whose cells the form wants.
    taken: the columns whose cells the processor gets in any case, if the list has them.
    """

    processor: str | None
    options: dict[str, Any]
    columns: tuple[str, ...]
    taken: tuple[str, ...]


@dataclass(frozen=True)
class Offered:
    """All processors of config.ini.

    all: those on offer, in the order of config.ini: the default first, unless it is broken.
    titles: the titles of all, by name.
    default: the name of the default one.
    unnamed: the name of the one that batches without a name are for.
    broken: why others can't be used, by name.
    """

    all: tuple[Offer, ...]
    titles: dict[str, str]
    default: str
    unnamed: str
    broken: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Offered:
        """Ask each processor for what it declares.

        One that can't be imported is logged, and isn't on offer. If it is the only one, uploads
        are taken all the same, and wait for a worker that has it.
        """
        found, broken = [], {}
        for each in settings.processors:
            try:
                found.append(_offer(each, settings))
            except ProcessorError as error:
                logger.error("a processor can't be loaded", processor=each.name, error=error)
                broken[each.name] = shorten(why(each, str(error)), MAX_WHY)
        if len(settings.processors) == 1:
            only, broken = settings.default_processor, {}
            found = found or [Offer(only.name, only.title)]
        titles = {each.name: each.title for each in settings.processors}
        default, unnamed = settings.default_processor.name, settings.unnamed_processor.name
        return cls(tuple(found), titles, default, unnamed, broken)

    @property
    def several(self) -> bool:
        """Whether there are several, so that pages say which one a batch is for."""
        return len(self.titles) > 1

    @property
    def has_choice(self) -> bool:
        """Whether there is anything to choose."""
        return self.several or any(each.options or each.columns for each in self.all)

    @property
    def check(self) -> str:
        """The name of the check, which gets no cells."""
        return CHECK

    def offer(self, name: str) -> Offer | None:
        """Return what may be chosen of a processor; None if it can't be used."""
        return next((each for each in self.all if each.name == name), None)

    def name(self, processor: str | None) -> str:
        """Return the name of a batch's processor; a batch that names none is for `unnamed`."""
        return processor or self.unnamed

    def title(self, processor: str | None) -> str:
        """Return the title of a batch's processor; its name if config.ini has it no more."""
        name = self.name(processor)
        return self.titles.get(name, name)

    def verb(self, processor: str | None) -> str:
        """Return the word for what is done to the emails of a batch."""
        return "checked" if self.name(processor) == CHECK else "processed"

    def refuse_unknown(self, names: Iterable[str], known: Collection[str]) -> None:
        """Raise Problem for a name of a field that is neither known nor an option's.

        Otherwise a mistyped name would leave the batch to the default, without a word.
        """
        for name in names:
            if name not in known and not name.startswith(OPTION):
                shown = shorten(name, MAX_NAME)
                likely = self._likely(shown, known)
                meant = f" It probably means {likely}." if likely else ""
                detail = f"The form has a field {shown!r}, which is unknown.{meant}"
                raise Problem(422, "unknown_field", detail, field=shown)

    def _likely(self, name: str, known: Collection[str]) -> str | None:
        """Return the field that a name without a field probably means."""
        options = [each.name for offer in self.all for each in offer.options]
        fields = [*known, *(OPTION + option for option in options)]
        meant = {option: OPTION + option for option in options} | {each: each for each in fields}
        found = difflib.get_close_matches(name.strip().lower(), meant, 1)
        return meant[found[0]] if found else None

    def choose(self, fields: Fields, batch: Batch | None = None) -> Chosen:
        """Return what the fields of a form choose. Raises Problem.

        batch: the one that is processed again. What no field says is as it was for that batch,
        unless another processor is chosen.
        """
        names = {text.strip() for name, text in fields if name == "processor"} - {""}
        if len(names) > 1:
            raise bad_parameter("processor", "be given once")
        named = next(iter(names), "")
        offer = self._find(named or (self.name(batch.processor) if batch else self.default))
        texts = self._texts(offer, fields)
        lists = [text for name, text in fields if name == "columns"]
        taken = offer.columns
        if batch is not None and self.name(batch.processor) == offer.name:
            texts = _texts_of(batch, offer) | texts
            if not lists:
                taken += tuple(batch.columns)
        # With nothing but the check, a batch names none. Any other name is kept, so that no later
        # [processors] gives the batch to the check.
        is_plain = not named and not self.several and offer.name == CHECK
        processor = None if is_plain else offer.name
        return Chosen(processor, _values(offer, texts), _names(lists), taken)

    def _find(self, name: str) -> Offer:
        found = self.offer(name)
        if found is not None:
            return found
        if name in self.broken:
            why = self.broken[name].rstrip(".")
            detail = f"The processor {name} can't be used: {why}. Mend it, and restart the app."
            raise Problem(422, "broken_processor", detail)
        choices = ", ".join(each.name for each in self.all)
        detail = f"There is no processor {shorten(name, MAX_NAME)!r}. Choose one of: {choices}."
        raise Problem(422, "unknown_processor", detail)

    def _texts(self, offer: Offer, fields: Fields) -> dict[str, str]:
        """Return the texts of a processor's options.

        A form may have fields for the options of each processor. Those that name another one are
        left out.
        """
        own: dict[str, str] = {}
        plain: dict[str, str] = {}
        for name, text in fields:
            if not name.startswith(OPTION):
                continue
            option = name.removeprefix(OPTION)
            owner = next((each for each in self.titles if option.startswith(f"{each}.")), None)
            if owner is None:
                plain[option] = text
            elif owner == offer.name:
                own[option.removeprefix(f"{owner}.")] = text
        return own | plain


def _offer(entry: ProcessorEntry, settings: Settings) -> Offer:
    """Return what may be chosen of a processor. Raises ProcessorError."""
    declared = processors.declared(entry.reference, settings.path.parent)
    if not declared.options:
        return Offer(entry.name, entry.title, (), declared.columns)
    try:
        values = section_values(declared.options, entry.options)
    except OptionError as error:
        raise ProcessorError(f"[{entry.name}] {error}") from error
    options = [
        replace(each, default=values.get(each.name)) for each in declared.options if each.per_batch
    ]
    return Offer(entry.name, entry.title, tuple(options), declared.columns)


def _texts_of(batch: Batch, offer: Offer) -> dict[str, str]:
    """Return the batch's options as a form would send them, without those that are no more."""
    chosen = batch.options
    return {
        each.name: phrases.value(chosen[each.name]) for each in offer.options if each.name in chosen
    }


def _values(offer: Offer, texts: dict[str, str]) -> dict[str, Any]:
    """Return the values of the texts that are given. Raises Problem."""
    given = dict(texts)
    for option in offer.options:
        text = given.get(option.name)
        if text == "" and (option.kind is not str or option.choices or option.default is None):
            del given[option.name]  # a form sends its empty fields too
        if option.name not in given and option.default is None:
            raise _bad_option(option.name, f"{option.name} must be given.")
    for name, text in given.items():
        if len(text) > MAX_VALUE or "\0" in text:
            sentence = f"{shorten(name, MAX_NAME)} has at most {MAX_VALUE} characters, and no NUL."
            raise _bad_option(name, sentence)
    try:
        return processors.parse_options(offer.options, given, per_batch=True)
    except OptionError as error:
        raise _bad_option(error.name, shorten(str(error), MAX_VALUE)) from None


def _bad_option(name: str, sentence: str) -> Problem:
    detail = sentence if sentence.endswith((".", "…")) else f"{sentence}."
    return Problem(422, "bad_option", detail, option=shorten(name, MAX_NAME))


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns in these texts, each a line of CSV. Raises Problem."""
    names: list[str] = []
    for text in texts:
        if len(text) > MAX_NAMES:
            raise bad_parameter("columns", f"have at most {MAX_NAMES:,} characters")
        lines = io.StringIO(text, newline="")
        try:
            rows = list(csv.reader(lines, skipinitialspace=True, strict=True))
        except csv.Error:
            quoting = "be headers separated by commas, those with commas in double quotes"
            raise bad_parameter("columns", quoting) from None
        names += [name for row in rows for name in row if name.strip()]
    return (ALL,) if ALL in names else tuple(dict.fromkeys(names))
