"""Cells into a processor and answers out of it, with workers killed again and again."""

from __future__ import annotations

import csv
import io
import json
import signal

from harness.books import assert_books_balance, snapshot
from harness.polling import eventually
from harness.results import ADDED, results_of

ROWS, KILLS = 5_000, 6
HEADER = [
    "Name",
    "Name",
    'with "quotes"',
    "with\na line",
    "=cmd|' /C calc'!A0",
    "email",
    "اسم",
    "",
    "status",
    "a,b;c\td",
    *(f"column {number}" for number in range(11, 201)),
]
# How the cells are named: a repeated header is numbered, an empty one is called by its place.
NAMES = [*HEADER]
NAMES[1], NAMES[7] = "Name (2)", "Column 8"
# Cells that could be taken for something else, in turn.
ODD = ["", "\\", "\t", "a\nb", "\\N", '"', "=1+1", "\\t", " x ", "ä€😀", "a\r\nb", "\\."]

# Says each cell that it gets, in 20 answers of ten cells each.
MIRROR = """
import json, time
from processors import answered, per_item, takes_columns

@takes_columns("*")
@per_item
def mirror(item):
    time.sleep(0.0005)
    cells = list(item.cells.items())
    return answered(**{
        f"part{n}": json.dumps(dict(cells[n * 10 : n * 10 + 10]), ensure_ascii=False)
        for n in range(20)
    })
"""


def cells_of(row: int) -> list[str]:
    cells = [f"{row}.{column}" for column in range(200)]
    cells[5] = f"user{row}@x.de"
    for place in (2, 9, 100, 199):
        cells[place] = ODD[(row + place) % len(ODD)]
    return cells


def content() -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows(map(cells_of, range(ROWS)))
    # Once more, with other cells: those of the first row count.
    writer.writerow([*["other"] * 5, "USER7@x.de", *["other"] * 194])
    return text.getvalue().encode()


def test_each_email_gets_the_cells_of_its_row_and_keeps_its_answers(processes, database, tmp_path):
    (tmp_path / "mirror_of_cells.py").write_text(MIRROR)
    settings = {
        "worker__processor": "mirror_of_cells:mirror",
        "worker__turn_seconds": 0.2,
        "worker__chunk_size": 500,
    }
    site = processes("app.py", **settings).site()
    processes("worker.py", "--threads", "2", **settings)
    killed = processes("worker.py", "--threads", "2", **settings)
    batch_id = site.upload(content()).json["batchId"]
    for _ in range(KILLS):
        before = snapshot(batch_id).processed
        eventually(lambda before=before: snapshot(batch_id).processed > before)
        killed.stop(signal.SIGKILL)
        killed = processes("worker.py", "--threads", "2", **settings)
    eventually(lambda: snapshot(batch_id).status == "completed", 120)
    assert_books_balance()
    names, *rows = results_of(site, batch_id)
    answers = [f"part{number}" for number in range(20)]
    # Results have no formulas, whoever wrote them.
    shown = [f"'{name}" if name.startswith("=") else name for name in HEADER]
    assert names == [*shown, *ADDED, *answers]
    assert len(rows) == ROWS + 1
    for row, result in enumerate(rows[:-1]):
        told = [json.loads(part) for part in result[-20:]]
        given = {name: cell for part in told for name, cell in part.items()}
        # A line end in a cell of a text is always one character.
        cells = [cell.replace("\r\n", "\n") for cell in cells_of(row)]
        assert given == dict(zip(NAMES, cells, strict=True)), row
    assert rows[-1][200] == "duplicate"
    assert rows[-1][-20:] == [""] * 20
