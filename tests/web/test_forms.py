import codecs
import gc
from pathlib import Path

import pytest

from harness.batches import completed
from harness.files import FORM_TYPE, form
from harness.polling import eventually
from harness.site import problem
from web.server import connections

PART = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
WHICH = PART % (b"which", b"", b"too_long")
MULTIPART = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.fixture
def retry(site):
    batch_id = completed()

    def send(body, kind=None, query=""):
        named = {"Content_Type": kind} if kind else {}
        return site.request("POST", f"/api/batches/{batch_id}/retry{query}", body, **named)

    return send


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        (WHICH + b"--b--", MULTIPART, ""),
        (WHICH + b"--b--", f"{MULTIPART}; charset=UTF-8", ""),
        (b"which=too_long", URLENCODED, ""),
        (b"which=failed&which=too_long&x=%C3%A4", f"{URLENCODED}; charset=utf8", ""),
        (b"x=1", URLENCODED, "?which=too_long"),
        (b"", URLENCODED, "?which=too_long"),
        (b"", "text/plain", "?which=too_long"),
        (b'{"which": "too_long"}' + b" " * 9_900, JSON, ""),
    ],
)
def test_a_field_of_any_form_is_read(retry, body, kind, query):
    assert retry(body, kind, query).json["requeued"] == 2


BAD = {
    "no type": (b"which=failed", None, 415, "unsupported_media_type"),
    "another type": (b"which=failed", "text/plain", 415, "unsupported_media_type"),
    "another multipart": (WHICH, "multipart/mixed; boundary=b", 415, "unsupported_media_type"),
    "no boundary": (WHICH + b"--b--", "multipart/form-data", 400, "bad_form"),
    "no end": (WHICH, MULTIPART, 400, "bad_form"),
    "a header that is not UTF-8": (b"--b\r\n\xff\xfe\r\n\r\nx", MULTIPART, 400, "bad_form"),
    "a text that is not UTF-8": (
        PART % (b"which", b"", b"\xff") + b"--b--", MULTIPART, 400, "bad_form",
    ),
    "many parts": (PART % (b"", b"", b"") * 151 + b"--b--", MULTIPART, 400, "bad_form"),
    "a file": (
        PART % (b"which", b'; filename="x"', b"failed") + b"--b--", MULTIPART, 400, "bad_parameter",
    ),
    "bytes that are not UTF-8": (b"which=\xff", URLENCODED, 400, "bad_form"),
    "escapes that are not UTF-8": (b"which=%ff", URLENCODED, 400, "bad_form"),
    "many fields": (b"a=b&" * 151, URLENCODED, 400, "bad_form"),
    "JSON that is not UTF-8": ('{"which": "failed"}'.encode("utf-16"), JSON, 400, "bad_json"),
    "pairs": (b'[["which", "failed"]]', JSON, 400, "bad_json"),
    "deep JSON": (b"[" * 9_999, JSON, 400, "bad_json"),
    "long JSON": (b'{"which": "failed"}' + b" " * 10_000, JSON, 413, "content_too_large"),
    "a long form": (b"which=failed&x=" + b"a" * 10_000, URLENCODED, 413, "content_too_large"),
    "a long multipart": (
        PART % (b"x", b"", b"\r\n" * 5_000) + WHICH + b"--b--",
        MULTIPART, 413, "content_too_large",
    ),
    "a charset of the form": (WHICH + b"--b--", f"{MULTIPART}; charset=latin1", 400, "bad_form"),
    "a charset of a part": (
        PART % (b"which", b"\r\nContent-Type: text/plain; charset=zlib", b"failed") + b"--b--",
        MULTIPART, 400, "bad_form",
    ),
    "a charset of an urlencoded form": (
        b"which=failed", f"{URLENCODED}; charset=utf-7", 400, "bad_form",
    ),
}  # fmt: skip


def test_a_bad_body_is_a_problem(retry):
    answers = {what: retry(body, kind) for what, (body, kind, _, _) in BAD.items()}
    said = {what: (answer.status, answer.json.get("code")) for what, answer in answers.items()}
    assert said == {what: (status, code) for what, (_, _, status, code) in BAD.items()}
    assert all(answer.json["detail"].endswith(".") for answer in answers.values())


def test_only_uploads_may_be_large(site, monkeypatch):
    """Elsewhere a large body isn't even kept."""
    kept, take = [], connections.Bodies.take

    def keep(self, size, *files):
        kept.append(size)
        return take(self, size, *files)

    monkeypatch.setattr(connections.Bodies, "take", keep)
    batch_id = completed()
    crlf = PART % (b"x", b'; filename="x"', b"\r\n" * 1_500_000) + WHICH + b"--b--"
    for method, path in (
        *(("POST", f"/api/batches/{batch_id}/{verb}") for verb in ("retry", "cancel")),
        ("DELETE", f"/api/batches/{batch_id}"),
        ("GET", "/api/batches"),
    ):
        problem(site.request(method, path, crlf, Content_Type=MULTIPART), 413, "content_too_large")
    for verb, size in (("retry", 10), ("cancel", 10), ("delete", 10), ("again", 100)):
        page = site.request("POST", f"/batches/{batch_id}/{verb}", crlf, Content_Type=MULTIPART)
        said = f"Only an upload may have a body of more than {size} kB.".encode()
        assert (page.status, said in page.body) == (413, True)
    assert sum(kept) < 500_000
    for path in connections.UPLOADS:
        assert site.upload(b"a@x.de\n" * 9_000, path=path).status in (200, 201, 303)


def test_chunks_of_a_small_body_are_read_and_of_a_large_one_refused(site):
    connection = site.connection()
    path = f"/api/batches/{completed()}/retry"
    for count, status in ((1, 200), (1_000, 413)):
        pieces = [b"which=failed&", *[b"x=aaaaaaaaaaa&"] * count]
        connection.request("POST", path, iter(pieces), {"Content-Type": URLENCODED})
        response = connection.getresponse()
        assert (response.status, len(response.read()) > 0) == (status, True)
    connection.close()


UNKNOWN = "no-such-charset"


@pytest.mark.parametrize("charset", ["punycode", "zlib", "latin1", UNKNOWN])
@pytest.mark.parametrize("of_a_part", [False, True])
def test_no_charset_is_looked_up(site, monkeypatch, charset, of_a_part):
    asked = []
    codecs.register(search := lambda name: asked.append(name))
    header = f"\r\nContent-Type: text/plain; charset={charset}".encode() if of_a_part else b""
    body = PART % (b"column", header, b"-".join([b"a" * 9] * 9_000)) + b"--b--"
    kind = MULTIPART if of_a_part else f"{MULTIPART}; charset={charset}"
    for path in ("/api/upload", "/api/preview"):
        response = site.request("POST", path, body, Content_Type=kind)
        assert "UTF-8" in problem(response, 400, "bad_form")["detail"]
    codecs.unregister(search)
    assert asked == []


def test_a_file_may_say_what_it_is_encoded_in(site):
    """It is looked at all the same."""
    header = b'; filename="x"\r\nContent-Type: text/csv; charset=' + UNKNOWN.encode()
    body = PART % (b"file", header, "ä@x.de".encode("cp1252")) + b"--b--"
    response = site.request("POST", "/api/upload", body, Content_Type=MULTIPART)
    assert (response.status, response.json["format"]["encoding"]) == (201, "cp1252")


def test_a_form_that_ends_within_its_file_leaves_no_file_open(site):
    def temporary_files():
        links = [*Path("/proc/self/fd").iterdir()]
        return sum("(deleted)" in str(link.readlink()) for link in links if link.is_symlink())

    body = form(b"a@x.de\n" * 200_000, "list.csv")[:-30]
    gc.collect()
    before = temporary_files()
    gc.disable()
    try:
        response = site.request("POST", "/api/upload", body, Content_Type=FORM_TYPE)
        problem(response, 400, "bad_form")
        eventually(lambda: temporary_files() == before)
    finally:
        gc.enable()
