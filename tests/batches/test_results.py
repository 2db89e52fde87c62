"""The uploaded file with what came of each row, and JSON lines."""

import csv
import io
import json
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Event
from urllib.parse import unquote
from zipfile import ZipFile

import pytest

from batches import intake, results
from batches.filters import Filter
from harness.batches import take_turns
from harness.books import query
from harness.polling import eventually
from harness.site import problem
from tabular import text as text_module
from tabular.workbooks import workbook
from web.streams import Slots, Streams

ADDED = ["status", "verdict", "reason", "explanation", "suggestion", "normalized", "free_provider"]
NOTHING = [""] * 7
OK = ["processed", "ok", "", "", ""]
NO_AT_SIGN = ["failed", "invalid", "no_at_sign", "There is no @-sign.", "", "", "false"]


XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def stored(content, filename="people.csv", marked=(), chunk_size=2, **overrides):
    """A completed batch of this file; `marked` holds (id, status, reason)."""
    batch = intake.store(
        BytesIO(content), filename, chunk_size=chunk_size, max_rows=10**6, **overrides
    )
    take_turns(batch.id, list(marked))
    return batch.id


def table(response, delimiter=","):
    """The rows of a CSV download, which Excel must take for UTF-8."""
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.body.startswith(b"\xef\xbb\xbf")
    text = response.body.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def results_of(site, batch_id, delimiter=",", query_string=""):
    return table(site.get(f"/api/batches/{batch_id}/results.csv{query_string}"), delimiter)


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


MIXED = (
    "Members of 2024;\n"
    ";\n"
    "Name;E-Mail\n"
    "Anna;anna@x.de\n"
    "Bob;bob\n"
    "Cleo;Cleo@x.de, anna@x.de, cléo@x.de\n"
    "Dora;\n"
    ";\n"
    "Eve;eve@y.de\n"
    "Flo;ANNA@x.de\n"
    "Gil;gil@y.de\n"
)
OF_MIXED = [
    (2, "failed", "no_at_sign"),
    (3, "processed", "role_account"),
    (4, "processed", "dns_timeout"),
    (5, "processed", "good"),
]


def test_what_a_list_shows_by_a_filter_can_be_downloaded(site, monkeypatch):
    monkeypatch.setattr(text_module, "BLOCK", 40)
    monkeypatch.setattr(results, "PAGE", 2)
    monkeypatch.setattr(results, "MARKED_PAGE", 2)
    batch_id = stored(MIXED.encode(), marked=OF_MIXED)
    for filtered, names in {
        "": ["Members of 2024", "", "Anna", "Bob", "Cleo", "Cleo", "Cleo", "Dora", "", "Eve",
             "Flo", "Gil"],
        "verdict=ok": ["Anna", "Gil"],
        "verdict=unknown": ["Cleo"],
        "verdict=risky": ["Cleo", "Eve"],
        "status=failed": ["Bob"],
        "status=processed": ["Anna", "Cleo", "Cleo", "Eve", "Gil"],
        "status=pending": [],
        "reason=good": ["Eve"],
        "q=%C3%A9O@X": ["Cleo"],
        "q=y.de": ["Eve", "Gil"],
        "q=y.de&verdict=ok": ["Gil"],
        "kind=duplicate": ["Cleo", "Flo"],
        "kind=blank": ["", ""],
        "kind=without_address": ["Members of 2024", "Dora"],
        "kind=skipped": ["Members of 2024", "", "Cleo", "Dora", "", "Flo"],
        "only=ok": ["Anna", "Gil"],
        "only=failed": ["Bob"],
        "only=skipped": ["Members of 2024", "", "Cleo", "Dora", "", "Flo"],
        "only=good": ["Eve"],  # a reason of this batch
        "only=processed&q=y.de": ["Eve", "Gil"],
    }.items():  # fmt: skip
        rows = results_of(site, batch_id, ";", f"?{filtered}")
        header = rows.index(["Name", "E-Mail", *ADDED])
        assert [row[0] for row in rows if row[0] != "Name"] == names, filtered
        assert {row[1] for row in rows[:header]} <= {""}
        lines = site.get(f"/api/batches/{batch_id}/results.jsonl?{filtered}").body.splitlines()
        found = [json.loads(line) for line in lines]
        if filtered.startswith("only"):
            assert len(found) == len(names)
            continue
        kind = "rows" if "kind" in filtered else "emails"
        assert found == site.get(f"/api/batches/{batch_id}/{kind}?{filtered}").json[kind], filtered
        book = workbook_of(site, batch_id, f"?{filtered}")
        full = [[*row, *[""] * (8 - len(row))] for row in book if row]
        assert full == [row for row in rows if any(row)]


@pytest.mark.parametrize(
    ("filtered", "header"),
    [("", 3), ("kind=without_address", 2), ("kind=skipped", 3), ("only=ok", 1), ("kind=blank", 2)],
)
def test_the_header_of_a_workbook_stays_in_view_wherever_it_is(site, filtered, header):
    batch_id = stored(MIXED.encode(), marked=OF_MIXED)
    body = site.get(f"/api/batches/{batch_id}/results.xlsx?{filtered}").body
    with ZipFile(BytesIO(body)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert f'ySplit="{header}"' in sheet
    bold = re.search(r'<row r="(\d+)"><c s="1" t="inlineStr"><is><t xml:space="preserve">Na', sheet)
    assert int(bold[1]) == header


REFUSED = [
    ("only=good", "only must be one of ok, risky, unknown, invalid, pending, processed, failed,"),
    ("only=Failed", "skipped, duplicate, without_address, blank, or a reason, such as no_at_sign."),
    ("verdict=good", "verdict must be one of ok, risky, unknown, invalid."),
    ("status=completed", "status must be one of pending, processed, failed."),
    ("reason=Not%20one", "reason must be the code of a reason, such as no_at_sign."),
    ("kind=email", "kind must be one of skipped, duplicate, without_address, blank."),
    ("kind=blank&q=a", "kind must come without q, verdict, reason and status if it names rows"),
    ("only=blank&q=a", "only must come without q, verdict, reason and status if it names rows"),
    ("only=ok&verdict=ok", "only must come without verdict, reason, status and kind."),
    ("only=ok&kind=blank", "only must come without verdict, reason, status and kind."),
]


def test_a_filter_that_is_none_is_refused_by_a_sentence_with_the_right_ones(site):
    batch_id = stored(b"a@x.de\n")
    for filtered, said in REFUSED:
        for ending in ("csv", "jsonl", "xlsx"):
            answer = site.get(f"/api/batches/{batch_id}/results.{ending}?{filtered}")
            document = problem(answer, 400, "bad_parameter")
            assert said in document["detail"]
            assert document["parameter"] == filtered.partition("=")[0]


def test_what_is_not_there_cannot_be_asked_for(site):
    problem(site.get("/api/batches/99/results.csv"), 404, "batch_not_found")


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


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("people.csv", "attachment; filename=\"people.results.csv\";"
         " filename*=UTF-8''people.results.csv"),
        ("Käse \"1\".xlsx.txt", "attachment; filename=\"K_se _1_.xlsx.results.csv\";"
         " filename*=UTF-8''K%C3%A4se%20%221%22.xlsx.results.csv"),
    ],
)  # fmt: skip
def test_the_name_to_save_it_by(site, filename, header):
    response = site.get(f"/api/batches/{stored(b'a@x.de', filename)}/results.csv")
    assert response.headers["Content-Disposition"] == header


def test_the_name_tells_the_filter(site):
    batch_id = stored(b"a@x.de")
    for filtered, part in {
        "only=failed": "failed",
        "kind=skipped": "skipped",
        "verdict=unknown&reason=dns_timeout": "unknown.dns_timeout",
        "reason=likely_typo&q=@gmial.com": "likely_typo.@gmial.com",
        "q=../%22a%0Db%5C": "..__a_b_",
        "q=%E2%80%AEgpj": "_gpj",  # would turn the rest of the name around
    }.items():
        headers = site.get(f"/api/batches/{batch_id}/results.jsonl?{filtered}").headers
        assert unquote(headers["Content-Disposition"].rpartition("'")[2]) == f"people.{part}.jsonl"


def test_results_of_a_running_batch_are_called_partial(site):
    batch = intake.store(BytesIO(b"a@x.de\nb@x.de\n"), "people.csv", chunk_size=1, max_rows=10)
    response = site.get(f"/api/batches/{batch.id}/results.csv")
    assert 'filename="people.results.partial.csv"' in response.headers["Content-Disposition"]
    assert [row[1] for row in table(response)] == ["status", "pending", "pending"]


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
    ("path", "table"),
    [
        ("results.jsonl", "email"),
        ("results.csv", "email"),
        ("results.csv", "file_piece"),
        ("results.jsonl?only=failed", "email"),
    ],
)
def test_of_a_batch_that_is_deleted_before_the_first_piece_nothing_is_found(
    site, elsewhere, monkeypatch, path, table
):
    monkeypatch.setattr(results, "PAGE", 2)  # of which the first has nothing that failed
    batch_id = stored(b"email\na@x.de\nb@x.de\nc@x.de\nd", marked=[(4, "failed", "no_at_sign")])
    elsewhere.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(site.get, f"/api/batches/{batch_id}/{path}")
        eventually(lambda: query("SELECT FROM pg_locks WHERE NOT granted"))
        elsewhere.execute(f"DELETE FROM {table}; UPDATE batch SET deleted_at = now(); COMMIT")
        problem(answer.result(30), 404, "batch_not_found")


def test_a_download_has_no_empty_pieces_and_may_have_none(database):
    streams = Streams(None, Slots(1, 1), Event())
    assert list(streams.hold(iter([b"", b"a", b"", b"b"]), "a")) == [b"a", b"b"]
    assert list(streams.hold(iter([b"", b""]), "a")) == [b""]


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


def test_downloads_take_a_slot_of_the_streams_and_give_it_back(database):
    streams = Streams(None, Slots(1, 1), None)
    download = streams.hold(iter([b"a", b"b"]), "a")
    assert next(download) == b"a"
    with pytest.raises(Exception, match="All streams and downloads are in use") as refused:
        streams.hold(iter([b"c"]), "b")
    assert refused.value.status_code == 503
    download.close()
    with pytest.raises(ValueError, match="broken"):
        streams.hold(iter(_broken()), "a")
    assert next(streams.hold(iter([b"c"]), "a")) == b"c"


def _broken():
    raise ValueError("broken")
    yield b""


def test_a_batch_whose_file_was_not_kept_has_json_lines_still(site):
    batch_id = stored(b"a@x.de\n")
    query("UPDATE batch SET format = NULL RETURNING 1")
    problem(site.get(f"/api/batches/{batch_id}/results.csv"), 404, "file_not_kept")
    assert site.get(f"/api/batches/{batch_id}/results.jsonl").status == 200


def workbook_of(site, batch_id, query_string=""):
    """The rows of the workbook that is downloaded, as a spreadsheet reads them."""
    answer = site.get(f"/api/batches/{batch_id}/results.xlsx{query_string}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, XLSX)
    return [cells for _, cells in workbook.read(BytesIO(answer.body)).rows]


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


def test_what_does_not_fit_a_sheet_is_refused_with_what_to_take(site):
    batch_id = stored(b"a@x.de\n")
    query("UPDATE batch SET total_rows = 1048576, blank_rows = 1048575 RETURNING 1")
    answer = site.get(f"/api/batches/{batch_id}/results.xlsx")
    document = problem(answer, 409, "too_large_for_workbook")
    assert "results.csv" in document["detail"]
