"""The headers of a response that browsers save as a file: a batch's results."""

from __future__ import annotations

import re
from urllib.parse import quote

from bottle import response

from batches.filters import Filter
from models import Batch

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# Characters that some system allows in no file's name, or that would make it a path.
_UNUSABLE = re.compile(r'[<>:"/\\|?*]')


def set_headers(batch: Batch, wanted: Filter, suffix: str) -> None:
    """Set the media type and the file name.

    The name tells the filter, and whether emails are still to be processed.
    """
    stem = batch.filename.rpartition(".")[0] or batch.filename
    partial = ".partial" if batch.processed_count < batch.total_emails else ""
    part = "".join(each if each.isprintable() else "_" for each in wanted.name)
    part = _UNUSABLE.sub("_", part) or "results"
    name = f"{stem}.{part}{partial}.{suffix}"
    ascii_name = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    response.content_type = MEDIA_TYPES[suffix]
    # RFC 6266: the name itself is in UTF-8, and the other one for programs that can't read that.
    response.set_header(
        "Content-Disposition",
        f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}",
    )
