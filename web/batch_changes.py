"""The API of changes to stored batches: retry, cancel, pause, resume, rate, finish, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import bottle

from batches import changes, finishing, removal
from batches.changes import StateError
from models import Snapshot
from processors import reasons
from runtime import logs
from web import forms
from web.access import sign_in
from web.batches import Batches
from web.parameters import bad_parameter, per_minute
from web.problems import Problem
from web.services import Services

# Seconds that a retry may take for one chunk, and a removal for one piece.
PIECE_SECONDS = 10.0

logger = logs.Logger("batches")


class BatchChanges:
    """The handlers that change batches. One object serves all request threads."""

    def __init__(self, services: Services, batches: Batches) -> None:
        self._batches = batches
        self._connect = services.connect
        self._announce = services.announce

    def retry(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/retry: requeue emails; `which` is failed, unknown or a reason."""
        which = forms.field("which")
        if which is None or not reasons.is_code(which):
            raise bad_parameter(
                "which", "be failed, unknown, or the code of a reason, such as no_at_sign"
            )
        with _refused_by_state(), self._connect(PIECE_SECONDS) as current:
            done = changes.retry(
                batch_id,
                which,
                reasons.named(which),
                lambda: current.extend(PIECE_SECONDS),
                sign_in.user(),
            )
        if done is None:
            raise self._batches.no_batch(batch_id)
        requeued, snapshot = done
        if requeued:
            self._report("retried", snapshot, which=which, emails=requeued)
        return {"batchId": batch_id, "requeued": requeued, "status": snapshot.status}

    def cancel(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/cancel: the outcomes of turns under way are dropped."""
        snapshot = self._change(batch_id, changes.cancel)
        self._report("cancelled", snapshot, processed=snapshot.processed)
        return {
            "batchId": batch_id,
            "status": snapshot.status,
            "processedCount": snapshot.processed,
            "totalEmails": snapshot.total,
        }

    def pause(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/pause: no turn begins any more; those under way are counted."""
        return self._pause_or_resume(batch_id, changes.pause, "paused")

    def resume(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/resume: workers go on with the batch."""
        return self._pause_or_resume(batch_id, changes.resume, "resumed")

    def _pause_or_resume(
        self, batch_id: int, change: Callable[[int, str | None], Snapshot | None], event: str
    ) -> dict[str, Any]:
        snapshot = self._change(batch_id, change)
        self._report(event, snapshot, processed=snapshot.processed)
        return {"batchId": batch_id, "status": snapshot.status, "paused": snapshot.paused}

    def rate(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/rate: at most so many emails a minute; none if that is empty."""
        text = forms.field("per_minute", is_number=True)
        if text is None:
            raise bad_parameter("per_minute", "be given: a number of emails, or empty for no rate")
        wanted = per_minute(text)
        snapshot = self._change(batch_id, partial(changes.set_rate, per_minute=wanted))
        self._report("rate", snapshot, per_minute=snapshot.per_minute)
        return {
            "batchId": batch_id,
            "status": snapshot.status,
            "perMinute": snapshot.per_minute,
        }

    def finish(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/finish: emails that wait become unknown."""
        with _refused_by_state(), self._connect(PIECE_SECONDS) as current:

            def on_chunk(snapshot: Snapshot) -> None:
                current.extend(PIECE_SECONDS)
                self._announce(snapshot)

            done = finishing.finish(batch_id, on_chunk, sign_in.user())
        if done is None:
            raise self._batches.no_batch(batch_id)
        finished, snapshot = done
        if finished:
            self._report("finished", snapshot, emails=finished)
        return {"batchId": batch_id, "finished": finished, "status": snapshot.status}

    def delete(self, batch_id: int) -> None:
        """DELETE /api/batches/{id}: 204 when the batch, its rows and its file are removed."""
        self.hide(batch_id)
        removal.remove_all(batch_id, lambda: self._connect(PIECE_SECONDS))
        raise bottle.HTTPResponse(status=204)

    def hide(self, batch_id: int) -> None:
        """Delete a batch for all users; a worker removes its rows later. Raises Problem."""
        snapshot = self._change(batch_id, changes.delete)
        self._report("deleted", snapshot, emails=snapshot.total)

    def _change(
        self, batch_id: int, change: Callable[[int, str | None], Snapshot | None]
    ) -> Snapshot:
        with _refused_by_state(), self._connect():
            snapshot = change(batch_id, sign_in.user())
        if snapshot is None:
            raise self._batches.no_batch(batch_id)
        return snapshot

    def _report(self, event: str, snapshot: Snapshot, **values: object) -> None:
        """Log a change of a batch, and announce the snapshot after it."""
        logger.info(event, batch=snapshot.batch_id, **values, **sign_in.doer())
        self._announce(snapshot)


@contextmanager
def _refused_by_state() -> Iterator[None]:
    """Turn a StateError into a Problem."""
    try:
        yield
    except StateError as error:
        raise Problem(409, "wrong_state", str(error)) from error
