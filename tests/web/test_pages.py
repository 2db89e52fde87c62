"""The pages as the server renders them, and the forms that work without scripts."""

import gzip
import html
import posixpath
import re

import pytest

from harness.batches import completed, store, take_turns
from harness.books import query
from harness.config import ROOT
from harness.files import csv_of

MARKUP = "<img src=x onerror=alert(1)>&amp;.csv"


def page(site, path="/"):
    """The HTML of a page, which must be there."""
    response = site.get(path)
    assert response.status == 200, response.body
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "no-store"
    return response.body.decode()


def text_of(document):
    """The visible text of a page, with single spaces."""
    document = re.sub(r"(?s)<template.*?</template>|<script.*?</script>", "", document)
    document = re.sub(r"(?s)<(tr|p|details)\b[^>]* hidden.*?</\1>", "", document)
    document = re.sub(r"<[^>]* hidden>[^<]*", "", document)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", document)).split())


def post(site, path, **fields):
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    kind = "application/x-www-form-urlencoded"
    return site.request("POST", path, body, Content_Type=kind)


def lines(document):
    """The line numbers of the rows in the table; the template's is 0."""
    return [int(line) for line in re.findall(r'data-field="line">([1-9]\d*)<', document)]


class TestHome:
    def test_shows_the_batches_before_any_script_runs(self, site):
        site.upload(b"a@x.de\n\n", filename="first.csv")
        site.upload(b"a@x.de\nb@x.de\n", filename="second.csv")
        document = page(site)
        assert document.index("Upload &amp; process") < document.index("Recent batches")
        assert 'data-batch="2" data-revision="1" data-status="pending"' in document
        assert document.rindex("second.csv") < document.rindex("first.csv")
        assert "No worker is running" in text_of(document)

    def test_says_what_to_do_when_there_is_nothing(self, site):
        assert "Nothing has been uploaded so far." in text_of(page(site))
        assert 'id="no-batches" hidden' not in page(site)
        store("a@x.de")
        assert 'id="no-batches" hidden' in page(site)

    def test_older_batches_are_a_link_away(self, site):
        for _ in range(25):
            store("a@x.de")
        document = page(site)
        assert len(re.findall(r'<tr data-batch="[1-9]', document)) == 20
        more = html.unescape(re.search(r'rel="next" href="([^"]+)"', document)[1])
        assert more == "/?before=6"
        older = page(site, more)
        assert re.findall(r'<tr data-batch="([1-9]\d*)"', older) == ["5", "4", "3", "2", "1"]
        assert 'rel="next" href=""' in older

    def test_the_address_of_earlier_versions_leads_to_the_batch(self, site):
        response = site.get("/?batch=7")
        assert (response.status, response.headers["Location"]) == (303, f"{site.url}/batches/7")


class TestBatch:
    def test_is_complete_before_any_script_runs(self, site):
        text = text_of(page(site, f"/batches/{completed()}"))
        assert "completed" in text
        assert "5 ok (50%) 1 risky (10%) 1 unknown (10%) 3 invalid (30%) Checked in " in text
        assert "10 rows = 10 emails Uploaded" in text
        assert "The address, or a part of it, is too long. 20% 2" in text
        assert "Check again ▾ 0 invalid 1 unknown" in text  # what is 0 is hidden
        assert "Emails 10 of 10" in text

    @pytest.mark.parametrize(("reason", "offered"), [("no_at_sign", False), ("not_staff", True)])
    def test_offers_another_check_unless_all_invalid_ones_are_malformed(
        self, site, reason, offered
    ):
        batch_id = completed([(1, "failed", reason), (2, "failed", "bad_domain")])
        text = text_of(page(site, f"/batches/{batch_id}"))
        assert ("Check again ▾ 2 invalid" in text) is offered
        assert ("Check again" in text) is offered

    @pytest.mark.parametrize("others", [0, 1])
    def test_interrupted_emails_are_unknown_and_have_a_question_of_their_own(self, site, others):
        marked = [(n, "processed", "interrupted") for n in (1, 2)]
        marked += [(n + 3, "processed", "dns_error") for n in range(others)]
        text = text_of(page(site, f"/batches/{completed(marked)}"))
        assert f"{2 + others} unknown ({2 + others}0%)" in text
        assert ("Check again ▾ 0 invalid 1 unknown" in text) is bool(others)
        assert ("Check again" in text) is bool(others)
        assert "It may have been done; nobody can tell. 20% 2" in text
        assert "The work for 2 emails may have been done; nobody can tell." in text

    def test_says_that_reasons_come_or_that_there_is_none(self, site):
        batch_id = store("a@x.de").batch_id
        assert "has a reason, which is counted here." in text_of(page(site, f"/batches/{batch_id}"))
        take_turns(batch_id, [])
        assert "Reasons No email has a reason." in text_of(page(site, f"/batches/{batch_id}"))

    def test_accounts_for_the_rows_while_it_waits(self, site):
        batch_id = site.upload(b"a@x.de\n\nA@X.DE\nb@x.de\n").json["batchId"]
        text = text_of(page(site, f"/batches/{batch_id}"))
        assert "4 rows = 2 emails + 1 duplicate + 1 blank" in text
        assert "Waiting for a worker · 1 unfinished" in text

    @pytest.mark.parametrize(
        ("parameters", "expected", "said"),
        [
            ("verdict=invalid", [1, 2, 9], "Only: invalid Show all"),
            (
                "reason=too_long",
                [1, 9],
                "Only: The address, or a part of it, is too long. Show all",
            ),
            ("q=USER1", [1, 10], "Only: containing “USER1” Show all"),
            ("verdict=ok&q=1", [10], "Only: ok · containing “1” Show all"),
            ("after=8", [9, 10], "Show all"),
            ("status=pending", [], "Only: pending Show all"),
            ("", list(range(1, 11)), ""),
        ],
    )
    def test_its_rows_are_narrowed_by_its_address(self, site, parameters, expected, said):
        document = page(site, f"/batches/{completed()}?{parameters}")
        assert lines(document) == expected
        text = text_of(document)
        assert said in text
        assert ("Show all" in text) == bool(parameters)
        assert ("No matching emails" in text) == (not expected)

    @pytest.mark.parametrize(
        ("parameters", "of_these"),
        [
            ("reason=too_long&q=%C3%A4&after=2", "reason=too_long&q=%C3%A4"),
            ("kind=duplicate&q=a", "kind=duplicate"),
            ("kind=skipped", "kind=skipped"),
        ],
    )
    def test_the_rows_that_are_shown_can_be_downloaded(self, site, parameters, of_these):
        batch_id = completed()
        document = html.unescape(page(site, f"/batches/{batch_id}?{parameters}"))
        for ending in ("csv", "jsonl", "xlsx"):
            path = f"/api/batches/{batch_id}/results.{ending}?{of_these}"
            assert f'<a href="{path}"' in document
        assert "what is shown below" in text_of(document)
        assert "what is shown below" not in text_of(page(site, f"/batches/{batch_id}?after=2"))

    def test_the_rows_that_are_no_emails(self, site):
        batch_id = site.upload(b"a@x.de,1\n,2\nA@x.de,3\nb@x.de,4\n").json["batchId"]
        document = page(site, f"/batches/{batch_id}?kind=duplicate")
        assert lines(document) == [3]
        assert "A@x.de duplicate First on line 1." in text_of(document)
        assert "Only: duplicates Show all" in text_of(document)
        assert lines(page(site, f"/batches/{batch_id}?kind=without_address")) == [2]

    def test_more_rows_are_a_link_away(self, site):
        batch_id = store(*(f"user{n}@x.de" for n in range(120))).batch_id
        seen, path = [], f"/batches/{batch_id}?q=user"
        while path:
            document = page(site, path)
            seen += lines(document)
            path = html.unescape(re.search(r'rel="next" href="([^"]*)"', document)[1])
        assert seen == list(range(1, 121))

    @pytest.mark.parametrize("parameter", ["verdict=good", "kind=x", "after=-1", "reason=%27"])
    def test_a_bad_parameter_is_a_page_that_says_so(self, site, parameter):
        response = site.get(f"/batches/{completed()}?{parameter}")
        assert response.status == 400
        assert b"<h1>The server can&#039;t make sense of this</h1>" in response.body

    def test_a_teams_own_reasons_have_a_place(self, site):
        batch_id = completed([(2, "failed", "not_staff")])
        text = text_of(page(site, f"/batches/{batch_id}"))
        assert "Not staff. 1" in text


class TestForms:
    def test_an_upload_leads_to_the_batch(self, site):
        response = site.upload(csv_of("a@x.de", "b@x.de"), filename="x.csv", path="/upload")
        assert (response.status, response.headers["Location"]) == (303, f"{site.url}/batches/1")
        assert query("SELECT total_emails FROM batch") == [(2,)]

    def test_a_refused_upload_is_a_page_that_says_why(self, site):
        response = site.upload(b"a@x.de\n", path="/upload", text="b@x.de")
        assert response.status == 400
        assert "The form has a file and pasted addresses." in response.body.decode()
        response = site.upload(b"", path="/upload")
        assert response.status == 422
        assert response.headers["Content-Type"].startswith("text/html")
        assert b"The file is empty" in response.body

    def test_retry_leads_to_the_batch_and_says_how_many(self, site):
        batch_id = completed()
        response = post(site, f"/batches/{batch_id}/retry", which="failed")
        assert response.status == 303
        assert response.headers["Location"] == f"{site.url}/batches/{batch_id}?retried=3"
        text = text_of(page(site, f"/batches/{batch_id}?retried=3"))
        assert "3 emails are checked again." in text
        assert 'data-processed="7"' in page(site, f"/batches/{batch_id}")

    def test_a_rate_is_shown_until_the_end(self, site):
        batch_id = store("a@x.de", chunk_size=1).batch_id
        address = f"/batches/{batch_id}"
        assert "Limit the rate ▾" in text_of(page(site, address))
        answer = post(site, f"{address}/rate", per_minute=1200)
        assert (answer.status, answer.headers["Location"]) == (303, f"{site.url}{address}")
        assert 'max="1000000" value="1200"' in page(site, address)
        for path in ("/", address):
            assert "At most 1,200 a minute" in text_of(page(site, path))
        take_turns(batch_id, [])
        assert "At most" not in text_of(page(site))
        assert "At most" not in text_of(page(site, address))

    def test_a_refused_rate_is_a_page_that_says_why(self, site):
        response = post(site, f"/batches/{store('a@x.de').batch_id}/rate", per_minute=0)
        assert response.status == 400
        assert b"must be a whole number of emails from 1 to 1,000,000, or empty" in response.body
        response = post(site, f"/batches/{completed()}/rate", per_minute=1)
        assert (response.status, b"is completed" in response.body) == (409, True)

    def test_cancel_and_delete(self, site):
        batch_id = store("a@x.de").batch_id
        assert post(site, f"/batches/{batch_id}/cancel").status == 303
        assert "cancelled" in text_of(page(site, f"/batches/{batch_id}"))
        response = post(site, f"/batches/{batch_id}/delete")
        assert response.headers["Location"] == f"{site.url}/?deleted={batch_id}"
        assert f"Batch {batch_id} has been deleted." in text_of(page(site, f"/?deleted={batch_id}"))
        assert site.get(f"/batches/{batch_id}").status == 404
        assert query("SELECT count(*) FROM email") == [(1,)]  # which a worker removes

    def test_what_the_state_does_not_allow_is_a_page_that_says_so(self, site):
        batch_id = store("a@x.de").batch_id
        response = post(site, f"/batches/{batch_id}/delete")
        assert response.status == 409
        assert b"Cancel it first" in response.body


class TestMarkup:
    def test_names_and_addresses_full_of_it_stay_text(self, site):
        site.upload(b"email\n<b>a</b>@x.de\n", filename=MARKUP)
        for path in ("/", "/batches/1", "/batches/1?q=%3Cscript%3E"):
            document = page(site, path)
            assert "<img src=x" not in document
            assert "<b>a</b>" not in document
            assert "<script>" not in document
            assert "&lt;img src=x onerror=alert(1)&gt;&amp;amp;.csv" in document
        assert "&lt;b&gt;a&lt;/b&gt;@x.de" in page(site, "/batches/1")

    def test_no_script_or_template_has_inline_code_or_foreign_addresses(self):
        for path in [*(ROOT / "views").glob("*.tpl"), *(ROOT / "static").rglob("*.js")]:
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"\son\w+=|style=|innerHTML|https?://", text), path


class TestStatic:
    def test_files_are_cached_for_ever_under_their_version(self, site):
        paths = set(re.findall(r'"(/static/[^"]+\.\w+)"', page(site)))
        assert len(paths) >= 15
        for path in paths:
            response = site.get(path)
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
            smaller = site.get(path, Accept_Encoding="gzip")
            assert smaller.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(smaller.body) == response.body
            assert site.get(path, Accept_Encoding="\xff").status == 200
        assert site.get(re.sub(r"/static/\w+/", "/static/0/", paths.pop())).status == 404

    @pytest.mark.parametrize("path", ["..%2f..%2fconfig.ini", "../config.ini", "js/", "nothing.js",
                                      "progress/101.svg", "progress/x.svg"])  # fmt: skip
    def test_nothing_else_is_served(self, site, path):
        version = re.search(r"/static/(\w+)/", page(site))[1]
        response = site.get(f"/static/{version}/{path}")
        assert response.status in (403, 404)
        assert b"[server]" not in response.body

    def test_a_page_names_all_the_modules_that_it_needs(self, site):
        """Otherwise a browser loads them one after another."""
        for path in ("/", f"/batches/{store('a@x.de').batch_id}"):
            document = page(site, path)
            entry = re.search(r'type="module" src="/static/\w+/js/([\w.]+)"', document)[1]
            needed, found = [entry], set()
            while needed:
                name = needed.pop()
                text = (ROOT / "static" / "js" / name).read_text()
                imported = {
                    posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
                    for path in re.findall(r'from "([\w./]+)"', text)
                }
                needed += imported - found
                found |= imported
            preloaded = re.findall(r'modulepreload" href="/static/\w+/js/([\w./]+)"', document)
            assert sorted(preloaded) == sorted(found)

    def test_a_page_with_all_that_it_loads_is_small(self, site):
        """Bytes that go over the wire for a page with twenty batches, or fifty emails."""
        for _ in range(20):
            store(*(f"somebody.with.a.name{n}@example.com" for n in range(60)))
        for path in ("/", "/batches/1"):
            packed = site.get(path, Accept_Encoding="gzip")
            document = gzip.decompress(packed.body).decode()
            assert document.endswith("</html>\n")
            paths = set(re.findall(r'"(/static/[^"]+\.\w+)"', document))
            files = sum(len(site.get(each, Accept_Encoding="gzip").body) for each in paths)
            assert len(packed.body) + files < 60_000

    def test_a_page_with_a_search_term_is_not_compressed(self, site):
        """Its size would tell whether the term is on the page."""
        store("a@x.de")
        answer = site.get("/batches/1?q=a%40x", Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] is None
        assert b"a@x.de" in answer.body

    def test_the_icon_shows_the_progress(self, site):
        version = re.search(r"/static/(\w+)/", page(site))[1]
        icon = site.get(f"/static/{version}/progress/25.svg")
        assert icon.headers["Content-Type"] == "image/svg+xml"
        assert b'stroke-dasharray="25 100"' in icon.body
        assert b"dasharray" not in site.get(f"/static/{version}/progress/0.svg").body
