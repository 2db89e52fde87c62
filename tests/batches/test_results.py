"""The uploaded file with what came of each row, and JSON lines."""

import csv
import io
import json
import tracemalloc

import pytest

from batches import intake, results
from batches.filters import Filter
from harness.books import query
from harness.results import (
    ADDED,
    NO_AT_SIGN,
    NOTHING,
    OK,
    results_of,
    stored,
    table,
    workbook_of,
)
from tabular import text as text_module

FILE = (
    "Name;E-Mail;Town\r\n"
    "Anna;anna@x.de;Köln\r\n"
    "\r\n"
    '"Roe; R.";roe;"Bad\r\nTölz"\r\n'
    "Anna again;ANNA@x.de;\r\n"
    "Nobody;;Bonn\r\n"
    "Last;last@GMIAL.com\r\n"
)


def test_is_the_own_file_with_the_answers_beside_it(site):
    marked = [(2, "failed", "no_at_sign"), (3, "processed", "likely_typo")]
    batch_id = stored(FILE.encode("cp1252"), marked=marked)
    assert results_of(site, batch_id, ";") == [
        ["Name", "E-Mail", "Town", *ADDED],
        ["Anna", "anna@x.de", "Köln", *OK, "anna@x.de", "false"],
        ["", "", "", *NOTHING],
        ["Roe; R.", "roe", "Bad\nTölz", *NO_AT_SIGN],
        ["Anna again", "ANNA@x.de", "",
         "duplicate", "", "", "This address is on line 2 already.", "", "", ""],
        ["Nobody", "", "Bonn", "without_address", "", "", "This row has no address.", "", "", ""],
        ["Last", "last@GMIAL.com", "", "processed", "risky", "likely_typo",
         "The domain is probably mistyped.", "last@gmail.com", "last@gmial.com", "false"],
    ]  # fmt: skip


def test_a_file_without_header_gets_one(site):
    batch_id = stored(b"1,a@x.de\n2,b@x.de\n")
    assert results_of(site, batch_id) == [
        ["column 1", "email", *ADDED],
        ["1", "a@x.de", *OK, "a@x.de", "false"],
        ["2", "b@x.de", *OK, "b@x.de", "false"],
    ]


def test_rows_longer_than_the_header_keep_their_cells(site):
    batch_id = stored(b"email\na@x.de\n" + b"b@x.de\n" * 300 + b"c@x.de,more,and more\n")
    rows = results_of(site, batch_id)
    assert rows[0] == ["email", "", "", *ADDED]
    assert rows[1][:3] == ["a@x.de", "", ""]
    assert rows[-1] == ["c@x.de", "more", "and more", *OK, "c@x.de", "false"]


def test_json_lines(site):
    batch_id = stored(FILE.encode(), marked=[(2, "failed", "no_at_sign")])
    response = site.get(f"/api/batches/{batch_id}/results.jsonl")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    emails = [json.loads(line) for line in response.body.splitlines()]
    assert emails == site.get(f"/api/batches/{batch_id}/emails").json["emails"]
    assert [(email["line"], email["email"]) for email in emails] == [
        (2, "anna@x.de"), (4, "roe"), (8, "last@GMIAL.com"),
    ]  # fmt: skip


def test_what_cannot_be_seen_in_an_address_is_named_everywhere(site):
    invisible = [(1, "failed", "invisible_characters"), (2, "failed", "invisible_characters")]
    batch_id = stored("an\u202ena@x.de\nb\u2066ö\u00adb@x.de\n".encode(), marked=invisible)
    expected = [
        "There are invisible characters in the address: U+202E.",
        "There are invisible characters in the address: U+2066, U+00AD.",
    ]
    assert [row[4] for row in results_of(site, batch_id)[1:]] == expected
    emails = site.get(f"/api/batches/{batch_id}/emails").json["emails"]
    assert [email["explanation"] for email in emails] == expected
    page = site.get(f"/batches/{batch_id}").body.decode()
    assert all(explanation in page for explanation in expected)


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "＝1+1", "=cmd@x.de"]


def test_formulas_are_defused_and_numbers_left_alone(site):
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerows(
        [["email", "=note"], *([f"u{n}@x.de", note] for n, note in enumerate(FORMULAS))]
    )
    writer.writerows([["=a@x.de", "-5"], ["+b@x.de", "+4.50"], ["c@x.de", "hi;=1\n@x"]])
    batch_id = stored(rows.getvalue().encode())
    found = results_of(site, batch_id)
    assert found[0][1] == "'=note"
    assert [row[1] for row in found[1:]] == [
        *(f"'{note}" for note in FORMULAS), "-5", "+4.50", "hi;'=1\n'@x",
    ]  # fmt: skip
    assert [row[0] for row in found[-3:]] == ["'=a@x.de", "'+b@x.de", "c@x.de"]
    assert [row[-2] for row in found[-3:]] == ["'=a@x.de", "'+b@x.de", "c@x.de"]


def test_what_somebody_wrote_behind_a_row_is_still_there_when_it_comes_back_again(site):
    batch_id = stored(b"email,name\na@x.de,Anna\nb@x.de,Bob\n")
    content = site.get(f"/api/batches/{batch_id}/results.csv").body.decode("utf-8-sig")
    batch_id = stored(f"{content.rstrip()},a note,another\nc@x.de\n".encode())
    rows = table(site.get(f"/api/batches/{batch_id}/results.csv"))
    assert rows[0] == ["email", "name", "", "", *ADDED]
    assert [row[:4] for row in rows[1:]] == [
        ["a@x.de", "Anna", "", ""],
        ["b@x.de", "Bob", "a note", "another"],
        ["c@x.de", "", "", ""],
    ]
    assert {len(row) for row in rows} == {11}


@pytest.mark.parametrize("own", ["note", "free_provider"])
def test_results_of_before_a_column_was_added_are_replaced_and_the_files_own_columns_stay(
    site, own
):
    names = ["email", own, "status", "verdict", "reason", "explanation", "suggestion", "normalized"]
    row = "a@gmail.com,mine,processed,unknown,dns_error,It is not known.,,a@gmail.com"
    batch_id = stored(f"{','.join(names)}\n{row}\n".encode())
    assert results_of(site, batch_id) == [
        ["email", own, *ADDED],
        ["a@gmail.com", "mine", *OK, "a@gmail.com", "true"],
    ]


def test_uploading_it_again_gives_the_same(site):
    content = b"email,note\n=a@x.de,=1+1\nb,\nc@x.de,x\n,none\nc@x.de,twice\n"
    marked = [(2, "failed", "no_at_sign")]
    first = site.get(f"/api/batches/{stored(content, marked=marked)}/results.csv")
    again = stored(first.body, marked=marked)
    assert query("SELECT email FROM email WHERE batch_id = %s ORDER BY id", again) == [
        ("=a@x.de",), ("b",), ("c@x.de",),
    ]  # fmt: skip
    assert table(site.get(f"/api/batches/{again}/results.csv"))[0] == ["email", "note", *ADDED]
    second = site.get(f"/api/batches/{again}/results.csv")
    third = stored(second.body, marked=marked)
    assert site.get(f"/api/batches/{third}/results.csv").body == second.body


def test_the_whole_is_streamed_in_pieces(site, monkeypatch):
    monkeypatch.setattr(results, "PAGE", 7)
    monkeypatch.setattr(text_module, "BLOCK", 100)
    rows = [f"user{number % 90}@x.de" for number in range(100)]
    batch_id = stored("\n".join(["email", *rows]).encode())
    found = results_of(site, batch_id)
    assert [row[0] for row in found[1:]] == rows
    assert [row[1] for row in found[1:]] == ["processed"] * 90 + ["duplicate"] * 10


def test_downloads_of_wide_files_take_little_memory(database):
    batch_id = stored(b"email,n\n" + b"a@x.de,1\n" * 4000 + b"b@x.de" + b"," * 16_000 + b"\n")
    batch = intake.Batch.get_by_id(batch_id)
    assert batch.format["columns"] == 16_001
    # As wide as before there was a limit.
    batch.format["columns"] = 200_001
    tracemalloc.start()
    try:
        downloads = [results.csv_pieces(batch, Filter()) for _ in range(20)]
        for _ in range(10):
            assert max(len(next(download)) for download in downloads) < 500_000
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()
        for download in downloads:
            download.close()


def test_pieces_of_json_lines_have_few_long_addresses(database):
    addresses = [f"user{number}@{'x' * 100_000}.de" for number in range(40)]
    batch = intake.Batch.get_by_id(stored("\n".join(addresses).encode()))
    pieces = list(results.jsonl_pieces(batch, Filter()))
    assert max(map(len, pieces)) < 2_000_000
    lines = b"".join(pieces).splitlines()
    assert [json.loads(line)["email"] for line in lines] == addresses


def test_a_download_breaks_off_when_its_batch_is_deleted(database, monkeypatch):
    monkeypatch.setattr(results, "PAGE", 10)
    batch_id = stored("".join(f"user{number}@x.de\n" for number in range(100)).encode())
    batch = intake.Batch.get_by_id(batch_id)
    pieces = results.jsonl_pieces(batch, Filter())
    next(pieces)
    query("UPDATE batch SET deleted_at = now() WHERE id = %s RETURNING 1", batch_id)
    with pytest.raises(results.IncompleteError, match="has been deleted"):
        list(pieces)
    with pytest.raises(results.IncompleteError, match="has been deleted"):
        list(results.csv_pieces(batch, Filter()))


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a@x.de\nb\nc@x.de\n", 7, "3 of its emails"),
        (b'a@x.de\nb\n"c@x.de\n"\nd@x.de\n', 4, "are not where they were"),
    ],
)
def test_a_file_that_is_not_what_was_counted_is_not_passed_off_as_whole(
    database, content, line, message
):
    batch = intake.Batch.get_by_id(stored(content, marked=[(2, "failed", "no_at_sign")]))
    query("UPDATE email SET row_number = %s WHERE id = 2 RETURNING 1", line)
    with pytest.raises(results.IncompleteError, match=message):
        list(results.csv_pieces(batch, Filter()))


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"email\na@x.de\nroe\n\x1a", 2),
        (b"a@x.de,1\r\nroe,2\r\n\x1a", 2),
        ("\ufeffemail\na@x.de\nroe\x1a".encode("utf-16-le"), 2),
        (b"a@x.de, b@x.de\nc@x.de\n\x1a", 2),
    ],
)
def test_a_ctrl_z_at_the_end_is_no_row_here_either(site, content, rows):
    batch_id = stored(content)
    counts = site.get(f"/api/batches/{batch_id}").json["rows"]
    emails = rows + counts["furtherAddresses"]
    assert counts == {"total": rows, "emails": emails, "duplicates": 0, "blank": 0,
                      "withoutAddress": 0, "furtherAddresses": emails - rows,
                      "withOtherAddresses": 0}  # fmt: skip
    found = results_of(site, batch_id)
    assert len(found) == emails + 1
    assert "\x1a" not in str(found)


def test_a_row_with_several_addresses_comes_back_once_for_each(site):
    content = (
        b"name,email,note\n"
        b'Anna,"anna@x.de; ANNA@x.de",1\n'
        b"Bob,<bob@x.de>,2\n"
        b'Cleo,"cleo@x.de, anna@x.de, dora","3,4"\n'
        b"Eve,,5\n"
    )
    batch_id = stored(content, marked=[(4, "failed", "no_at_sign")])
    repeated = "This address is on line 2 already."
    assert results_of(site, batch_id) == [
        ["name", "email", "note", *ADDED],
        ["Anna", "anna@x.de", "1", *OK, "anna@x.de", "false"],
        ["Anna", "ANNA@x.de", "1", "duplicate", "", "", repeated, "", "", ""],
        ["Bob", "<bob@x.de>", "2", *OK, "bob@x.de", "false"],
        ["Cleo", "cleo@x.de", "3,4", *OK, "cleo@x.de", "false"],
        ["Cleo", "anna@x.de", "3,4", "duplicate", "", "", repeated, "", "", ""],
        ["Cleo", "dora", "3,4", *NO_AT_SIGN],
        ["Eve", "", "5", "without_address", "", "", "This row has no address.", "", "", ""],
    ]  # fmt: skip
    assert [row[1] for row in results_of(site, batch_id, query_string="?only=ok")] == [
        "email", "anna@x.de", "<bob@x.de>", "cleo@x.de"
    ]  # fmt: skip


def test_a_list_of_recipients_comes_back_as_a_table(site, monkeypatch):
    monkeypatch.setattr(text_module, "BLOCK", 30)
    content = b"Anna <anna@x.de>; Bob <bob@x.de>;\n\nanna@x.de, cleo@x.de, dora@x.de, eve@x.de"
    batch_id = stored(content, "to.txt")
    assert [row[:2] for row in results_of(site, batch_id)] == [
        ["email", "status"],
        *(["anna@x.de", "processed"], ["bob@x.de", "processed"], ["", ""]),
        *(["anna@x.de", "duplicate"], ["cleo@x.de", "processed"], ["dora@x.de", "processed"]),
        ["eve@x.de", "processed"],
    ]


def test_a_workbook_has_the_same_rows_and_its_texts_stay_texts(site):
    content = b"PLZ;E-Mail;Formel\n01067;anna@x.de;=1+1\n\n-5;roe;_x0041_ & <b>\x0b\n;;2024-02-29\n"
    batch_id = stored(content, marked=[(2, "failed", "no_at_sign")])
    assert workbook_of(site, batch_id) == [
        ["PLZ", "E-Mail", "Formel", *ADDED],
        ["01067", "anna@x.de", "=1+1", *OK, "anna@x.de", "false"],
        [],
        ["-5", "roe", "_x0041_ & <b>\x0b", *NO_AT_SIGN],
        ["", "", "2024-02-29", "without_address", "", "", "This row has no address.", "", "", ""],
    ]
    assert [row[0] for row in workbook_of(site, batch_id, "?only=failed")] == ["PLZ", "-5"]
