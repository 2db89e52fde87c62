"""Tells what a file is by its first bytes, and refuses a file that is no list."""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO, Literal

from tabular.formats import IntakeError

# The bytes at the beginning of a file that are looked at.
LOOKED_AT = 4096

# What archives begin with: ZIP, also without a file in it, and gzip.
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
GZIP = b"\x1f\x8b"
_EXPORT = "Export the list as CSV or XLSX from the program that has it, and upload that."
_PICTURE = "a picture", "Type the addresses, or copy and paste them."
# The first bytes of files that are refused: what each file is, and what to do instead.
_BINARY = {
    b"%PDF-": ("a PDF document", "Copy the addresses out of it, and paste them."),
    b"{\\rtf": ("a text document (RTF)", "Save it as plain text, one address on each line."),
    b"\x89PNG": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"GIF8": _PICTURE,
    b"RIFF": _PICTURE,
    GZIP: ("a packed file within another one", "Unpack it, and upload the list that is in it."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it, and upload the list that is in it."),
    b"Rar!": ("a RAR archive", "Unpack it, and upload the list that is in it."),
    b"BZh": ("compressed by bzip2", "Unpack it, and upload the list that is in it."),
    b"\xfd7zXZ": ("compressed by xz", "Unpack it, and upload the list that is in it."),
    b"SQLite format 3": ("a database (SQLite)", _EXPORT),
    b"MZ": ("a program", _EXPORT),
    b"\x7fELF": ("a program", _EXPORT),
}
# The beginnings of texts that are refused, with the same.
_TEXT = (
    (r"BEGIN:VCALENDAR", "a calendar (iCalendar)", _EXPORT),
    (r"[\[{]\s*[\[{\"]", "JSON", "Write it as CSV, one address on each line."),
    (r"(?:[A-Z][A-Za-z-]*: [^\n]*\n(?:[ \t][^\n]*\n)*){3}", "an email message", _EXPORT),
    (r"<\?xml[^>]*>", "XML", _EXPORT),
)
# Fields that an email message has, and hardly a list of recipients.
_HEADERS = re.compile(r"^(?:received|message-id|mime-version|return-path): ", re.I | re.M)
_SPREADSHEET_ML = "urn:schemas-microsoft-com:office:spreadsheet"
_HTML = re.compile(
    r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|table|meta)[\s/>]", re.I | re.S
)


def text_kind(file: BinaryIO) -> Literal["csv", "html", "vcard"]:
    """Return the kind of a text file: csv, html or vcard; raises IntakeError for any other.

    The file is left at its beginning.
    """
    file.seek(0)
    start = file.read(LOOKED_AT)
    file.seek(0)
    for signature, (what, advice) in _BINARY.items():
        if start.startswith(signature):
            raise _refusal(what, advice)
    text = _decoded(start).lstrip("\ufeff \t\r\n")
    if text[:11].upper() == "BEGIN:VCARD":
        return "vcard"
    if _HTML.match(text):
        return "html"
    if _SPREADSHEET_ML in text:
        raise _refusal("a workbook in an old form of XML", "Open it in Excel and save it as XLSX.")
    for pattern, what, advice in _TEXT:
        if re.match(pattern, text) and (what != "an email message" or _HEADERS.search(text)):
            raise _refusal(what, advice)
    return "csv"


def _decoded(start: bytes) -> str:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if start.startswith(mark):
            return start.decode(encoding, "replace")
    return start.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")


def _refusal(what: str, advice: str) -> IntakeError:
    return IntakeError("not_a_list", f"The file is {what}, not a list. {advice}")
