"""What processors.testing runs as a worker would, and which breaks of the protocol it tells."""

from types import SimpleNamespace

import pytest

from processors import (
    PROCESSED,
    Item,
    Option,
    OptionError,
    ProcessorError,
    Stop,
    answered,
    check,
    configured,
    failed,
    handing,
    in_windows,
    later,
    once,
    one_by_one,
    per_item,
    risky,
    takes_columns,
)
from processors.testing import run


@one_by_one
def no_b(address):
    return "has_b" if address.startswith("b") else None


def test_each_row_gets_its_outcome_in_order():
    assert run(no_b, ["a", "b", "c"]) == [PROCESSED, failed("has_b"), PROCESSED]
    assert run(no_b, []) == []


def test_items_are_made_as_in_a_worker():
    got = []
    rows = ["a@x.de", {"email": "b@x.de", "Name": "Bo"}, ("c@x.de", {"Name": "Cy"})]
    processor = per_item(got.append)
    processor.declared_options = (Option("loud", bool, per_batch=True),)
    run(processor, rows, options={"loud": True}, columns=["*"], round=2)
    assert got == [
        Item("a@x.de", "b1-e1-r2", 2, {}, {"loud": True}),
        Item("b@x.de", "b1-e2-r2", 2, {"email": "b@x.de", "Name": "Bo"}, {"loud": True}),
        Item("c@x.de", "b1-e3-r2", 2, {"Name": "Cy"}, {"loud": True}),
    ]


def test_items_have_only_cells_that_the_processor_takes_or_the_upload_chooses():
    got = []
    rows = [{"email": "a@x.de", "Name": "Bo", "Town": "Ulm"}]
    for processor, chosen in (
        (per_item(got.append), ()),
        (takes_columns("Name", "Age")(per_item(got.append)), ()),
        (takes_columns("Name")(per_item(got.append)), ["Town"]),
        (takes_columns("*")(per_item(got.append)), ()),
    ):
        run(processor, rows, columns=chosen)
    name, both = {"Name": "Bo"}, {"Name": "Bo", "Town": "Ulm"}
    assert [each.cells for each in got] == [{}, name, both, *rows]


def test_the_options_of_a_batch_count_more_than_those_of_the_section():
    got = []
    processor = per_item(got.append)
    processor.declared_options = (Option("loud", bool, per_batch=True), Option("list"))
    processor.options = {"loud": False, "list": "all"}
    run(processor, ["a"], options={"loud": True})
    assert got[0].options == {"loud": True, "list": "all"}


def test_later_and_risky_emails_come_as_they_are():
    said = {"a": later("unknown", 60), "b": risky("odd")}
    assert run(one_by_one(said.get), ["a", "b"]) == [later("unknown", 60.0), risky("odd")]


@pytest.mark.parametrize("mark", [lambda each: each, once])
class TestBreaks:
    """Breaks of the protocol, by processors whose work may be repeated, and others."""

    def test_a_reason_that_is_not_allowed(self, mark):
        processor = mark(one_by_one({"b": "Has a b"}.get))
        with pytest.raises(AssertionError, match=r"^email 2, b: the reason 'Has a b' is not .* a-"):
            run(processor, ["a", "b", "c"])

    def test_what_is_no_outcome(self, mark):
        with pytest.raises(AssertionError, match=r"^email 1, a: a processor yields Outcome objec"):
            run(mark(lambda emails: ("fine" for _ in emails)), ["a"])

    def test_too_few_outcomes(self, mark):
        def forgetful(emails):
            yield from (PROCESSED for address in emails if address != "b")

        with pytest.raises(AssertionError, match=r"^email 2, c: .* fewer outcomes than it got"):
            run(mark(forgetful), ["b", "c"])

    def test_too_many_outcomes(self, mark):
        def twice(emails):
            for _ in emails:
                yield from (PROCESSED, PROCESSED)

        with pytest.raises(AssertionError, match=r"too many|more outcomes than it took"):
            run(mark(twice), ["a"])

    def test_an_error_comes_as_it_was_raised_with_the_email(self, mark):
        def broken(address):
            if address == "b":
                raise LookupError("no such person")

        with pytest.raises(LookupError, match="no such person") as raised:
            run(mark(one_by_one(broken)), ["a", "b", "c"])
        assert raised.value.__notes__ == ["raised here: email 2, b"]

    def test_an_error_after_the_last_email_is_not_hidden(self, mark):
        def broken(emails):
            yield from (PROCESSED for _ in emails)
            raise OSError("can't close")

        with pytest.raises(OSError, match="can't close"):
            run(mark(broken), ["a"])

    def test_a_stop_comes_as_it_was_raised(self, mark):
        def stops(address):
            raise Stop("Blocked", 60)

        with pytest.raises(Stop, match="Blocked"):
            run(mark(one_by_one(stops)), ["a"])


def test_many_outcomes_with_reasons_take_several_turns(monkeypatch):
    monkeypatch.setattr(handing, "MAX_OTHERS", 2)
    calls = []

    def processor(emails):
        calls.append(1)
        yield from (failed(f"is_{each}") for each in emails)

    assert run(once(processor, window=2), "abcde") == [failed(f"is_{each}") for each in "abcde"]
    assert len(calls) == 3


class TestLines:
    """Processors that take addresses one a line, too."""

    def processor(self, said):
        def process(emails):
            return no_b(emails)

        process.of_lines = said
        return process

    def test_that_of_the_check_agrees(self):
        rows = ["ann@example.org", "info@example.org", "nobody"]
        assert run(check.check, rows)[1:] == [risky("role_account"), failed("no_at_sign")]

    def test_it_must_agree(self):
        processor = self.processor(lambda lines: {0: failed("has_a")})
        with pytest.raises(AssertionError, match=r"^email 1, a: of_lines says .*'has_a'.* but the"):
            run(processor, ["a", "c"])

    def test_lines_that_were_not_asked_about(self):
        with pytest.raises(AssertionError, match=r"^of_lines: an outcome for line 7 of 1"):
            run(self.processor(lambda lines: {7: failed("odd")}), ["a"])

    def test_a_reason_that_is_not_allowed(self):
        with pytest.raises(AssertionError, match=r"^of_lines: the reason 'So odd' is not allowed"):
            run(self.processor(lambda lines: {0: failed("So odd")}), ["a"])

    def test_errors_and_stops_come_as_they_were_raised(self):
        def broken(lines):
            raise error

        for error in (LookupError("no such line"), Stop("Blocked")):
            with pytest.raises(type(error), match=str(error)):
                run(self.processor(broken), ["a"])


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"Name": "Ann"}, r'^row 1 has no address; that of a mapping is under "email"$'),
        ((7, {}), "^row 1 has no address"),
        ({"email": "a", "Age": 7}, "^row 1 has a cell 'Age' that is no text: 7$"),
    ],
)
def test_rows_of_another_form_are_refused(row, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(no_b, [row])


@takes_columns("Name")
@configured(Option("days", int), Option("list", default="news", per_batch=True))
def add(options):
    return per_item(lambda item: answered(**options | item.options | item.cells))


def test_a_function_that_makes_a_processor_is_called_as_by_a_worker():
    rows = [{"email": "a@x.de", "Name": "Ann"}]
    chosen = {"list": "trial"}
    (outcome,) = run(add, rows, section={"days": "3"}, options=chosen)
    assert outcome.answers == {"days": "3", "list": "trial", "Name": "Ann"}
    with pytest.raises(ProcessorError, match=r"\[add\] days must be given"):
        run(add, rows)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"lists": "news"}, "lists is no option that can be set for a batch; the options are list"),
        ({"days": "3"}, "days is no option that can be set for a batch"),
        ({"list": 7}, "list must be a text, not 7"),
    ],
)
def test_options_that_an_upload_could_not_choose_are_refused(chosen, why):
    with pytest.raises(OptionError, match=why):
        run(add, ["a@x.de"], section={"days": "3"}, options=chosen)


def test_options_may_be_texts_as_in_an_upload():
    def tell(options):
        return per_item(lambda item: answered(**item.options))

    made = configured(Option("loud", bool, False, per_batch=True))(tell)
    (outcome,) = run(made, ["a@x.de"], options={"loud": "yes"})
    assert outcome.answers == {"loud": "true"}


def test_a_function_without_a_decorator_is_named():
    with pytest.raises(AssertionError, match=r"^email 1, a@x\.de: .*:staff returned None"):
        run(staff, ["a@x.de"])


def staff(address):
    return None


def test_a_processor_that_no_worker_would_load_is_refused():
    with pytest.raises(ProcessorError, match="its function gets only addresses"):
        run(takes_columns("Name")(one_by_one(str)), ["a"])


def test_an_object_may_be_a_processor():
    class Processor(SimpleNamespace):
        takes_items = True

        def __call__(self, items):
            return (failed(f"round_{each.round}") for each in items)

    assert run(Processor(), ["a"], round=3) == [failed("round_3")]


@pytest.mark.parametrize("mark", [lambda each: each, once])
class TestWindows:
    """Functions that answer for several items by key."""

    def test_each_key_has_its_answer(self, mark):
        rows = ["a", "b", "c"]
        ask = in_windows(2)(lambda items: {each.key: f"is_{each.address}" for each in items})
        assert run(mark(ask), rows) == [failed(f"is_{each}") for each in rows]

    def test_a_key_left_out(self, mark):
        with pytest.raises(AssertionError, match=r"^email 1, a: 1 of 2 items left out, as b1-e1-"):
            run(mark(in_windows(2)(lambda items: {items[1].key: None})), ["a", "b"])

    def test_a_key_that_was_not_asked_about(self, mark):
        ask = in_windows(2)(lambda items: {"b9-e9-r1": None, items[0].key: None})
        with pytest.raises(AssertionError, match=r"^email 1, a: an answer for a key that wasn't"):
            run(mark(ask), ["a"])


def test_an_error_of_a_window_is_raised_although_its_items_alone_work():
    def ask(items):
        if len(items) > 1:
            raise LookupError("only one at a time")
        return {items[0].key: None}

    with pytest.raises(LookupError, match="only one at a time") as raised:
        run(in_windows(2)(ask), ["a", "b"])
    assert raised.value.__notes__ == ["raised for 2 items at once, but for none of them alone"]
