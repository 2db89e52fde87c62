"""A list in a gzip file or in a ZIP archive."""

import gzip
import io
import zipfile

import pytest

from tabular.containers import unpacked
from tabular.formats import IntakeError

LIST = b"a@x.de\nb@x.de\n"


def zipped(method=zipfile.ZIP_DEFLATED, **files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def result(content, name="list.bin", limit=1000):
    file, name = unpacked(io.BytesIO(content), name, limit)
    with file:
        return file.read(), name


def test_one_list_is_unpacked():
    assert result(gzip.compress(LIST), "list.csv.gz") == (LIST, "list.csv")
    archive = zipped(**{"lists/": b"", "lists/october.csv": LIST, "__MACOSX/._october.csv": b"x"})
    assert result(archive) == (LIST, "october.csv")
    assert result(zipped(**{".DS_Store": b"x", "a.csv": LIST})) == (LIST, "a.csv")


@pytest.mark.parametrize(
    "content",
    [LIST, zipped(**{"[Content_Types].xml": b"", "xl/workbook.xml": b""}), b"PK\x03\x04 broken"],
)
def test_other_files_stay_as_they_are(content):
    assert result(content) == (content, "list.bin")


REFUSED = {
    "two files": (zipped(a=LIST, b=LIST), "several_files", "2 files: a, b."),
    "nothing": (zipped(), "empty_file", "The archive is empty"),
    "another method": (zipped(zipfile.ZIP_LZMA, a=LIST), "broken_archive", "in a way"),
    "a bomb": (zipped(a=bytes(2000)), "zip_bomb", "when it is unpacked"),
    "a bomb of gzip": (gzip.compress(bytes(2000)), "zip_bomb", "when it is unpacked"),
    "half of gzip": (gzip.compress(LIST)[:-4], "broken_archive", "not all is there"),
}


@pytest.mark.parametrize(("content", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_unpacked_says_why(content, code, text):
    with pytest.raises(IntakeError) as caught:
        result(content)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_a_part_that_was_damaged_is_never_taken_for_the_list():
    content = bytearray(zipped(a=LIST * 10))
    for position in range(len(content)):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        try:
            found, _ = result(bytes(damaged))
        except IntakeError:
            continue
        assert found in (LIST * 10, bytes(damaged))
