"""The API of stored batches: read them, their emails and results. batch_changes changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

from bottle import request, response

import models
from batches import kept_files, queries, results, snapshots
from batches.as_json import (
    action_json,
    batch_json,
    email_json,
    reason_details_json,
    skipped_json,
    typo_json,
)
from batches.filters import SKIPPED, WORDS, Filter
from models import Batch, Snapshot
from postgres import database
from postgres.database import Session
from processors import reasons
from relay import hub
from runtime import phrases
from runtime.bounded import BoundedDict
from web import downloads, uploads
from web.access import sign_in
from web.offered import MAX_NAME, Offered
from web.parameters import (
    MAX_SEARCHED,
    bad_parameter,
    choice_from_query,
    filter_of_emails,
    filter_of_rows,
    number_from_query,
    text_from_query,
)
from web.problems import Problem
from web.services import Services

# Batches on one page of the list, at most and by default.
MAX_PAGE, PAGE = 100, 20
# Emails or skipped rows on one page, at most and by default.
MAX_EMAILS, EMAILS = 500, 50
# Seconds that one statement of a search may take.
SEARCH_SECONDS = 1.5
# Seconds that the statement that counts a batch's typos may take.
TYPOS_SECONDS = 8.5
# Further seconds in which PostgreSQL must end such a statement, or it counts as unreachable.
MORE_SECONDS = 1.5
# The most batches whose counted typos are remembered; and the most whose JSON is.
MAX_TYPOS, MAX_LISTED = 100, 200


class Batches:
    """The handlers that read batches. One object serves all request threads."""

    def __init__(self, services: Services, offered: Offered) -> None:
        self._offered = offered
        self._streams = services.streams
        self.connect = services.connect
        self._health = services.health.recent
        self._rates = services.hub.rates
        self._typos = lru_cache(MAX_TYPOS)(self._count_typos)
        # By batch: the version of its row, its snapshot and its JSON.
        self._listed = BoundedDict[int, tuple[str, Snapshot, dict[str, Any]]](MAX_LISTED)

    def find(self, batch_id: int, *, with_history: bool = False) -> Batch:
        """Return the batch with this id. Raises Problem if there is none."""
        batch = None
        if 1 <= batch_id <= models.MAX_ID:
            with self.connect():
                batch = queries.find_batch(batch_id, with_history=with_history)
        if batch is None:
            raise self.no_batch(batch_id)
        return batch

    def no_batch(self, batch_id: int) -> Problem:
        """Return the problem of a batch that isn't there, or not any more."""
        detail = f"There is no batch {batch_id}."
        if 1 <= batch_id <= models.MAX_ID:
            with self.connect():
                action = queries.last_action(batch_id)
            if action is not None and action.kind in models.DELETIONS:
                last = action_json(action)
                why = " because of its age" if last["action"] == "expired" else ""
                detail = (
                    f"Batch {batch_id} was deleted{phrases.by(last['by'])}{why} on"
                    f" {phrases.moment(last['at'])}."
                )
        return Problem(404, "batch_not_found", detail)

    def _summaries(self, versions: Mapping[int, str]) -> list[dict[str, Any]]:
        """Return the JSON of the batches, with their rates, in these versions or newer ones.

        Reading a batch and making its JSON takes ten times as long as reading its version. So both
        are done only for a batch whose version is new.
        """
        made = {
            number: kept
            for number, version in versions.items()
            if (kept := self._listed.get(number)) and kept[0] == version
        }
        changed = versions.keys() - made.keys()
        for batch in queries.listed(changed) if changed else ():
            kept = versions[batch.id], Snapshot.of(batch), batch_json(batch)
            self._listed[batch.id] = made[batch.id] = kept
        # A batch that was deleted just now is not there.
        present = [made[number] for number in versions if number in made]
        return [shown | self._rates.pace(snapshot) for _, snapshot, shown in present]

    @contextmanager
    def _connect_for(self, what: str, seconds: float, advice: str) -> Iterator[Session]:
        """Open a session in which a statement of over `seconds` is ended and raises Problem."""
        try:
            with self.connect(seconds + MORE_SECONDS) as current, database.limited(seconds):
                yield current
        except database.UNREACHABLE as error:
            if not database.is_limit(error):
                raise
            detail = f"{what} took too long and was cancelled. {advice}"
            raise Problem(503, "took_too_long", detail) from error

    def _search(self, containing: str | None) -> AbstractContextManager[Session]:
        if not containing:
            return self.connect()
        return self._connect_for(
            "The search", SEARCH_SECONDS, "Search for something shorter or more exact."
        )

    def batches(self) -> dict[str, Any]:
        """GET /api/batches?q=&status=&processor=&before=&limit=: batches, newest first.

        `next` is the `before` of the next page, or null. With a filter, a page may be short or
        empty, and have a next page all the same.
        """
        status = choice_from_query("status", models.STATUSES)
        containing = text_from_query("q", MAX_SEARCHED)
        processor = text_from_query("processor", MAX_NAME)
        before = number_from_query("before", None, models.MAX_ID)
        limit = number_from_query("limit", PAGE, MAX_PAGE)
        of_processor = (processor, processor == self._offered.unnamed) if processor else None
        with self._search(containing):
            versions, following = queries.find_batches(
                status, containing, of_processor, before=before, limit=limit
            )
            found = self._summaries(versions)
        if not versions and following is None:
            self._refuse_unknown_processor(processor)
        return {"batches": found, "next": following}

    def _refuse_unknown_processor(self, name: str) -> None:
        """Raise Problem for the name of a processor that config.ini lacks and no batch shows.

        Batches of a processor that config.ini has no more are still listed.
        """
        if name and name not in self._offered.titles:
            raise bad_parameter("processor", f"be one of {', '.join(self._offered.titles)}")

    def batch(self, batch_id: int) -> dict[str, Any]:
        """GET /api/batches/{id}: a batch with its elapsed time, reasons, rates and history."""
        with self.connect():
            return self.whole(self.find(batch_id, with_history=True))

    def whole(self, batch: Batch) -> dict[str, Any]:
        """Return the answer of batch(), of a batch that was found with its history.

        Must be called in a session.
        """
        elapsed = queries.elapsed_seconds(batch)
        own = [code for code in batch.reasons if code not in reasons.CATALOGUE]
        statuses = queries.status_of_reasons(batch.id, own) if own else {}
        verb = self._offered.verb(batch.processor)
        summary = batch_json(batch) | self._rates.pace(Snapshot.of(batch))
        return summary | {
            "elapsedSeconds": None if elapsed is None else round(elapsed, 1),
            "ending": phrases.ending(
                batch.status, batch.processed_count, batch.total_emails, elapsed, verb
            ),
            "reasonDetails": reason_details_json(batch.reasons, statuses),
            "rates": self._rates.history(batch.id),
            "history": [action_json(action, verb) for action in batch.history],
        }

    def stream(self, batch_id: int) -> Iterator[bytes]:
        """GET /api/batches/{id}/stream: a snapshot at once, then what changes, until the end."""
        return self._stream(
            batch_id,
            lambda: [Snapshot.of(self.find(batch_id))],
            last_event_id=request.environ.get("HTTP_LAST_EVENT_ID", ""),
        )

    def stream_all(self) -> Iterator[bytes]:
        """GET /api/batches/stream: health, current snapshots, then what changes."""

        def present() -> list[Snapshot]:
            with self.connect():
                return snapshots.newest_and_unfinished(hub.NEWEST, hub.UNFINISHED)

        return self._stream(None, present, health=self._health)

    def _stream(
        self, batch_id: int | None, read: Callable[[], list[Snapshot]], **options: Any
    ) -> Iterator[bytes]:
        """Open an event stream for the current request, and set its headers."""
        events = self._streams.open(
            batch_id,
            read,
            holder=sign_in.holder(),
            disconnected=request.environ["waitress.client_disconnected"],
            **options,
        )
        response.content_type = "text/event-stream; charset=utf-8"
        response.set_header("X-Accel-Buffering", "no")  # nginx would hold events back
        return events

    def emails(self, batch_id: int) -> dict[str, Any]:
        """GET /api/batches/{id}/emails?status=&verdict=&reason=&q=&after=&limit=: by number.

        `next` is the `after` of the next page, or null; `matching` says how many match in all, or
        is null if only a search of all emails could tell. One request searches a limited number of
        emails, so a page may have fewer than `limit`, or none, and a next page all the same.
        """
        return self.emails_of(self.find(batch_id))

    def emails_of(self, batch: Batch) -> dict[str, Any]:
        """Return the answer of emails(). Raises Problem."""
        wanted = filter_of_emails()
        after = number_from_query("after", 0, models.MAX_LINE, least=0)
        limit = number_from_query("limit", EMAILS, MAX_EMAILS)
        with self._search(wanted.containing):
            found, following = queries.find_emails(batch, wanted, after=after, limit=limit)
        return {
            "emails": [email_json(each, batch.answers) for each in found],
            "next": following,
            "matching": wanted.matches_of(batch),
        }

    def rows(self, batch_id: int) -> dict[str, Any]:
        """GET /api/batches/{id}/rows?kind=&after=&afterPart=&limit=: rows that became no emails.

        `next` and `nextPart` are the `after` and `afterPart` of the next page, or null.
        """
        return self.rows_of(self.find(batch_id))

    def rows_of(self, batch: Batch) -> dict[str, Any]:
        """Return the answer of rows(). Raises Problem."""
        wanted = Filter(kind=choice_from_query("kind", WORDS["kind"]) or SKIPPED)
        limit = number_from_query("limit", EMAILS, MAX_EMAILS)
        after = number_from_query("after", 0, models.MAX_LINE, least=0)
        part = number_from_query("afterPart", models.MAX_LINE, models.MAX_LINE, least=0)
        with self.connect():
            found = kept_files.skipped(batch.id, wanted.kinds, (after, part), limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return {
            "rows": [skipped_json(row) for row in found[:limit]],
            "next": last and last.row_number,
            "nextPart": last and last.part,
            "matching": wanted.matches_of(batch),
        }

    def typos(self, batch_id: int) -> dict[str, Any]:
        """GET /api/batches/{id}/typos: probably mistyped domains, the most frequent first."""
        counted = self._typos(batch_id, self.find(batch_id).revision)
        return {"typos": [typo_json(domain, number) for domain, number in counted]}

    def _count_typos(self, batch_id: int, _revision: int) -> list[tuple[str, int]]:
        # The revision is only a part of the cache's key; the count may be of a later revision.
        with self._connect_for("Counting", TYPOS_SECONDS, "Please try again later."):
            return queries.typo_domains(batch_id)

    def results_csv(self, batch_id: int) -> Iterator[bytes]:
        """GET /api/batches/{id}/results.csv?only=…: the uploaded file with outcomes."""
        return self._results(batch_id, "csv", results.csv_pieces)

    def results_xlsx(self, batch_id: int) -> Iterator[bytes]:
        """GET /api/batches/{id}/results.xlsx?only=…: the rows of results.csv as a workbook."""
        return self._results(batch_id, "xlsx", results.xlsx_pieces)

    def results_jsonl(self, batch_id: int) -> Iterator[bytes]:
        """GET /api/batches/{id}/results.jsonl?only=…: a JSON object for each email or row."""
        return self._results(batch_id, "jsonl", results.jsonl_pieces)

    def _results(
        self, batch_id: int, suffix: str, pieces: Callable[[Batch, Filter], Iterator[bytes]]
    ) -> Iterator[bytes]:
        batch = self.find(batch_id)
        wanted = filter_of_rows(batch.reasons)
        downloads.set_headers(batch, wanted, suffix)
        # A download may last as long as a stream, so it takes a slot and no request thread.
        try:
            with uploads.problems_of_files():
                return self._streams.hold(pieces(batch, wanted), sign_in.holder())
        except results.FileNotKeptError as error:
            raise file_not_kept("Take results.jsonl instead.") from error
        except results.TooLargeError as error:
            detail = "A sheet can't have so many rows or columns. Take results.csv instead."
            raise Problem(409, "too_large_for_workbook", detail) from error
        except (results.IncompleteError, FileNotFoundError):
            self.find(batch_id)  # raises Problem if the batch has been deleted since
            raise


def file_not_kept(advice: str) -> Problem:
    """Return the problem of a batch without a file; `advice` is a sentence."""
    detail = f"This batch was uploaded before files were kept. {advice}"
    return Problem(404, "file_not_kept", detail)
