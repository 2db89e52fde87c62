"""Store batches with outcomes, and read the results that are downloaded."""

from __future__ import annotations

import csv
import io
from io import BytesIO

from batches import intake
from harness.batches import Marks, take_turns
from harness.site import Response, Site
from tabular.formats import Overrides
from tabular.workbooks import workbook

ADDED = ["status", "verdict", "reason", "explanation", "suggestion", "normalized", "free_provider"]
NOTHING = [""] * 7
OK = ["processed", "ok", "", "", ""]
NO_AT_SIGN = ["failed", "invalid", "no_at_sign", "There is no @-sign.", "", "", "false"]
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def stored(
    content: bytes,
    filename: str = "people.csv",
    marked: Marks = (),
    chunk_size: int = 2,
    **overrides: Overrides,
) -> int:
    """Return the id of a completed batch of this file, with these outcomes."""
    batch = intake.store(
        BytesIO(content), filename, chunk_size=chunk_size, max_rows=10**6, **overrides
    )
    take_turns(batch.id, list(marked))
    return int(batch.id)


def table(response: Response, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a CSV download, which Excel must take for UTF-8."""
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.body.startswith(b"\xef\xbb\xbf")
    text = response.body.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def results_of(
    site: Site, batch_id: int, delimiter: str = ",", query_string: str = ""
) -> list[list[str]]:
    """Return the rows of a batch's results.csv."""
    return table(site.get(f"/api/batches/{batch_id}/results.csv{query_string}"), delimiter)


def workbook_of(site: Site, batch_id: int, query_string: str = "") -> list[list[str]]:
    """Return the rows of a batch's results.xlsx, as a spreadsheet reads them."""
    answer = site.get(f"/api/batches/{batch_id}/results.xlsx{query_string}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, XLSX)
    return [cells for _, cells in workbook.read(BytesIO(answer.body)).rows]
