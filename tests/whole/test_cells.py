"""Cells of the file's rows on their way from an upload to a processor, with a worker that dies."""

import csv
import io
import signal
from pathlib import Path

from harness.books import assert_books_balance, query

HEADER = ["mail", 'say "hi"', "two\nlines", "=cmd|'/c calc'!A1", "Name", "Name", "\u202eשם", ""]
ROWS = 20_000
PROCESSOR = r"""
import time
from processors import failed, per_item

NAMES = ["mail", 'say "hi"', "two\nlines", "=cmd|'/c calc'!A1", "Name", "Name (2)", "\u202eשם"]
NAMES.append("Column 8")

@per_item
def compare(item):
    if item.address.startswith("a0"):
        time.sleep(0.001)
    number = item.address[1:].partition("@")[0]
    due = [item.address, *(f'{number}"\t\\{column},\n=é' for column in range(1, 8))]
    return None if item.cells == dict(zip(NAMES, due)) else failed("of_another_row")
"""


def test_each_email_gets_the_cells_of_its_own_row(processes, tmp_path: Path):
    (tmp_path / "rows.py").write_text(PROCESSOR)
    settings = {"worker__processor": "rows:compare", "worker__turn_seconds": 0.1}
    site = processes("app.py", **settings).site()
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(HEADER)
    for number in range(ROWS):
        name = f"{number % 10}{number}"
        cells = (f'{name}"\t\\{column},\n=é' for column in range(1, 8))
        writer.writerow([f"a{name}@x.de", *cells])
    uploaded = site.upload(file.getvalue().encode(), columns="*").json
    with site.stream(uploaded["batchId"]) as stream:
        doomed = processes("worker.py", "--threads", "2", **settings)
        doomed.await_line("worker started")
        processes("worker.py", "--threads", "2", **settings)
        events = stream.events()
        next(event for event in events if event["processed"])
        doomed.stop(signal.SIGKILL)
        last = list(events)[-1]
    assert (last["status"], last["processed"], last["failed"]) == ("completed", ROWS, 0)
    assert query("SELECT DISTINCT reason FROM email") == [(None,)]
    assert_books_balance()
