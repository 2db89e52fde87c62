"""What processors declare: options with their values, and columns."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest

import processors
from processors import Declared, Item, Option, OptionError, ProcessorError, parse_options
from processors.options import options_of, section_values

LIST = Option("list", str, "news", choices=("news", "trial"), per_batch=True)
DAYS = Option("days", int, 7, per_batch=True)
SHARE = Option("share", float, 0.5)
MAIL = Option("mail", bool, False, per_batch=True)
URL = Option("url")
ALL = (LIST, DAYS, SHARE, MAIL, URL)


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (LIST, "trial", "trial"),
        (DAYS, "-3", -3),
        (SHARE, "0.25", 0.25),
        (SHARE, "1", 1.0),
        (MAIL, "yes", True),
        (MAIL, "no", False),
        (URL, "", ""),
        (URL, " ä\n", " ä\n"),
    ],
)
def test_a_text_becomes_a_value_of_the_options_kind(option, text, value):
    parsed = option.parse(text)
    assert (parsed, type(parsed)) == (value, option.kind)


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        (LIST, "News", "list must be one of news, trial; not 'News'"),
        (DAYS, "7.5", "days must be a whole number, not '7.5'"),
        (DAYS, "", "days must be a whole number, not ''"),
        (SHARE, "half", "share must be a number, not 'half'"),
        (SHARE, "nan", "share must be a finite number, not nan"),
        (SHARE, "1e999", "share must be a finite number, not inf"),
        (MAIL, "true", "mail must be yes or no, not 'true'"),
        (DAYS, "9" * 5000, "days must be a whole number, not "),
    ],
)
def test_a_text_that_is_no_value_is_refused_with_what_is_allowed(option, text, why):
    with pytest.raises(OptionError) as caught:
        option.parse(text)
    assert str(caught.value).startswith(why)
    assert len(str(caught.value)) < 150
    assert caught.value.name == option.name


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"name": "List"}, "has no name of a-z"),
        ({"name": ""}, "has no name of a-z"),
        ({"name": "a.b"}, "has no name of a-z"),
        ({"name": "x", "kind": list}, "of kind str, int, float or bool"),
        ({"name": "x", "kind": int, "default": "1"}, "x must be a whole number, not '1'"),
        ({"name": "x", "kind": int, "default": True}, "x must be a whole number, not True"),
        ({"name": "x", "kind": float, "default": math.inf}, "x must be a finite number, not inf"),
        ({"name": "x", "kind": bool, "default": "yes"}, "x must be True or False, not 'yes'"),
        ({"name": "x", "choices": (1,)}, "x must be a text, not 1"),
        ({"name": "x", "choices": ("a",), "default": "b"}, "x must be one of a; not 'b'"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(arguments, why):
    with pytest.raises(ValueError, match=f"^the option .*{why}"):
        Option(**arguments)


DECLARED = (LIST, DAYS, Option("share", float, 1, per_batch=True), URL)


def loaded(*declared):
    return SimpleNamespace(declared_options=declared, options=section_values(declared, SECTION))


SECTION = {"url": "http://x"}


@pytest.mark.parametrize(
    ("chosen", "changed"),
    [
        ({}, {}),
        ({"days": 3, "list": "trial"}, {"days": 3, "list": "trial"}),
        ({"days": "3", "share": 2}, {"days": 3, "share": 2.0}),
    ],
)
def test_a_processor_gets_what_was_chosen_or_else_what_its_section_says(chosen, changed):
    values = options_of(loaded(*DECLARED), chosen)
    assert values == {**SECTION, "list": "news", "days": 7, "share": 1.0} | changed
    assert type(values["share"]) is float


def test_an_object_that_declares_no_options_may_have_an_attribute_of_that_name():
    assert options_of(SimpleNamespace(options=None), {}) == {}


@pytest.mark.parametrize(
    ("declared", "chosen", "why"),
    [
        (DECLARED, {"colour": "blue"}, "colour is no option that can be set for a batch"),
        (DECLARED, {"url": "http://y"}, "url is no option that can be set for a batch"),
        (DECLARED, {"list": "old"}, "list must be one of news, trial; not 'old'"),
        (DECLARED, {"days": 1.5}, "days must be a whole number, not 1.5"),
        (DECLARED, {"share": 10**400}, "share must be a finite number, not 1000"),
        ((URL, Option("days", str, "7", per_batch=True)), {"days": 3}, "days must be a text"),
        ((URL, Option("mail", bool, False, per_batch=True)), {"mail": 1}, "mail must be True or"),
        ((URL, Option("new", per_batch=True)), {}, "new must be given"),
    ],
)
def test_what_was_chosen_of_another_version_of_a_processor_is_refused(declared, chosen, why):
    with pytest.raises(OptionError, match=f"^{why}"):
        options_of(loaded(*declared), chosen)


def test_only_options_for_that_may_be_given_for_a_batch():
    assert parse_options(ALL, {"days": "3"}, per_batch=True) == {"days": 3}
    with pytest.raises(OptionError, match="share is no option that can be set for a batch"):
        parse_options(ALL, {"share": "1"}, per_batch=True)
    with pytest.raises(OptionError, match="; the options are list, days, share, mail, url"):
        parse_options(ALL, {"lists": "news"}, per_batch=False)
    with pytest.raises(OptionError, match="there is none"):
        parse_options((), {"lists": "news"}, per_batch=True)


def test_a_section_gives_values_beside_the_defaults_and_its_rate_is_left_out():
    values = section_values(ALL, {"url": "http://x", "days": "1", "per_minute": "60"})
    assert values == {"list": "news", "days": 1, "share": 0.5, "mail": False, "url": "http://x"}
    own = Option("per_minute", int, per_batch=True)
    assert section_values((own,), {"per_minute": "60"}) == {"per_minute": 60}
    assert section_values((own,), {}) == {}
    with pytest.raises(OptionError, match="url must be given"):
        section_values(ALL, {})


MODULE = """
from processors import Option, configured, one_by_one, per_item, takes_columns

@takes_columns("Name", "Town")
@configured(
    Option("list", str, "news", choices=("news", "trial"), about="Which list?", per_batch=True),
    Option("days", int, 7),
)
def add(options):
    @per_item
    def process(item):
        return f"{options['list']}_{options['days']}"
    return process

@takes_columns("Name")
@one_by_one
def of_addresses(address):
    return None

@takes_columns("*")
@per_item
def plain(item):
    return None

@configured
def inside(options):
    return takes_columns("Name")(plain_too)

@per_item
def plain_too(item):
    return None

class Bound:
    def process(self, addresses):
        yield from ()

@configured(Option("days", int, 7))
def bound(options):
    return Bound().process

def not_called(options):
    raise AssertionError

@configured(Option("days", int, 7))
def forgetful(options):
    pass

@configured
def forgetful_plain(options):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "crm_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "crm_of_test"


def test_a_processor_declares_options_and_columns_without_being_made(module):
    found = processors.declared(f"{module}:add")
    assert [each.name for each in found.options] == ["list", "days"]
    assert found.options[0].about == "Which list?"
    assert found.columns == ("Name", "Town")
    assert processors.declared(f"{module}:plain") == Declared(columns=("*",))
    assert processors.declared("check") == Declared()


def test_a_processor_gets_the_values_of_its_options_and_tells_them(module):
    processor = processors.load(f"{module}:add", {"days": "3", "per_minute": "9"})
    assert processor.options == {"list": "news", "days": 3}
    (outcome,) = processor([Item("a@x.de", "b1-e1-r1", 1)])
    assert outcome.reason == "news_3"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"days": "soon"}, r"\[crm\] days must be a whole number, not 'soon'"),
        ({"lists": "news"}, r"\[crm\] lists is no option; the options are list, days"),
    ],
)
def test_a_section_with_a_wrong_option_is_refused_by_its_name(module, section, why):
    with pytest.raises(ProcessorError, match=why):
        processors.load(f"{module}:add", section, section="crm")


@pytest.mark.parametrize(
    "text",
    ["raise RuntimeError('no licence')", "raise SystemExit(3)", "def", "import nothing_here"],
)
def test_whatever_a_module_raises_is_an_error_of_the_processor(tmp_path, monkeypatch, text):
    (tmp_path / "breaks_in_test.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProcessorError, match="breaks_in_test:any"):
        processors.declared("breaks_in_test:any")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["import json", "json.loads('{')"], r": Expecting.*\(placed_of_tests\.py, line 2\)$"),
        (["", "import nothing_here"], r" 'nothing_here' \(placed_of_tests\.py, line 2\)$"),
        (
            ["def f():", "    1 / 0", "", "f()"],
            r"division by zero \(placed_of_tests\.py, line 2\)$",
        ),
        (["def"], r"\(placed_of_tests\.py, line 1\)$"),
        (
            ["from processors import Option", "Option('days', int, 'thirty')"],
            r"days must be a whole number, not 'thirty' \(placed_of_tests\.py, line 2\)$",
        ),
        (["pass"], "has no 'any'$"),
    ],
)
def test_an_error_has_the_line_of_the_teams_own_module(tmp_path, monkeypatch, lines, why):
    (tmp_path / "placed_of_tests.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "placed_of_tests", raising=False)
    with pytest.raises(ProcessorError, match=why):
        processors.declared("placed_of_tests:any")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("forgetful", "of 'crm_of_test:forgetful' returned None; return the processor"),
        ("forgetful_plain", "returned None; return the processor"),
        ("of_addresses", "make it with @per_item"),
        ("inside", "put @takes_columns above @configured"),
        ("bound", "must return a function, not a method"),
    ],
)
def test_a_processor_that_could_not_get_what_it_declares_is_refused(module, function, why):
    with pytest.raises(ProcessorError, match=why):
        processors.load(f"{module}:{function}")


def test_two_options_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        processors.configured(Option("list"), Option("list"))


def test_only_so_many_options_may_be_set_for_a_batch_as_a_form_has_room_for():
    options = [Option(f"n{number}", int, 0, per_batch=number < 50) for number in range(60)]
    assert len(processors.configured(*options)(lambda values: dict).declared_options) == 60
    with pytest.raises(ValueError, match="more than 50 options may be set for a batch"):
        processors.configured(*options, Option("n60", per_batch=True))


ODD = """
class Table:
    def __init__(self, **values):
        self.__dict__ |= values
    def __getattr__(self, name):
        raise RuntimeError(name)
    def __call__(self, emails):
        return iter(())

number = Table(declared_options=(), columns=5)
text = Table(declared_options=(), columns="Name")
others = Table(declared_options=["list"], columns=())
raising = Table()
"""


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("number", "its attribute 'columns' must be a tuple of str"),
        ("text", "its attribute 'columns' must be a tuple of str"),
        ("others", "its attribute 'declared_options' must be a tuple of Option"),
        ("raising", "can't be loaded: RuntimeError: declared_options"),
    ],
)
def test_an_object_that_declares_nonsense_stops_only_itself(tmp_path, monkeypatch, function, why):
    (tmp_path / "odd_in_test.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProcessorError, match=why):
        processors.declared(f"odd_in_test:{function}")
