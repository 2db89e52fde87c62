"""Figures of keeping a database of many emails: sizes, backup and restore, deleting, vacuum.

None has a target. Most are for a million emails; the label says so.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

import calls
import filling
from ground import ROOT, Ground, Interrupts, timed
from report import Row, say

FIGURES = ("stored-upkeep",)
_SIZES = (
    "SELECT pg_relation_size('email') / 1e6::float8, pg_relation_size('email_pkey') / 1e6::float8,"
    " pg_total_relation_size('file_piece') / 1e6::float8"
)


def measure(full: Ground, interrupts: Interrupts) -> tuple[list[Row], list[str]]:
    """Measure a database that filling.fill() has filled.

    Deletes half of its emails, and stores as many again. Returns rows of the table, and sentences
    for the end.
    """
    millions, batches = full.rows("SELECT sum(total_emails) / 1e6::float8, count(*) FROM batch")[0]
    stored = f"{millions:,.0f} million emails in {batches:,} batches stored"
    say(f"{stored}: backup and restore")
    names = ("table", "index", "kept files")
    rows = [
        _row(f"{stored}: size of a million, {name}", "MB", size / millions)
        for name, size in zip(names, full.rows(_SIZES)[0], strict=True)
    ]
    file = full.folder / "backup"
    seconds = timed(lambda: _manage(full, "backup", str(file)))
    rows.append(_row("… backup of a million", "s", seconds / millions))
    rows.append(_row("… its size", "MB", file.stat().st_size / 1e6 / millions))
    sentences = []
    needed = sum(each.stat().st_size for each in (full.folder / "postgres/data").rglob("*/*"))
    if shutil.disk_usage(full.folder).free > 2 * needed:
        with Ground(interrupts) as restored:
            seconds = timed(lambda: _manage(restored, "restore", str(file)))
        rows.append(_row("… restore of a million", "s", seconds / millions))
    else:
        sentences.append("The disk has no room to restore the backup beside the database.")
    file.unlink()
    return [*rows, *_deleting(full)], sentences


def _deleting(full: Ground) -> list[Row]:
    ids = [row[0] for row in full.rows("SELECT id FROM batch ORDER BY id")]
    large = full.rows("SELECT total_emails / 1e6::float8 FROM batch WHERE id = %s", ids[0])[0][0]
    say("deleting")
    # Each second batch of those that are alike; they come after the first one, and its follower.
    half = ids[2::2]
    many = filling.SMALL * len(half) / 1e6
    with full.app() as app:
        alone = timed(lambda: _delete(app.address, ids[:1]))
        vacuum = timed(lambda: full.rows("VACUUM email"))
        before = full.rows(_SIZES)[0]
        others = timed(lambda: _delete(app.address, half))
        after = timed(lambda: full.rows("VACUUM batch, chunk, email, file_piece"))
    say("storing as many as were deleted")
    # What became empty of an index is free for use from the next VACUUM on.
    full.rows("VACUUM email")
    filling.copy(full, ids[1], len(half) + round(large * 1e6 / filling.SMALL))
    now = full.rows(_SIZES)[0]
    return [
        _row("… deleting a million in one batch", "s", alone / large),
        _row("… VACUUM after it", "s", vacuum),
        _row(f"… deleting a million in batches of {filling.SMALL:,}", "s", others / many),
        _row("… VACUUM after half is deleted, for a million of them", "s", after / many),
        Row("stored-upkeep", "… table when as many are stored again", "MB", [now[0]], [before[0]]),
        Row("stored-upkeep", "… its index", "MB", [now[1]], [before[1]]),
    ]


def _row(label: str, unit: str, value: float) -> Row:
    return Row("stored-upkeep", label, unit, [value])


def _delete(address: calls.Address, ids: Iterable[int]) -> None:
    with contextlib.closing(calls.connection(address)) as connection:
        for batch_id in ids:
            connection.request("DELETE", f"/api/batches/{batch_id}")
            _expect(connection.getresponse(), 204)


def _expect(response: http.client.HTTPResponse, status: int) -> None:
    body = response.read()
    if response.status != status:
        raise RuntimeError(f"a DELETE was answered with {response.status}: {body[:500]!r}")


def _manage(ground: Ground, *arguments: str) -> None:
    """Run a verb of manage.py on the ground's servers."""
    urls = {"DATABASE_URL": ground.database_url, "REDIS_URL": ground.redis_url}
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**os.environ, **urls},
        stdout=subprocess.DEVNULL,
        check=True,
    )
