import gzip

import pytest

from batches import kept_files
from harness.books import emails, query
from harness.files import rows_of, workbook
from tabular import reader
from tabular.formats import Format
from web import uploads


def problem(response, status, code):
    assert response.status == status, response.body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json["code"] == code
    assert len(response.body) < 2000
    return response.json


class TestUpload:
    def test_takes_what_people_say(self, site):
        response = site.upload(
            "mail;a@x.de\nmüller@x.de;b@x.de\n".encode("cp1252"),
            column="2",
            header="no",
            delimiter=";",
            encoding="windows-1252",
        )
        assert response.status == 201
        assert response.json["format"] == {
            "kind": "csv",
            "encoding": "cp1252",
            "delimiter": ";",
            "header": None,
            "column": 2,
            "sheet": None,
            "text": "CSV, cp1252, semicolon; addresses in column 2",
        }
        assert [email for email, _, _ in emails(1)] == ["a@x.de", "b@x.de"]
        assert site.get("/api/batches/1").json["format"] == response.json["format"]

    def test_takes_a_workbook(self, site):
        rows = [["id", "mail"], [1, "a@x.de"], [2, ""], ["", ""], [3, "A@x.de"]]
        response = site.upload(workbook(rows), filename="list.xlsx")
        assert response.json["rows"] == {
            "total": 4,
            "emails": 1,
            "duplicates": 1,
            "blank": 1,
            "withoutAddress": 1,
            "furtherAddresses": 0,
            "withOtherAddresses": 0,
        }
        assert site.get("/api/batches/1/rows").json["rows"] == [
            {"line": 3, "kind": "without_address", "firstLine": None, "content": "2"},
            {"line": 4, "kind": "blank", "firstLine": None, "content": None},
            {"line": 5, "kind": "duplicate", "firstLine": 2, "content": "A@x.de"},
        ]

    def test_what_is_kept_of_a_workbook_can_be_read_again(self, site):
        content = workbook([["id", "mail"], [1, "a@x.de"]])
        site.upload(content, filename="list.xlsx")
        ((document,),) = query("SELECT format FROM batch")
        with kept_files.open_kept(1) as file:
            found = Format.from_json(document)
            rows = rows_of(reader.blocks(file, found), found)
        assert rows == [(1, ["id", "mail"]), (2, ["1", "a@x.de"])]

    def test_takes_html_with_all_rows_on_one_line(self, site):
        row = b"<tr><td>a@x.de</td></tr><tr></tr>"
        answer = site.upload(b"<table>" + row * 3 + b"</table>")
        assert (answer.status, answer.json["rows"]["duplicates"]) == (201, 2)
        assert site.get("/api/batches/1/results.csv").body.count(b"a@x.de") == 4

    def test_half_of_an_archive_is_a_problem_whatever_length_is_declared(self, site):
        content = gzip.compress(b"a@x.de\nb@x.de\n" * 1000)[:-4]
        problem(site.upload(content, size="1000000"), 422, "broken_archive")
        answer = site.upload(content, path="/api/preview", size="1000000")
        problem(answer, 422, "broken_archive")

    def test_a_batch_from_before_files_were_kept_has_no_format(self, site):
        site.upload(b"a@x.de\n")
        query_all = "UPDATE batch SET format = NULL RETURNING id"
        query(query_all)
        assert site.get("/api/batches/1").json["format"] is None


# What names a file in a form, and the name that its batch has.
NAMES = [
    ("filename*=UTF-8''K%C3%A4se%20und%20Brot.csv", "Käse und Brot.csv"),
    ("FileName* = utf-8'de'..%2F..%2Fb%00%C3%BC.csv", "b ü.csv"),
    ("filename*=iso-8859-1''K%E4se.csv", "Käse.csv"),
    # The name in another alphabet is the true one, if both are there.
    ("filename=\"Kase.csv\"; filename*=UTF-8''K%C3%A4se.csv", "Käse.csv"),
    ("filename*=UTF-8''K%C3%A4se.csv; filename=\"Kase.csv\"", "Käse.csv"),
    # It is only a name, so a damaged one is no reason to refuse the file.
    ("filename*=UTF-8''K%E4se%C3%.csv", "K\ufffdse\ufffd%.csv"),
    ("filename=\"Kase.csv\"; filename*=UTF-8''K%E4se.csv", "Kase.csv"),
    ("filename*=koi8-r''list.csv", "list.csv"),
    ("filename*=list.csv", "list.csv"),
    ("filename*=", "unnamed.csv"),
    ("filename*=''; x=1", "unnamed.csv"),
    ("filename*=\"UTF-8''list.csv\"", "unnamed.csv"),
    # Within quotes, it is a part of a name.
    ("filename=\"a; filename*=UTF-8''b.csv\"", "a; filename*=UTF-8''b.csv"),
]


class TestBeginning:
    def test_may_have_a_rate(self, site):
        for given, told in (("600", 600), (" 60 ", 60), ("", None)):
            response = site.upload(b"a@x.de\n", per_minute=given)
            batch = site.get(f"/api/batches/{response.json['batchId']}").json
            assert batch["perMinute"] == told

    def test_may_be_paused_or_at_a_time(self, site):
        for fields, until in (
            ({"paused": "yes"}, None),
            ({"start_at": "2199-12-24T08:00+02:00"}, "2199-12-24T06:00:00.000Z"),
            ({"start_at": "2199-12-24T08:00+02:00:30.5"}, "2199-12-24T05:59:29.500Z"),
        ):
            response = site.upload(b"a@x.de\n", **fields)
            assert response.status == 201
            told = site.get(f"/api/batches/{response.json['batchId']}").json["paused"]
            assert (told["until"], told["by"], told["why"]) == (until, None, None)
        response = site.upload(b"a@x.de\n", paused="no")
        assert site.get(f"/api/batches/{response.json['batchId']}").json["paused"] is None

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("paused", "maybe"),
            ("start_at", "tomorrow"),
            ("per_minute", "0"),
            ("per_minute", "ten"),
            ("start_at", "2199-12-24T08:00:00"),
            ("start_at", "9999-12-31T23:59:59-12:00"),
            ("start_at", "0001-01-01T00:00:00+12:00"),
        ],
    )
    def test_a_bad_one_is_a_problem_and_nothing_is_stored(self, site, name, text):
        answer = problem(site.upload(b"a@x.de\n", **{name: text}), 400, "bad_parameter")
        assert answer["parameter"] == name
        assert query("SELECT count(*) FROM batch") == [(0,)]


class TestAttacks:
    @pytest.mark.parametrize("path", ["/api/upload", "/api/preview"])
    @pytest.mark.parametrize(
        ("content", "texts", "status", "code"),
        [
            (b"\xff\xfe", {}, 422, "empty_file"),
            (b"\xff\xfe\0", {}, 422, "undecodable"),
            ("\ufeffa@x.de\n\ud800".encode("utf-16-le", "surrogatepass"), {}, 422, "undecodable"),
            (b"a@x.de\n\xed\xa0\x80@x.de\x01", {}, 422, "not_utf8"),
            (b"a@x.de\0", {}, 415, "binary_file"),
            (b"a,a@x.de," * 20_000, {}, 422, "too_many_columns"),
            (b'"' + b"a" * 200_000, {}, 422, "cell_too_long"),
            (b"PK\x03\x04" + bytes(1000), {}, 422, "broken_workbook"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, 422, "broken_workbook"),
            (b"a@x.de", {"column": "2"}, 422, "bad_column"),
            (b"a@x.de", {"column": "\0"}, 422, "bad_column"),
            (b"a@x.de", {"column": "9" * 50_000}, 422, "bad_column"),
            (b"a@x.de", {"delimiter": "xx"}, 422, "bad_delimiter"),
            (b"a@x.de", {"encoding": "zlib_codec"}, 422, "bad_encoding"),
            (b"a@x.de", {"encoding": "utf-16"}, 422, "no_address"),
            (b"a@x.de", {"header": "x" * 50_000}, 422, "bad_header"),
            (b"a@x.de", {"header": "x" * 10_000_000}, 400, "bad_form"),
        ],
    )
    def test_are_problems_and_no_accidents(self, site, path, content, texts, status, code):
        response = site.upload(content, path=path, **texts)
        if code == "no_address" and path == "/api/preview":
            assert response.status == 200
        else:
            problem(response, status, code)
        assert query("SELECT count(*) FROM batch") == [(0,)]

    def test_a_boundary_has_its_upper_case(self, site):
        form = (
            b'--bOuNd\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\na@x.de'
            b"\r\n--bOuNd--\r\n"
        )
        content_type = "multipart/form-data; boundary=bOuNd"
        assert site.request("POST", "/api/upload", form, Content_Type=content_type).status == 201

    def test_a_name_with_control_characters_is_kept_without_them(self, site):
        assert site.upload(b"a@x.de", filename="a\0b.csv").json["filename"] == "a b.csv"

    def test_a_name_in_any_alphabet_is_read(self, site):
        kind = "multipart/form-data; boundary=b"
        for names, kept in NAMES:
            header = f'Content-Disposition: form-data; name="file"; {names}'
            form = f"--b\r\n{header}\r\n\r\na@x.de\r\n--b--"
            response = site.request("POST", "/api/upload", form.encode(), Content_Type=kind)
            assert (response.status, response.json["filename"]) == (201, kept), names

    def test_a_form_with_very_many_fields_is_a_problem(self, site):
        for name in ("x", "file"):
            field = (
                f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n\r\n'
            )
            for form in (field * 100_000 + "--b--\r\n", field * 20 + "--b--\r\n"):
                response = site.request(
                    "POST",
                    "/api/upload",
                    form.encode(),
                    Content_Type="multipart/form-data; boundary=b",
                )
                expected = (400, "bad_form")
                if len(form) < 10_000:
                    expected = (400, "several_files" if name == "file" else "no_file")
                problem(response, *expected)

    def test_nul_in_a_table_is_a_problem(self, site):
        for content in (b"a@x.de|\0", b"a,b\n\0,c@x.de\n"):
            for path in ("/api/upload", "/api/preview"):
                problem(site.upload(content, path=path), 415, "binary_file")

    def test_a_field_that_is_no_text_is_a_problem(self, site):
        form = (
            b'--b\r\nContent-Disposition: form-data; name="column"\r\n\r\n\xff\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\na@x.de\r\n'
            b"--b--\r\n"
        )
        for charset in ("", "; charset=nonsense", "; charset=iso-8859-1"):
            content_type = f"multipart/form-data; boundary=b{charset}"
            response = site.request("POST", "/api/upload", form, Content_Type=content_type)
            problem(response, 400, "bad_form")


class TestRows:
    def test_come_page_by_page_and_by_kind(self, site):
        site.upload(b"a@x.de\n\nA@x.de\n\na@X.de\n\n")
        pages, next_ = [], 0
        while next_ is not None:
            after = f"&after={next_}" if next_ else ""
            page = site.get(f"/api/batches/1/rows?limit=2{after}").json
            pages.append([row["line"] for row in page["rows"]])
            next_ = page["next"]
        assert pages == [[2, 3], [4, 5], [6]]
        blank = site.get("/api/batches/1/rows?kind=blank&after=2").json
        assert [row["line"] for row in blank["rows"]] == [4, 6]
        duplicates = site.get("/api/batches/1/rows?kind=duplicate").json["rows"]
        assert [(row["line"], row["firstLine"]) for row in duplicates] == [(3, 1), (5, 1)]

    @pytest.mark.parametrize(
        "query_string", ["kind=email", "after=-1", "after=2147483648", "limit=501"]
    )
    def test_a_wrong_parameter_is_a_problem(self, site, query_string):
        site.upload(b"a@x.de\n")
        document = problem(site.get(f"/api/batches/1/rows?{query_string}"), 400, "bad_parameter")
        assert document["parameter"] == query_string.split("=")[0]

    def test_of_an_unknown_batch_are_a_problem(self, site):
        problem(site.get("/api/batches/7/rows"), 404, "batch_not_found")


class TestPasted:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a@x.de, b@x.de;c@x.de\r\nd@x.de", ["a@x.de", "b@x.de", "c@x.de", "d@x.de"]),
            ("a@x.de\r\n\r\njürgen@x.de", ["a@x.de", "jürgen@x.de"]),
            ("a@x.de,", ["a@x.de"]),
            ("Name;Mail\nAnna;a@x.de\nBob;b@x.de", ["a@x.de", "b@x.de"]),
            ("Anna\ta@x.de\nBob\tb@x.de", ["a@x.de", "b@x.de"]),
        ],
    )
    def test_addresses_with_anything_between(self, site, text, expected):
        response = upload_text(site, text)
        assert response.status == 201
        assert response.json["filename"] == "Pasted addresses.txt"
        assert [email for email, _, _ in emails(1)] == expected

    def test_a_long_text_is_taken_too(self, site):
        text = ", ".join(f"user{n}@example.com" for n in range(20_000))
        assert upload_text(site, text).json["totalEmails"] == 20_000

    def test_a_text_that_is_too_long_is_a_problem(self, site, monkeypatch):
        monkeypatch.setattr(uploads, "MAX_PASTED", 14)
        assert upload_text(site, "a@x.de, b@x.de").status == 201
        document = problem(upload_text(site, "a@x.de, bb@x.de"), 413, "text_too_long")
        assert "upload" in document["detail"]

    @pytest.mark.parametrize("path", ["/api/upload", "/api/preview"])
    def test_a_file_beside_it_is_a_problem(self, site, path):
        document = problem(site.upload(b"a@x.de\n", path=path, text="b@x.de"), 400, "file_and_text")
        assert document["detail"].startswith("The form has a file and pasted addresses.")
        assert site.upload(b"a@x.de\n", path=path, text=" \r\n").status in (200, 201)

    def test_a_preview_of_it(self, site):
        shown = upload_text(site, "a@x.de, b@x.de", path="/api/preview").json
        assert (shown["kind"], shown["rows"]) == ("list", [["a@x.de"], ["b@x.de"]])

    @pytest.mark.parametrize("text", ["", " \r\n"])
    def test_neither_file_nor_text_is_a_problem(self, site, text):
        problem(upload_text(site, text), 400, "no_file")


def upload_text(site, text, path="/api/upload"):
    """As a browser sends it whose form has no file chosen."""
    return site.upload(b"", filename="", path=path, text=text)


@pytest.mark.parametrize(("processor", "stored"), [("check", None), ("staff:only_staff", "staff")])
def test_a_batch_names_its_only_processor_unless_that_is_the_check(serve, processor, stored):
    """So that no processor that is named later does it unasked."""
    site = serve(worker__processor=processor)
    assert site.upload(b"a@x.de\n").json["processor"] == stored
    assert query("SELECT processor FROM batch") == [(stored,)]
