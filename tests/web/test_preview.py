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
            {"index": 1, "name": "Größe", "addresses": 0, "cells": "Größe"},
            {"index": 2, "name": "Kontakt", "addresses": 50, "cells": "Kontakt"},
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
        "headline": {"before": "50 rows; addresses in ", "column": "Kontakt", "after": ""},
        "summary": "50 rows: 50 emails.",
        "others": None,
        "problem": None,
        "warning": None,
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


def headline(site, content, **texts):
    """The first line of a preview, with its column in asterisks."""
    line = preview(site, content, **texts).json["headline"]
    column = "" if line["column"] is None else f"*{line['column']}*"
    return f"{line['before']}{column}{line['after']}"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["Name,Mail", "Ann,a@x.de"], "1 row; addresses in *Mail*"),
        (["Ann,a@x.de", "Bob,b@x.de"], "2 rows; addresses in *column 2*"),
        (
            ["Name,Mail", "Ann,a@x.de; b@x.de", "Bob,B@x.de", "Cid,", ",", "Eve,"],
            "5 rows; addresses in *Mail*, several in some cells, 2 rows without, 1 duplicate,"
            " 1 blank row",
        ),
        (["a@x.de", "b@x.de", "A@x.de", "c@x.de"], "4 addresses, with 1 duplicate"),
        (["a@x.de; b@x.de", "Ann <c@x.de>"], "3 addresses"),
        (["a@x.de"], "1 address"),
        (["mail", "a@x.de"], "1 row; addresses in *mail*"),
        (["name", "Ann"], "No address found"),
        (["Name,Mail" + "l" * 80, "Ann,a@x.de"], f"1 row; addresses in *Mail{'l' * 55}…*"),
    ],
)
def test_begins_with_what_a_person_needs(site, rows, line):
    assert headline(site, csv_of(*rows)) == line


@pytest.mark.parametrize(
    ("others", "line"),
    [
        ({"Read me": [["Hello"]]}, "2 rows; addresses in *mail*"),
        ({"New": [["c@x.de"]]}, "2 rows; addresses in *mail*; 1 more sheet has addresses"),
        (
            {"New": [["c@x.de"]], "Old": [["d@x.de"]]},
            "2 rows; addresses in *mail*; 2 more sheets have addresses",
        ),
    ],
)
def test_begins_with_what_is_left_out(site, others, line):
    members = [["name", "mail"], ["Ann", "a@x.de"], ["Bob", "b@x.de"]]
    assert headline(site, workbook({"Members": members, **others})) == line


class TestEstimate:
    """Of the rows of a large file, by its beginning."""

    def test_by_the_size_of_the_whole_file(self, site):
        lines = ["Name,Mail", *(f"Ann,user{n:05}@x.de" for n in range(20_000))]
        lines[100:300] = ["Ann,"] * 200
        lines[500] = lines[499]
        content = csv_of(*lines)
        part = content[: len(content) // 2]
        line = headline(site, part, size=str(len(content)))
        assert line == "About 20,000 rows; addresses in *Mail*, 400 rows without, some duplicates"

    def test_of_more_rows_than_are_counted(self, site):
        content = csv_of(*(f"{n}@x.de" for n in range(100_000)))
        assert headline(site, content) == "About 100,000 addresses"

    @pytest.mark.parametrize("most", [99_999, 100_000])
    def test_of_more_rows_than_are_taken_warns_and_refuses_nothing(self, serve, most):
        content = csv_of(*(f"{n:05}@x.de" for n in range(100_000)))
        shown = preview(serve(upload__max_rows=most), content).json
        assert shown["problem"] is None
        about = "About 100,000 rows; at most 99,999 are taken. Split the file into smaller ones."
        assert shown["warning"] == (about if most < 100_000 else None)

    def test_of_a_part_without_any_address(self, site):
        shown = preview(site, b"id,name\n" + b"1,Ann\n" * 100, size="100000").json
        assert shown["headline"]["before"] == "No address in the first part of the file"
        assert shown["problem"] is None  # because there may be some in the rest

    @pytest.mark.parametrize(
        ("sheets", "line"),
        [
            (("Members",), "At least 53,000 rows; addresses in *mail*, some rows without"),
            (
                ("Members", "Read me"),
                "About 70,000 rows; addresses in *mail*, 18,000 rows without",
            ),
        ],
    )
    def test_of_a_large_sheet(self, site, sheets, line):
        rows = [["name", "mail"], *(["Ann", f"u{n}@x.de" if n % 4 else ""] for n in range(70_000))]
        content = workbook(dict(zip(sheets, [rows, [["Hello"]]], strict=False)))
        assert headline(site, content) == line

    def test_of_a_large_sheet_with_few_addresses(self, site):
        content = workbook([[f"u{n}@x.de" if n % 10 == 0 else ""] for n in range(60_000)])
        assert headline(site, content) == "At least 5,400 addresses"


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
    assert len(response.body) < 110_000
