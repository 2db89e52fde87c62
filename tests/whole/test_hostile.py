"""Names and addresses that are made to do harm stay text, wherever they come out."""

import csv
import html
import io
import re

import pytest

from harness.files import csv_of
from harness.polling import eventually
from tabular.formulas import SIGNS, undefused

NAMES = [
    "<script>alert(1)</script>.csv",
    '"><img src=x onerror=alert(1)>.csv',
    "a.csv\r\nSet-Cookie: a=b",
    "a\u202evsc.exe",
    "a\u2028b\x00c\x1b[31m.csv",
    "'; DROP TABLE batch; --.csv",
    "{{7*7}}%0d%0aX: y.csv",
    "../../etc/passwd",
]
ADDRESSES = [
    "<script>alert(1)</script>@x.de",
    "'><img/src=x/onerror=alert(1)>@x.de",
    "\u202emoc.live@x.de",
    "=cmd/C-calc!A0@x.de",
    "+1@x.de",
    "-1@x.de",
    "@SUM(A1)",
    "\x1b[31m@x.de",
    "x'--@x.de",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(site, name, caplog):
    caplog.set_level("INFO")
    # A browser would escape quotes and line breaks; who wants to do harm doesn't.
    uploaded = site.upload(csv_of("a@x.de"), filename=name.replace('"', "%22"))
    if uploaded.status == 400:  # with a line break in it, it is no form
        assert "\n" in name
        assert uploaded.json["code"] in ("bad_form", "no_file")
        return
    kept = uploaded.json["filename"]
    assert kept.isprintable()
    assert "/" not in kept
    batch_id = uploaded.json["batchId"]
    for path in ("/", f"/batches/{batch_id}"):
        page = site.get(path).body.decode()
        assert kept in html.unescape(page)
        assert not re.search(r"<script>alert|<img src=x", page)
    download = site.get(f"/api/batches/{batch_id}/results.csv")
    assert set(download.headers) >= {"Content-Disposition", "X-Content-Type-Options"}
    assert {"Set-Cookie", "X"}.isdisjoint(download.headers)
    disposition = download.headers["Content-Disposition"]
    assert disposition.isascii()
    assert re.fullmatch(
        r"attachment; filename=\"[^\"\\]*\"(; filename\*=UTF-8''[\w.%!#$&+^`|~-]*)?", disposition
    )
    assert all(message.isprintable() for message in caplog.messages)


def test_addresses(site, processes):
    batch_id = site.upload(csv_of("Email", *ADDRESSES)).json["batchId"]
    worker = processes("worker.py")
    eventually(lambda: site.get(f"/api/batches/{batch_id}").json["status"] == "completed")
    page = site.get(f"/batches/{batch_id}").body.decode()
    assert not re.search(r"<script>alert|<img/src", page)
    assert html.escape(ADDRESSES[0], quote=False) in page
    content = site.get(f"/api/batches/{batch_id}/results.csv").body.decode("utf-8-sig")
    delimiter = site.get(f"/api/batches/{batch_id}").json["format"]["delimiter"]
    rows = list(csv.reader(io.StringIO(content), delimiter=delimiter))
    assert [undefused(row[0]) for row in rows[1:]] == ADDRESSES
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(tuple(SIGNS))
    emails = site.get(f"/api/batches/{batch_id}/emails").json["emails"]
    assert [each["email"] for each in emails] == [each.lstrip("\x1b") for each in ADDRESSES]
    worker.stop()
    assert "@" not in worker.output


def test_what_is_searched_for(site):
    site.upload(csv_of("a@x.de"))
    for path in ("/", "/batches/1"):
        page = site.get(f"{path}?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").body.decode()
        assert "<script>alert" not in page
        assert html.escape('"><script>alert(1)</script>') in page
    assert site.get("/?q=%00").status == 400
    assert site.get("/?q=%ff").status in (200, 400)
    assert site.get("/batches/1?verdict=%3Cscript%3E").status == 400


def test_every_answer_forbids_browsers_what_they_need_not_do(site):
    for path in ("/", "/api/health", "/nothing", "/api/nothing", "/api/batches/stream"):
        connection = site.connection()
        connection.request("GET", path)
        headers = connection.getresponse().headers
        connection.close()
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
