"""The pages: rendered from the API's answers, and complete before any script runs.

Scripts keep the pages up to date. Without scripts, forms post to the addresses here, which do the
same as the API's and redirect to the next page.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bottle
from bottle import request, response

import models
from models import Batch
from processors import reasons
from processors.syntax import MALFORMED
from runtime import phrases
from runtime.entries import CHECK
from runtime.paths import ROOT
from runtime.rate import MAX_PER_MINUTE
from runtime.settings import VERSION, Settings
from tabular.columns import cell_names
from tabular.formats import CELLS, DELIMITERS, ENCODINGS, Format
from tabular.workbooks import workbook
from tabular.workbooks.writer import MAX_ROWS
from web.access import sign_in
from web.again import Again
from web.batch_changes import BatchChanges
from web.batches import Batches
from web.health import SILENT, Health
from web.offered import ALL, Offered
from web.parameters import FILTERS, OF_EMAILS, number_from_query
from web.uploads import Uploads

STATIC = ROOT / "static"
# The kinds of rows that became no emails, in words: for one row and for more.
_KINDS = {
    "duplicate": ("duplicate", "duplicates"),
    "without_address": ("without an address", "without an address"),
    "blank": ("blank", "blank"),
    "skipped": ("without an email", "without an email"),
}
# The parameters that filter the batches.
_OF_BATCHES = ("q", "status", "processor")
# The most characters of the names of columns that a page offers to tick.
MAX_OFFERED = 10_000
# The Cache-Control of an address with the version in it: its content never changes.
_FOR_EVER = "public, max-age=31536000, immutable"

bottle.TEMPLATE_PATH[:] = [str(ROOT / "views")]


def static_version() -> str:
    """Return a digest of all files under static/, for paths that browsers cache for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def imported_modules(script: str) -> list[str]:
    """Return the paths under static/ of all modules that a script imports, directly or not.

    A page lists them, so that a browser loads them at once and not one after another.
    """
    found: set[Path] = set()
    unread = [STATIC / "js" / f"{script}.js"]
    while unread:
        module = unread.pop()
        names = re.findall(r'from "(\.[^"]+)"', module.read_text(encoding="utf-8"))
        imports = {(module.parent / name).resolve() for name in names}
        unread += imports - found
        found |= imports
    return sorted(path.relative_to(STATIC).as_posix() for path in found)


class Pages:
    """The handlers. One object serves all request threads."""

    def __init__(
        self,
        settings: Settings,
        batches: Batches,
        changes: BatchChanges,
        uploads: Uploads,
        again: Again,
        health: Health,
        offered: Offered,
    ) -> None:
        self._settings = settings
        self._batches = batches
        self._changes = changes
        self._uploads = uploads
        self._again = again
        self._offered = offered
        self._health = health
        self._static_version = static_version()
        self._preload = {script: imported_modules(script) for script in ("home", "batch")}

    def layout(self) -> dict[str, Any]:
        """Return the values that the layout of every page takes."""
        return {
            "static": f"/static/{self._static_version}",
            "version": VERSION,
            "user": sign_in.user(),
        }

    def _render(self, template: str, **values: Any) -> bytes:
        body: str = bottle.template(
            template,
            script=template,
            preload=self._preload[template],
            health=self._health.recent(),
            silent=SILENT,
            phrases=phrases,
            offered=self._offered,
            most_per_minute=MAX_PER_MINUTE,
            **values,
            **self.layout(),
        )
        # The size of a compressed page with a search term would tell whoever sees only the size
        # whether the term is on the page a second time.
        if request.query_string or not _takes_gzip():
            return body.encode()
        response.set_header("Content-Encoding", "gzip")
        response.add_header("Vary", "Accept-Encoding")
        return gzip.compress(body.encode(), compresslevel=4, mtime=0)

    def home(self) -> bytes:
        """GET /?q=&status=&processor=&before=: the upload form, and a page of the batches."""
        batch_id = number_from_query("batch", None, models.MAX_ID)
        if batch_id:  # the address of a batch's page in earlier versions
            bottle.redirect(f"/batches/{batch_id}", 303)
        found = self._batches.batches()
        query = {name: request.query.getunicode(name) or "" for name in _OF_BATCHES}
        filtered = any(query.values()) or bool(request.query.get("before"))
        return self._render(
            "home",
            batches=found["batches"],
            query=query,
            more=_address("/", query, before=found["next"]),
            statuses=models.STATUSES,
            verdicts=reasons.VERDICTS,
            filtered=filtered,
            first=not found["batches"] and not filtered,
            checks=self._offered.default == CHECK,
            now=datetime.now(UTC),
            deleted=number_from_query("deleted", None, models.MAX_ID),
            max_megabytes=self._settings.upload.max_megabytes,
            delimiters=DELIMITERS,
            encodings=ENCODINGS,
        )

    def batch(self, batch_id: int) -> bytes:
        """GET /batches/{id}: progress, counts of outcomes, and the rows, filtered by FILTERS."""
        query = {name: request.query.getunicode(name) or "" for name in FILTERS}
        skipped = bool(query["kind"])
        batches = self._batches
        with batches.connect():
            # Once, so that all counts are of one moment.
            stored = batches.find(batch_id, with_history=True)
            batch = batches.whole(stored)
            found = batches.rows_of(stored) if skipped else batches.emails_of(stored)
        rows = found["rows"] if skipped else found["emails"]
        path = f"/batches/{batch_id}"
        place = {"after": found["next"]} | ({"afterPart": found["nextPart"]} if skipped else {})
        return self._render(
            "batch",
            batch=batch,
            query=query,
            path=path,
            rows=rows,
            matching=found["matching"],
            more=_address(path, query, "#emails", **place),
            later=bool(request.query.get("after")),
            kinds=_KINDS,
            label=_label(query, batch),
            retried=number_from_query("retried", None, models.MAX_LINE),
            ended=batch["status"] in models.TERMINAL,
            rechecked=_rechecked(batch),
            unknown=sum(batch["reasons"].get(code, 0) for code in reasons.RETRIED),
            interrupted=batch["reasons"].get(reasons.INTERRUPTED, 0),
            malformed=sorted(MALFORMED),
            endings=_endings(batch),
            verb=self._offered.verb(batch["processor"]),
            unable=self._unable(batch),
            filtered=urlencode(_filter(query)),
            **self._columns(stored),
        )

    def _unable(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return why no worker can process the batch, and a command; empty if that isn't known."""
        name = self._offered.name(batch["processor"])
        known = self._health.recent().get("processors") or ()
        return next((each for each in known if each["name"] == name), {})

    def _columns(self, batch: Batch) -> dict[str, Any]:
        """Return what the page says of the columns of a batch's list.

        lacking: those that its processor takes, and the list lacks.
        cells: what a form says to ask for the further ones again. All are `*`, because their names
        may be too many or too long for a form.
        columns, ticked: those that may be ticked and those that are, as JSON; no columns if they
        are too many or too long.
        column: the one with the addresses, from 1.

        Without a choice, the page says nothing of columns.
        """
        if not self._offered.has_choice:
            return {"lacking": []}
        offer = self._offered.offer(self._offered.name(batch.processor))
        found = Format.from_json(batch.format or {"kind": "list"})
        names, taken = cell_names(found), offer.columns if offer else ()
        further = [name for name in batch.columns if name not in taken and ALL not in taken]
        if further and len(names) == len(batch.columns) > 1:
            further = [ALL]
        is_short = len(names) <= CELLS and sum(map(len, names)) <= MAX_OFFERED
        return {
            "lacking": offer.lacking(found) if offer and batch.format else [],
            "cells": phrases.as_csv(further),
            "columns": json.dumps(names) if is_short else "",
            "ticked": json.dumps(further if is_short else []),
            "column": found.column + 1,
        }

    def icon(self, version: str, percent: int) -> str:
        """GET /static/VERSION/progress/N.svg: the icon of a page whose batch is at N percent."""
        if version != self._static_version or percent > 100:
            raise bottle.HTTPError(404)
        response.content_type = "image/svg+xml"
        response.set_header("Cache-Control", _FOR_EVER)
        body: str = bottle.template("icon", percent=percent)
        return body

    def static(self, version: str, path: str) -> bottle.HTTPResponse:
        """GET /static/VERSION/PATH: a file that browsers may cache for ever."""
        if version != self._static_version:
            raise bottle.HTTPError(404)
        file = bottle.static_file(path, root=str(STATIC))
        if file.status_code == 200:
            file.set_header("Cache-Control", _FOR_EVER)
            file.set_header("Vary", "Accept-Encoding")
            if request.method == "GET" and _takes_gzip():
                with file.body as plain:
                    file.body = gzip.compress(plain.read(), mtime=0)
                file.set_header("Content-Encoding", "gzip")
                file.set_header("Content-Length", len(file.body))
        return file

    # The handlers of forms. Each redirects to the next page.

    def upload(self) -> None:
        """POST /upload: like POST /api/upload; then the batch."""
        bottle.redirect(f"/batches/{self._uploads.upload()['batchId']}", 303)

    def retry(self, batch_id: int) -> None:
        """POST /batches/{id}/retry: like the same under /api; then the batch."""
        requeued = self._changes.retry(batch_id)["requeued"]
        bottle.redirect(f"/batches/{batch_id}?retried={requeued}", 303)

    def again(self, batch_id: int) -> None:
        """POST /batches/{id}/again: like the same under /api; then the new batch."""
        bottle.redirect(f"/batches/{self._again.again(batch_id)['batchId']}", 303)

    @staticmethod
    def then_batch(change: Callable[[int], object]) -> Callable[[int], None]:
        """Return the handler of POST /batches/{id}/…: a change like under /api; then the batch."""

        def handler(batch_id: int) -> None:
            change(batch_id)
            bottle.redirect(f"/batches/{batch_id}", 303)

        return handler

    def delete(self, batch_id: int) -> None:
        """POST /batches/{id}/delete: hide the batch for a worker to delete; then the home page."""
        self._changes.hide(batch_id)
        bottle.redirect(f"/?deleted={batch_id}", 303)


def _takes_gzip() -> bool:
    return "gzip" in request.environ.get("HTTP_ACCEPT_ENCODING", "")


def _address(path: str, query: dict[str, str], fragment: str = "", **place: int | None) -> str:
    """Return the address of the next page of a list, beginning at `place`; empty if it is None."""
    if None in place.values():
        return ""
    parameters = {name: value for name, value in query.items() if value} | place
    return f"{path}?{urlencode(parameters)}{fragment}"


def _label(query: dict[str, str], batch: dict[str, Any]) -> str:
    """Return the filter of the rows that are shown in words, without its search term."""
    if query["kind"]:
        return _KINDS[query["kind"]][1]
    explained = {each["reason"]: each["explanation"] for each in batch["reasonDetails"]}
    reason = query["reason"]
    return query["verdict"] or query["status"] or explained.get(reason, reason)


def _rechecked(batch: dict[str, Any]) -> int:
    """Return the number of failed emails, or 0 if all are malformed, which no check will change."""
    failed, counts = batch["failedCount"], batch["reasons"]
    malformed = sum(counts.get(reason, 0) for reason in MALFORMED)
    return failed if failed > malformed else 0


def _filter(query: dict[str, str]) -> dict[str, str]:
    """Return the filter of the rows that are shown: with a kind, no other parameter counts."""
    names = ["kind"] if query["kind"] else OF_EMAILS
    return {name: query[name] for name in names if query[name]}


def _endings(batch: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the endings of the results' files with their names, the batch's own kind first.

    A batch with too many rows for a sheet has no workbook.
    """
    rows, found = batch["rows"], batch["format"]
    workbooks = [("xlsx", "XLSX")] if rows["total"] + rows["furtherAddresses"] < MAX_ROWS else []
    texts = [("csv", "CSV"), ("jsonl", "JSON lines")]
    if found and found["kind"] in workbook.KINDS:
        return workbooks + texts
    return [texts[0], *workbooks, texts[1]]
