"""What a processor answers besides an outcome comes back with the email, in all forms."""

import csv
import io
import json
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batches import changes, commits, finishing, result_rows, results
from batches.commits import MAX_ANSWER_NAMES
from batches.filters import Filter
from batches.journal import Journal
from batches.queries import find_emails
from harness.batches import claim_next, completed, start, store, take_turns
from harness.books import assert_books_balance, query
from harness.polling import in_threads
from harness.results import ADDED, OK, results_of, stored, workbook_of
from models import Batch
from postgres.database import own_transactions, pool, session
from processors import Findings, Outcome, failed, later
from tabular import text as text_module
from tabular.formulas import undefused

CRM = {"customer": "17", "since": "2019"}


def answers_of(batch_id):
    """Return the answers of each email by its id, and the names that the batch has."""
    rows = query("SELECT id, answers FROM email WHERE batch_id = %s ORDER BY id", batch_id)
    ((names,),) = query("SELECT answers FROM batch WHERE id = %s", batch_id)
    return dict(rows), names


def read(pieces):
    text = b"".join(pieces).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_they_are_kept_with_their_emails_and_the_names_with_the_batch(database):
    batch_id = completed([
        (1, "processed", None, CRM),
        (4, "processed", "dns_timeout", {"customer": "4"}),
        (5, "failed", "too_long", {"why": "x"}),
        (6, "failed", "too_long"),
    ])  # fmt: skip
    given, names = answers_of(batch_id)
    assert {number: answers for number, answers in given.items() if answers is not None} == {
        1: CRM, 4: {"customer": "4"}, 5: {"why": "x"},
    }  # fmt: skip
    assert names == ["customer", "since", "why"]
    assert_books_balance()


def test_a_turn_without_any_writes_none(database, monkeypatch):
    sent = []
    execute = pool.execute_sql
    monkeypatch.setattr(
        pool, "execute_sql", lambda sql, *more: (sent.append(sql), execute(sql, *more))[1]
    )
    completed()
    assert not [sql for sql in sent if "SET" in sql and "answers" in sql]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_many_emails_are_written_in_pieces(database, monkeypatch, at_once):
    monkeypatch.setattr(commits, "ANSWERS_AT_ONCE", at_once)
    marked = [(n, "processed", None, {"n": str(n)}) for n in (2, 3, 7, 10)]
    batch_id = completed([(1, "failed", "odd"), *marked, (9, "failed", "odd")], chunk_size=10)
    given, names = answers_of(batch_id)
    assert given == {n: {"n": str(n)} if n in (2, 3, 7, 10) else None for n in range(1, 11)}
    assert names == ["n"]
    assert_books_balance()


def test_a_batch_has_the_names_that_came_first_up_to_a_most(database):
    def outcome(email_id):
        names = range(10 * (email_id - 1), 10 * email_id)
        return email_id, "processed", None, {f"name {n}": str(n) for n in names} | {"all": ""}

    batch_id = completed([outcome(number) for number in range(1, 7)], chunk_size=2)
    given, names = answers_of(batch_id)
    assert len(given[6]) == 11
    assert names == [f"name {n}" for n in range(10)] + ["all"] + [
        f"name {n}" for n in range(10, 49)
    ]
    assert len(names) == MAX_ANSWER_NAMES
    assert_books_balance()


@pytest.mark.parametrize("which", ["failed", "reason"])
def test_a_retry_takes_them_away_from_what_it_requeues(database, which):
    marked = [
        (1, "failed", "odd", CRM),
        (2, "processed", None, CRM),
        (3, "failed", "other", CRM if which == "reason" else None),
    ]
    batch_id = completed(marked)
    with session():
        changes.retry(batch_id, which, ["odd"], lambda: None)
    given, _ = answers_of(batch_id)
    assert [number for number, answers in given.items() if answers] == (
        [2, 3] if which == "reason" else [2]
    )
    assert_books_balance()
    take_turns(batch_id, [(1, "failed", "odd")])
    assert answers_of(batch_id)[0][1] is None
    assert_books_balance()


def test_a_later_round_may_have_some(database):
    batch_id = store("a@x.de", "b@x.de", "c@x.de").batch_id
    start(batch_id)
    for others in (
        [(0, Outcome("processed", None, CRM)), (1, later("dns_timeout", 1)), (2, failed("odd"))],
        [(0, Outcome("processed", "risk", {"b": "2"}))],
    ):
        with session(), pool.atomic():
            claim = claim_next(batch_id)
            commits.commit_outcomes(claim, Findings(len(claim.ids), others))
        with session():
            pool.execute_sql("UPDATE chunk SET due_at = due_at - interval '1 day'")
            pool.execute_sql("UPDATE batch SET next_at = next_at - interval '1 day'")
    given, names = answers_of(batch_id)
    assert given == {1: CRM, 2: {"b": "2"}, 3: None}
    assert names == ["customer", "since", "b"]
    assert query("SELECT status FROM batch") == [("completed",)]


def test_what_was_under_way_when_the_batch_was_cancelled_keeps_them(database):
    batch_id = store("a@x.de", "b@x.de").batch_id
    with session(), own_transactions():
        claim = claim_next(batch_id, numbered=True)
        journal = Journal(claim)
        journal.take_over()
        assert journal.note(2, Findings(1, [(0, Outcome("processed", None, CRM))]))
        in_threads(lambda: changes.cancel(batch_id))
    with session():
        assert finishing.settle(batch_id).processed == 2
    given, names = answers_of(batch_id)
    assert (given, {*names}) == ({1: CRM, 2: None}, {*CRM})
    assert_books_balance()


HOSTILE = {
    "=cmd|' /C calc'!A0": "=1+1",
    'quo"te, and; more': 'a "b", c;d\te|f',
    "שם": "\u202eabc",
    "lines": "one\ntwo\r\nthree\rfour",
    "STATUS": "mine",
    "Name": "again",
    "name": "and again",
    "long": "x" * 499 + "é",
    "number": "-5",
    "phone": "+49 30",
    "empty": "",
}
NAMES = [
    "=cmd|' /C calc'!A0", 'quo"te, and; more', "שם", "lines", "STATUS (2)", "Name (2)",
    "name (3)", "long", "number", "phone", "empty",
]  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_all_forms_of_results_have_them(site, delimiter):
    content = delimiter.join(("Name", "E-Mail")) + "\n"
    content += "".join(f"N{n}{delimiter}u{n}@x.de\n" for n in range(3))
    batch_id = stored(content.encode(), marked=[(2, "processed", None, HOSTILE)])
    rows = results_of(site, batch_id, delimiter)
    header, *bodies = [[*map(undefused, row)] for row in rows]
    assert header == ["Name", "E-Mail", *ADDED, *NAMES]
    nothing = [""] * len(NAMES)
    assert bodies == [
        [
            f"N{n}",
            f"u{n}@x.de",
            *OK,
            f"u{n}@x.de",
            "false",
            *(HOSTILE.values() if n == 1 else nothing),
        ]
        for n in range(3)
    ]
    assert {cell for cell in rows[2][-11:] if cell.startswith("'")} == {"'=1+1", "'+49 30"}
    assert rows[0][9].startswith("'=cmd")
    assert workbook_of(site, batch_id) == [header, *bodies]
    lines = site.get(f"/api/batches/{batch_id}/results.jsonl").body.splitlines()
    emails = [json.loads(line) for line in lines]
    assert [email["answers"] for email in emails] == [None, HOSTILE, None]
    assert [*emails[1]["answers"]] == [*HOSTILE]
    assert site.get(f"/api/batches/{batch_id}/emails").json["emails"] == emails
    assert site.get(f"/api/batches/{batch_id}").json["answers"] == [*HOSTILE]


def test_a_file_without_header_gets_their_names_too(site):
    answers = {"EMAIL": "x", "column 1": "=y", "=z": "1"}
    batch_id = stored(b"1,a@x.de\n2,b@x.de\n", marked=[(1, "failed", "odd", answers)])
    assert results_of(site, batch_id) == [
        ["column 1", "email", *ADDED, "EMAIL (2)", "column 1 (2)", "'=z"],
        ["1", "a@x.de", "failed", "invalid", "odd", "Odd.", "", "a@x.de", "false", "x", "'=y", "1"],
        ["2", "b@x.de", *OK, "b@x.de", "false", "", "", ""],
    ]  # fmt: skip


def test_rows_without_an_email_have_empty_cells(site):
    content = b"email,n\na@x.de,1\n,2\n\nA@x.de,3\n"
    batch_id = stored(content, marked=[(1, "processed", None, CRM)])
    assert [row[-2:] for row in results_of(site, batch_id)] == [
        ["customer", "since"], ["17", "2019"], ["", ""], ["", ""], ["", ""],
    ]  # fmt: skip


def test_results_that_are_uploaded_again_keep_them_as_columns_of_their_own(site):
    answers = CRM | {"=x": "=y"}
    first = stored(b"email\na@x.de\nb@x.de\n", marked=[(2, "processed", None, answers)])
    content = site.get(f"/api/batches/{first}/results.csv").body
    again = stored(content, marked=[(1, "processed", None, {"Customer": "18", "=x": "z"})])
    assert results_of(site, again) == [
        ["email", "customer", "since", "'=x", *ADDED, "Customer (2)", "'=x (2)"],
        ["a@x.de", "", "", "", *OK, "a@x.de", "false", "18", "z"],
        ["b@x.de", "17", "2019", "'=y", *OK, "b@x.de", "false", "", ""],
    ]


def test_they_count_for_the_width_of_a_sheet(site):
    width = 16_384 - len(ADDED)
    content = ("email" + "," * (width - 1) + "\na@x.de\n").encode()
    answered = stored(content, marked=[(1, "processed", None, {"one": "more"})])
    assert site.get(f"/api/batches/{answered}/results.xlsx").status == 409
    assert site.get(f"/api/batches/{answered}/results.csv").status == 200
    assert site.get(f"/api/batches/{stored(content)}/results.xlsx").status == 200


MIXED = [
    ("processed", None, None),
    ("processed", None, {"a": "="}),
    ("processed", "dns_timeout", None),
    ("processed", "dns_timeout", {"a": "1", "b": "2"}),
    ("processed", "likely_typo", {"b": "3"}),
    ("failed", "odd", {"a": ""}),
    ("failed", "odd", None),
]
FILTERS = [
    Filter(),
    *(Filter(verdict=verdict) for verdict in ("ok", "risky", "unknown", "invalid")),
    *(Filter(status=status) for status in ("pending", "processed", "failed")),
    Filter(reason="odd"),
    Filter(kind="skipped"),
    Filter(kind="blank"),
    Filter(containing="1"),
    Filter(status="processed", containing="1"),
]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*MIXED, "blank"]), min_size=1, max_size=30),
    st.booleans(),
    st.sampled_from([1, 4, 500]),
    st.integers(0, 99),
)
@example(MIXED, True, 4, 0)
def test_every_answer_comes_back_in_its_own_row_whatever_the_filter(
    database, outcomes, header, size, seed
):
    lines = [b"" if it == "blank" else b"u%d@x.de,%d" % (n, n) for n, it in enumerate(outcomes)]
    if not any(lines):
        return
    kept = [(n, it) for n, it in enumerate(outcomes) if it != "blank"]
    marked = [(at, *it) for at, (_, it) in enumerate(kept, 1) if it != MIXED[0]]
    content = b"\n".join([*[b"email,n"] * header, *lines]) + b"\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "ANSWERED_PAGE", size)
        patch.setattr(commits, "ANSWERS_AT_ONCE", size)
        patch.setattr(result_rows, "MAX_CELLS", 40)
        patch.setattr(text_module, "BLOCK_ROWS", size)
        patch.setattr(text_module, "BLOCK", 20)
        batch_id = stored(content, marked=marked, chunk_size=random.Random(seed).randint(1, 30))
        with session():
            batch = Batch.get_by_id(batch_id)
            for wanted in FILTERS:
                rows = read(results.csv_pieces(batch, wanted))
                assert rows[0][9:] == batch.answers
                found, _ = find_emails(batch, wanted, limit=100)
                due = [
                    [each.email, *((each.answers or {}).get(name, "") for name in batch.answers)]
                    for each in found
                ]
                cells = [[undefused(cell) for cell in row] for row in rows[1:]]
                if not wanted.kind:
                    assert [[row[0], *row[9:]] for row in cells if row[0]] == due
                    assert [row[0] for row in due] == [
                        f"u{n}@x.de" for n, it in kept if _matches(wanted, n, it)
                    ]
                assert all(not any(row[9:]) for row in rows[1:] if not row[0])


def _matches(wanted, number, outcome):
    return wanted.takes(*outcome[:2]) and wanted.containing in f"u{number}@x.de"
