"""What a file is by its content, and what is said of one that is no list."""

import io

import pytest

from tabular import kinds
from tabular.formats import IntakeError

REFUSED = {
    "PDF": (b"%PDF-1.7\nanna@x.de", "a PDF document"),
    "RTF": (b"{\\rtf1 anna@x.de}", "a text document"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "JPEG": (b"\xff\xd8\xff\xe0", "a picture"),
    "JSON": (b'[{"email": "anna@x.de"}]', "JSON"),
    "JSON in lines": (b'\xef\xbb\xbf\n{"email": "anna@x.de"}\n', "JSON"),
    "calendar": (b"BEGIN:VCALENDAR\r\nATTENDEE:mailto:anna@x.de\r\n", "a calendar"),
    "message": (
        b"Received: from x\nMessage-ID: <1@x.de>\nTo: anna@x.de\nSubject: Hi\n\nbob@x.de\n",
        "an email message",
    ),
    "XML": (b'<?xml version="1.0"?>\n<list><email>anna@x.de</email></list>', "XML"),
    "SpreadsheetML": (
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        "a workbook in an old form",
    ),
    "database": (b"SQLite format 3\0", "a database"),
    "gzip in gzip": (b"\x1f\x8b\x08", "a packed file"),
    "RAR": (b"Rar!\x1a\x07", "a RAR archive"),
}


@pytest.mark.parametrize(("content", "what"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_list_is_called_by_its_name(content, what):
    with pytest.raises(IntakeError) as caught:
        kinds.text_kind(io.BytesIO(content))
    assert caught.value.code == "not_a_list"
    assert f"The file is {what}" in str(caught.value)
    # What to do is said in a sentence of its own.
    assert len(str(caught.value).split(". ")) >= 2


@pytest.mark.parametrize(
    ("content", "due"),
    [
        (b"anna@x.de\n", "csv"),
        (b"To: anna@x.de\nCc: bob@x.de\nBcc: cleo@x.de\n", "csv"),
        (b"[anna@x.de]\n", "csv"),
        (b"<anna@x.de>\n<bob@x.de>\n", "csv"),
        (b"<table@x.de>\n<bob@x.de>\n", "csv"),
        (b"\n  <!-- made by x -->\n<TABLE><tr><td>anna@x.de", "html"),
        ("\ufeff<html><body>".encode("utf-16"), "html"),
        (b"begin:vcard\nEMAIL:anna@x.de\n", "vcard"),
    ],
)
def test_what_can_be_read(content, due):
    file = io.BytesIO(content)
    assert kinds.text_kind(file) == due
    assert file.tell() == 0
