"""A new batch of a kept file, or of the rows that a filter shows."""

import random
from dataclasses import replace

import pytest

import models
from batches import again, kept_files, results
from batches.filters import Filter
from batches.intake import Upload
from harness.batches import CHECK, take_turns
from harness.books import assert_books_balance, query
from harness.files import workbook
from harness.results import stored, table
from harness.site import problem
from postgres.database import session
from tabular.formats import Format, IntakeError, Overrides

CSV = (
    "Name;E-Mail;Town\r\n"
    "Anna;anna@x.de;Köln\r\n"
    "\r\n"
    '"Roe; R.";roe;"Bad\r\nTölz"\r\n'
    "Anna again;ANNA@x.de;\r\n"
    "Nobody;;Bonn\r\n"
    "Both;one@x.de, anna@x.de two@x.de;Ulm\r\n"
    "Sum;=last@GMIAL.com;=1+1\r\n"
).encode("cp1252")
TITLES = b"People of 2026,\n,\nName,Mail\nAnn,a@x.de\n,none\nBob,b@x.de\n"
LIST = b"a@x.de, b@x.de\n\nc@x.de\nA@x.de; d@x.de\n"
ROWS = [["Name", "Mail"], ["Ann", "a@x.de"], ['Bo "b"; b', "b@x.de, c@x.de"], ["=1+1", "b@x.de"]]
VCARD = (
    b"BEGIN:VCARD\nFN:Ann, A.\nEMAIL:a@x.de\nEMAIL:b@x.de\nEND:VCARD\n"
    b"BEGIN:VCARD\nFN:Bob\nEMAIL:a@x.de\nEND:VCARD\n"
)
HTML = b"<table><tr><th>Name<th>Mail<tr><td>Ann<td>a@x.de<tr><td>B, b<td>b@x.de</table>"
FILES = {
    "cp1252": (CSV, "people.csv", {}),
    "no header": (b"1,a@x.de\n2,b@x.de\n3,A@x.de\n", "people.csv", {}),
    "titles": (TITLES, "people.csv", {}),
    "list": (LIST, "people.txt", {}),
    "not split": (b'email\n"a@x.de, b@x.de"\nc@x.de\n', "people.csv", {"split": False}),
    "chosen": (b"x@x.de|a@x.de\nY|b@x.de\n", "p.csv", {"column": "2", "header": True}),
    "xlsx": (workbook({"Notes": [["no"]], "Members": ROWS}), "people.xlsx", {"sheet": "2"}),
    "vcard": (VCARD, "people.vcf", {}),
    "html": (HTML, "people.html", {}),
}
COUNTS = (
    "total_emails, total_rows, duplicate_rows, rows_without_address, blank_rows,"
    " further_addresses, rows_with_others"
)


def store(content, filename="people.csv", marked=(), **choices):
    batch_id = stored(content, filename, marked, overrides=Overrides(**choices))
    return find(batch_id)


def find(batch_id):
    with session():
        return models.Batch.get_by_id(batch_id)


def repeat(batch, wanted=Filter(), abandoned=lambda: False, **upload):  # noqa: B008
    made = again.store_again(
        batch, wanted, Upload(**upload), chunk_size=2, max_rows=10**6, abandoned=abandoned
    )
    take_turns(made.id, [], replace(CHECK, name=made.processor or CHECK.name))
    assert_books_balance()
    return find(made.id)


def emails(batch):
    return [
        email
        for (email,) in query("SELECT email FROM email WHERE batch_id = %s ORDER BY id", batch.id)
    ]


def content_of(batch):
    with kept_files.open_kept(batch.id) as file:
        return file.read()


def all_of(batch):
    """Everything that reading the file gives."""
    return (
        query("SELECT id, email, row_number FROM email WHERE batch_id = %s ORDER BY id", batch.id),
        query(
            "SELECT row_number, part, kind, first_row, content FROM skipped_row"
            " WHERE batch_id = %s ORDER BY row_number, part",
            batch.id,
        ),
        query(f"SELECT {COUNTS} FROM batch WHERE id = %s", batch.id),
        batch.format,
        content_of(batch),
        batch.filename,
    )


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read_as_it_was(database, name):
    content, filename, choices = FILES[name]
    batch = store(content, filename, **choices)
    made = repeat(batch, by="bob", processor="crm", options={"mode": "add"})
    assert all_of(made) == all_of(batch)
    assert (made.uploaded_by, made.processor, made.options) == ("bob", "crm", {"mode": "add"})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("word", ["processed", "failed", "duplicate"])
def test_rows_that_are_shown_are_all_that_the_new_file_has(database, name, word):
    content, filename, choices = FILES[name]
    batch = store(content, filename, [(2, "failed", "no_at_sign")], **choices)
    wanted = Filter.named(word, ())
    sql = "SELECT email, row_number FROM email WHERE batch_id = %s AND status = %s ORDER BY id"
    if word == "duplicate":
        sql = (
            "SELECT content, row_number FROM skipped_row WHERE batch_id = %s AND kind = %s"
            " ORDER BY row_number, part"
        )
    shown = [email for email, _ in query(sql, batch.id, word)]
    if not shown:
        with pytest.raises(IntakeError, match="None of the rows that the filter shows"):
            repeat(batch, wanted)
        return
    made = repeat(batch, wanted)
    # Addresses that differ in case only are the same, and the first one counts.
    assert emails(made) == [*{email.lower(): email for email in reversed(shown)}.values()][::-1]
    assert made.total_rows == made.total_emails + made.duplicate_rows == len(shown)
    header = Format.from_json(batch.format).header
    assert Format.from_json(made.format).header == header
    # What was read once more is read the same for the third time.
    assert all_of(repeat(made)) == all_of(made)


def test_rows_stay_as_they_were_written(database):
    batch = store(CSV, marked=[(2, "failed", "no_at_sign")])
    assert content_of(repeat(batch, Filter(status="processed"))).decode() == (
        "Name;E-Mail;Town\n"
        "Anna;anna@x.de;Köln\n"
        "Both;one@x.de;Ulm\n"
        "Both;two@x.de;Ulm\n"
        "Sum;=last@GMIAL.com;=1+1\n"
    )
    failed = repeat(batch, Filter(verdict="invalid"))
    assert content_of(failed).decode() == 'Name;E-Mail;Town\n"Roe; R.";roe;"Bad\nTölz"\n'
    assert (emails(failed), failed.filename) == (["roe"], "people.csv")
    duplicates = repeat(batch, Filter(kind="duplicate"))
    assert content_of(duplicates).decode() == (
        "Name;E-Mail;Town\nAnna again;ANNA@x.de;\nBoth;anna@x.de;Ulm\n"
    )
    assert (duplicates.total_emails, duplicates.duplicate_rows) == (1, 1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(verdict="ok"), ["anna@x.de", "two@x.de"]),
        (Filter(verdict="risky"), ["=last@GMIAL.com"]),
        (Filter(verdict="unknown"), ["one@x.de"]),
        (Filter(reason="no_at_sign"), ["roe"]),
        (Filter(status="processed"), ["anna@x.de", "one@x.de", "two@x.de", "=last@GMIAL.com"]),
        (Filter(containing="O"), ["roe", "one@x.de", "two@x.de", "=last@GMIAL.com"]),
        (Filter(containing="gm", verdict="risky"), ["=last@GMIAL.com"]),
        (Filter(kind="skipped"), ["ANNA@x.de"]),
    ],
)
def test_every_filter(database, wanted, expected):
    marked = [
        (2, "failed", "no_at_sign"), (3, "processed", "dns_timeout"),
        (5, "processed", "likely_typo"),
    ]  # fmt: skip
    assert emails(repeat(store(CSV, marked=marked), wanted)) == expected


@pytest.mark.parametrize("kind", ["blank", "without_address"])
def test_rows_without_an_address_make_no_batch(database, kind):
    with pytest.raises(IntakeError, match="Choose another filter") as raised:
        repeat(store(TITLES), Filter(kind=kind))
    assert raised.value.code == "no_address"
    assert query("SELECT count(*) FROM batch") == [(1,)]


def test_titles_come_only_if_they_are_shown(database):
    batch = store(TITLES + b"Ann,A@x.de\n", marked=[(2, "failed", "no_at_sign")])
    assert content_of(repeat(batch, Filter(verdict="ok"))) == b"Name,Mail\nAnn,a@x.de\nBob,b@x.de\n"
    shown = repeat(batch, Filter(kind="skipped"))
    assert content_of(shown).startswith(b"People of 2026,\n,\nName,Mail\n")
    assert (shown.format["header"], shown.format["header_index"]) == (["Name", "Mail"], 2)
    assert emails(shown) == ["A@x.de"]


def test_what_is_no_text_becomes_one_and_its_name_tells(database):
    batch = store(*FILES["xlsx"][:2], sheet="2")
    made = repeat(batch, Filter(verdict="ok"))
    assert made.filename == "people.csv"
    assert (
        content_of(made) == b'Name,Mail\nAnn,a@x.de\n"Bo ""b""; b",b@x.de\n"Bo ""b""; b",c@x.de\n'
    )
    assert repeat(batch).filename == "people.xlsx"
    assert repeat(store(LIST, "pasted.txt"), Filter(verdict="ok")).filename == "pasted.txt"


def test_results_that_were_uploaded_lose_their_columns(site):
    first = store(b"email,note\n=a@x.de,=1+1\nb@x.de,'x\n")
    content = site.get(f"/api/batches/{first.id}/results.csv").body
    batch = store(content)
    made = repeat(batch, Filter(verdict="ok"))
    assert content_of(made) == b"email,note\n=a@x.de,=1+1\nb@x.de,'x\n"
    assert emails(made) == ["=a@x.de", "b@x.de"]
    assert all_of(repeat(batch)) == all_of(batch)


def test_old_batches_keep_their_cells_whole(database):
    batch = store(b"email\n<a@x.de>\nb@x.de\n")
    old = replace(Format.from_json(batch.format), cells="whole", strict=False)
    batch.format = old.to_json()
    for wanted in (Filter(), Filter(status="processed")):
        made = again.store_again(
            batch, wanted, Upload(), chunk_size=2, max_rows=9, abandoned=lambda: False
        )
        assert emails(made) == ["<a@x.de>", "b@x.de"]
        assert find(made.id).format["cells"] == "whole"


def test_a_large_file(database):
    """A file of several pieces can't be read from the database while its emails are stored."""
    notes = random.Random(7)
    content = "".join(f"u{n}@x.de,{notes.randbytes(60).hex()}\n" for n in range(20_000)).encode()
    assert len(content) > 2 * kept_files.PIECE
    batch = find(stored(content, chunk_size=5000))
    again_all = again.store_again(
        batch, Filter(), Upload(), chunk_size=5000, max_rows=10**6, abandoned=lambda: False
    )
    assert all_of(again_all)[0] == all_of(batch)[0]
    some = again.store_again(
        batch,
        Filter(verdict="ok"),
        Upload(),
        chunk_size=5000,
        max_rows=10**6,
        abandoned=lambda: False,
    )
    assert content_of(some) == content


def test_nothing_is_stored_for_a_client_that_has_gone(database):
    for wanted in (Filter(), Filter(verdict="ok")):
        with pytest.raises(IntakeError) as raised:
            repeat(store(CSV), wanted, abandoned=lambda: True)
        assert raised.value.code == "abandoned"


def test_a_file_that_is_not_there_any_more(database):
    batch = store(CSV)
    query("UPDATE batch SET deleted_at = now() WHERE id = %s RETURNING 1", batch.id)
    with pytest.raises(results.IncompleteError):
        repeat(batch, Filter(verdict="ok"))
    query("DELETE FROM file_piece WHERE batch_id = %s RETURNING 1", batch.id)
    with pytest.raises(FileNotFoundError):
        repeat(batch)
    batch.format = None
    with pytest.raises(results.FileNotKeptError):
        repeat(batch)


def test_through_the_api(site):
    batch = store(CSV, marked=[(2, "failed", "no_at_sign")])
    path = f"/api/batches/{batch.id}/again"
    answer = site.request("POST", f"{path}?only=no_at_sign")
    assert answer.status == 201
    assert (answer.json["totalEmails"], answer.json["rows"]["total"]) == (1, 1)
    rows = table(site.get(f"/api/batches/{answer.json['batchId']}/results.csv"), ";")
    assert [row[:3] for row in rows] == [
        ["Name", "E-Mail", "Town"],
        ["Roe; R.", "roe", "Bad\nTölz"],
    ]
    answer = site.request("POST", f"{path}?q=one")
    assert (answer.status, answer.json["totalEmails"]) == (201, 1)
    answer = site.request("POST", path)
    assert answer.json["rows"] == site.get(f"/api/batches/{batch.id}").json["rows"]
    problem(site.request("POST", f"{path}?only=blank"), 422, "no_address")
    problem(site.request("POST", f"{path}?only=risky"), 422, "no_address")
