"""Downloads of results: what is chosen, refused and named, and how they are sent."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Event
from urllib.parse import unquote
from zipfile import ZipFile

import pytest

from batches import intake, results
from harness.books import query
from harness.polling import eventually
from harness.results import ADDED, results_of, stored, table, workbook_of
from harness.site import problem
from tabular import text as text_module
from web.streams import Slots, Streams

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


def test_what_does_not_fit_a_sheet_is_refused_with_what_to_take(site):
    batch_id = stored(b"a@x.de\n")
    query("UPDATE batch SET total_rows = 1048576, blank_rows = 1048575 RETURNING 1")
    answer = site.get(f"/api/batches/{batch_id}/results.xlsx")
    document = problem(answer, 409, "too_large_for_workbook")
    assert "results.csv" in document["detail"]
