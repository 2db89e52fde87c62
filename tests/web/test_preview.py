"""How an upload of a file would be read, before it is uploaded."""

import pytest

from harness.books import query
from harness.files import csv_of, workbook


def preview(site, content, **texts):
    return site.upload(content, path="/api/preview", **texts)


def test_says_what_was_detected_and_stores_nothing(site):
    content = "Größe;Kontakt\n" + "".join(f"{i},5;user{i}@x.de\n" for i in range(50))
    response = preview(site, content.encode("cp1252"))
    assert response.status == 200
    assert response.json == {
        "kind": "csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "header": ["Größe", "Kontakt"],
        "column": 2,
        "sheet": None,
        "text": "CSV, cp1252, semicolon; addresses in column 2, “Kontakt”",
        "columns": [
            {"index": 1, "name": "Größe", "addresses": 0},
            {"index": 2, "name": "Kontakt", "addresses": 50},
        ],
        "why": "because it has the most addresses",
        "headerLine": 1,
        "above": [],
        "rows": [[f"{i},5", f"user{i}@x.de"] for i in range(10)],
        "lines": [*range(2, 12)],
        "sheets": [],
        "encodings": [],
        "partial": False,
        "counts": {
            "total": 50,
            "emails": 50,
            "duplicates": 0,
            "blank": 0,
            "withoutAddress": 0,
            "furtherAddresses": 0,
            "withOtherAddresses": 0,
        },
        "summary": "50 rows: 50 emails.",
        "others": None,
        "problem": None,
    }
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_shows_the_rows_above_the_header_and_the_line_of_each(site):
    content = csv_of("Members of 2026", "", "Name,Mail", "Ann,a@x.de", "", "Bob,b@x.de")
    shown = preview(site, content).json
    assert shown["above"] == [
        {"line": 1, "cells": ["Members of 2026"]},
        {"line": 2, "cells": []},
    ]
    assert (shown["header"], shown["headerLine"]) == (["Name", "Mail"], 3)
    assert shown["rows"] == [["Ann", "a@x.de"], [], ["Bob", "b@x.de"]]
    assert shown["lines"] == [4, 5, 6]
    chosen = preview(site, content, header="4").json
    assert (chosen["header"], chosen["headerLine"]) == (["Ann", "a@x.de"], 4)
    assert len(chosen["above"]) == 3


def test_counts_what_an_upload_would_count(site):
    content = csv_of(
        *(
            "name,mail,private",
            "Ann,a@x.de; A@x.de,a@y.de",
            ",b@x.de,",
            ",,",
            "Total,,",
            ",c@x.de,",
        )
    )
    counts = preview(site, content).json["counts"]
    assert counts == site.upload(content).json["rows"]
    assert counts | {"total": 5, "emails": 3, "furtherAddresses": 1} == counts
    assert counts | {"withOtherAddresses": 1, "withoutAddress": 1, "blank": 1} == counts


def test_counts_the_first_rows_of_a_long_file(site):
    shown = preview(site, csv_of(*(f"u{n}@x.de" for n in range(100_000)))).json
    assert shown["partial"] is True
    assert 50_000 <= shown["counts"]["emails"] < 60_000


def test_says_that_no_address_is_there(site):
    content = workbook([["id", "name"], [1, "Ann"]])
    shown = preview(site, content).json
    assert "No email address was found in the sheet" in shown["problem"]
    assert shown["rows"] == [["id", "name"], ["1", "Ann"]]
    assert preview(site, b"name\nAnn\n").json["problem"].endswith("tabs or pipes.")


def test_takes_what_people_say(site):
    response = preview(site, b"a@x.de|c@x.de;1\n", column="2", delimiter="pipe", header="yes")
    assert response.json["header"] == ["a@x.de", "c@x.de;1"]
    assert (response.json["column"], response.json["rows"]) == (2, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_of_a_part_shows_whole_rows_only(site, encoding):
    content = "ä@x.de,é\nb@x.de,€".encode(encoding)[:-1]
    response = preview(site, content, size="1000000")
    assert response.json["rows"] == [["ä@x.de", "é"]]
    assert response.json["partial"] is True


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_of_a_part_is_right_wherever_it_ends(site, encoding):
    content = "ä@x.de,𝔘\nb@x.de,€\n".encode(encoding)
    for end in range(len("ä@x.de".encode(encoding)), len(content)):
        response = preview(site, content[:end], size=str(len(content)))
        assert response.status == 200, end
        assert response.json["encoding"] == encoding
        assert response.json["column"] == 1


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp932", "静岡県沼津市"), ("gb18030", "贵阳市"), ("utf-16-le", "Łódź")],
)
def test_of_a_part_may_end_with_half_a_character(site, encoding, name):
    content = f"s@x.example;{name}\n".encode(encoding) * 30
    for end in range(len(content) - 8, len(content)):
        response = preview(site, content[:end], size=str(len(content)))
        assert response.status == 200, end
        assert response.json["encoding"] == encoding
        assert response.json["rows"][0] == ["s@x.example", name]


def test_of_a_large_file_uses_its_beginning(site):
    response = preview(site, csv_of(*["Ünal@x.de"] * 300_000) + b"\xff\0")
    assert response.status == 200
    assert (response.json["partial"], len(response.json["rows"])) == (True, 10)


def test_of_a_workbook_needs_all_of_it(site):
    content = workbook([["id", "mail"], [1, "a@x.de"]])
    shown = preview(site, content).json
    assert (shown["kind"], shown["encoding"], shown["column"]) == ("xlsx", None, 2)
    assert shown["rows"] == [["1", "a@x.de"]]
    refused = preview(site, content[:3000], size=str(len(content)))
    assert (refused.status, refused.json["code"]) == (422, "partial_workbook")
    assert "whole file" in refused.json["detail"]


def test_cells_are_cut(site):
    shown = preview(site, b"a@x.de," + b"b" * 100_000 + b",c" * 1000).json
    assert len(shown["rows"][0][1]) == 200
    assert len(shown["rows"][0]) == len(shown["columns"]) == 200


def test_a_wide_one_is_small(site):
    names, row = [["a@x.de"] + [letter * 200] * 199 for letter in "\U0001f600\x01"]
    content = csv_of(",".join(names).replace("@", ""), *[",".join(row)] * 10)
    response = preview(site, content)
    assert (response.status, len(response.json["rows"])) == (200, 10)
    assert len(response.body) < 100_000
