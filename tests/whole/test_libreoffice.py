"""Workbooks that LibreOffice wrote are read, and it reads ours.

The files of tests/tabular/workbooks/files were made in their folder:
for kind in ods xls xlsx; do soffice --headless --convert-to $kind customers.fods; done
"""

import csv
import io
import shutil
from pathlib import Path

import pytest

from batches import intake
from harness.batches import take_turns
from harness.config import ROOT
from harness.processes import run_to_end
from harness.servers import required
from tabular.formulas import undefused
from tabular.workbooks import workbook

FILES = ROOT / "tests" / "tabular" / "workbooks" / "files"
KINDS = ("xlsx", "xls", "ods")


@pytest.mark.parametrize("kind", KINDS)
def test_a_workbook_of_each_kind_is_read_alike(kind):
    with (FILES / f"customers.{kind}").open("rb") as file:
        reading = workbook.read(file)
        rows = list(reading.rows)
    assert (reading.kind, reading.sheet) == (kind, "Kunden & Gäste")
    assert reading.sheets == [
        ("Übersicht", False, 1, 1),
        ("Kunden & Gäste", False, 4, 3),
        ("Alt", True, 9, 9),
    ]
    joerg = ("Jörg Weiß", "joerg@books.example", "04109", "01.03.2026", "2.5")
    ca_va = ('"Ça, va" <b>', "cava@books.example; ca.va@books.example", "00007", "", "-0.125")
    assert [(number, cells) for number, cells in rows if cells] == [
        (1, ["Name", "E-Mail", "PLZ", "Seit", "Summe", "Notiz"]),
        (2, [*joerg, "calls\non Mondays"]),
        (3, ["Łucja 🦊", "lucja@books.example", "80331", "31.12.1999", "5", ""]),
        (6, [*ca_va, "'=1+1"]),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_workbook_of_each_kind_becomes_a_batch(site, kind):
    content = (FILES / f"customers.{kind}").read_bytes()
    assert site.upload(content, f"customers.{kind}").json["totalEmails"] == 4


def converted(file: Path, target: str) -> Path:
    """What LibreOffice makes of a file, beside it; `target` is a kind, perhaps with a filter."""
    kind = target.partition(":")[0]
    written = file.with_suffix(f".{kind}")
    profile = f"-env:UserInstallation={(file.parent / 'profile').as_uri()}"
    program = shutil.which("soffice") or required(ROOT / "soffice", "libreoffice-calc-nogui")
    command = (program, profile, "--headless", "--convert-to", target, "--outdir", file.parent)
    done = run_to_end(*command, file, HOME=str(file.parent))
    assert written.exists(), done
    return written


ROWS = [
    ["PLZ", "E-Mail", "Notiz"],
    ["01067", "jörg@books.example", "two\nlines, “quoted” \"'"],
    [" 007 ", "zoë@books.example", "=1+1"],
    ["1e5", "nobody", "-5"],
    ["2026-03-01", "NOBODY@books.example", "TRUE 🦊 _x0041_ <b>&amp;"],
    ["12345678901234567890", "nobody@books.example", "@x +1"],
]


def test_results_open_in_libreoffice_and_come_back_equal(site, tmp_path):
    content = io.StringIO(newline="")
    csv.writer(content).writerows(ROWS)
    batch = intake.store(
        io.BytesIO(content.getvalue().encode()), "a.csv", chunk_size=2, max_rows=100
    )
    take_turns(batch.id, [(3, "failed", "no_at_sign")])
    answer = site.get(f"/api/batches/{batch.id}/results.csv").body.decode("utf-8-sig")
    expected = [[undefused(c) for c in row] for row in csv.reader(io.StringIO(answer, newline=""))]
    assert [row[:3] for row in expected] == ROWS
    results = tmp_path / "results.xlsx"
    results.write_bytes(site.get(f"/api/batches/{batch.id}/results.xlsx").body)

    # Fields separated by commas (44), quoted by quotes (34), in UTF-8 (76).
    written = converted(results, "csv:Text - txt - csv (StarCalc):44,34,76")
    with written.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == expected
    for kind in ("ods", "xls"):
        book = converted(results, kind)
        with book.open("rb") as file:
            assert [cells for _, cells in workbook.read(file).rows] == expected
        again = site.upload(book.read_bytes(), book.name).json
        assert again["totalEmails"] == batch.total_emails
        emails = site.get(f"/api/batches/{again['batchId']}/emails").json["emails"]
        assert [email["email"] for email in emails] == [
            row[1].strip() for row in expected[1:] if row[3] != "duplicate"
        ]
