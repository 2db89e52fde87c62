"""The API's description in OpenAPI 3.1, which GET /api/openapi.json returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import models
from batches import kept_files, results
from processors import reasons
from runtime.settings import VERSION
from web import batches, downloads
from web.schemas import FORMAT, ID, SCHEMAS, TEXT, Schema, list_of, object_of, or_null, ref, whole

_PROBLEM = "application/problem+json"

_FORM = {
    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    "text": {"type": "string", "description": "Addresses, in place of a file."},
    "column": {"type": "string", "description": "The address column: its header, or 1, 2, …"},
    "delimiter": {"type": "string", "description": "comma, semicolon, tab or pipe."},
    "encoding": {"type": "string", "description": "Such as utf-8 or cp1252."},
    "header": {"type": "string", "description": "Whether the first row is a header: yes or no."},
}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ok(schema: Schema, description: str) -> Schema:
    return {"200": _json(schema, description)}


def _file(media_type: str, description: str) -> Schema:
    return {"description": description, "content": {media_type: {"schema": TEXT}}}


_PROBLEMS = {
    400: "A parameter, a field or the request itself is malformed.",
    401: "The request names no user, or a wrong password.",
    403: "A page of another origin sent the request, or the proxy named no user.",
    404: "There is no batch with this id.",
    408: "The request came too slowly.",
    409: "The batch's state does not allow it.",
    411: "A body came without its length.",
    413: "The body or the file is too large, or would be when decompressed.",
    415: "The body or the file has a type that can't be read.",
    422: "The file can't be read as a batch; `line` is the line of the error, if there is one.",
    429: "Too many attempts to sign in failed, or too many streams are open.",
    431: "The headers are too long.",
    503: "The database can't be reached, or the server has no room for the request; see"
    " Retry-After. Without it (`database_timeout`, `took_too_long`), a statement took too long.",
    507: "The disk is full.",
}
_ALWAYS = (400, 401, 403, 413, 429, 431, 503)


def _operation(name: str, summary: str, answers: Schema, *problems: int, **more: Any) -> Schema:
    """Return one method of one address.

    `answers` are the responses by status, without errors; `problems` are the statuses of errors
    that not every operation has.
    """
    refused = {
        str(status): {
            "description": _PROBLEMS[status],
            "content": {_PROBLEM: {"schema": ref("Problem")}},
        }
        for status in sorted({*_ALWAYS, *problems})
    }
    return {
        "operationId": name,
        "summary": summary,
        "responses": {**refused, **answers},
        **more,
    }


# The operations on a batch, to which the response to an upload links.
_OF_A_BATCH = (
    *("batch", "stream", "emails", "rows", "typos", "results_csv", "results_jsonl"),
    *("retry", "cancel", "delete"),
)


def _link(name: str) -> Schema:
    return {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _one_of(*choices: str) -> Schema:
    return {"enum": ["", *choices]}  # an empty value allows any


_PATH_ID = {"name": "batchId", "in": "path", "required": True, "schema": ID}
_SEARCH = {"type": "string", "maxLength": batches.MAX_SEARCHED, "pattern": "^[^\\u0000]*$"}
_LIMIT = _query("limit", whole(1, batches.MAX_EMAILS), f"{batches.EMAILS} by default.")
_AFTER = _query("after", whole(0, models.MAX_LINE), "`next` of the previous page.")
_ONLY = _query("only", _one_of(*results.ONLY), "Only rows of this kind.")
_FILE_PROBLEMS = (408, 415, 422, 507)
_EVENT = {
    "type": "object",
    "description": "An event; the data of `event: health` is that of /api/health.",
    "properties": {
        "id": TEXT,
        "event": TEXT,
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [ref("Snapshot"), ref("Health")]},
        },
    },
}
_EVENTS: Schema = {
    "description": "Server-Sent Events: a snapshot, then every change.",
    "content": {"text/event-stream": {"schema": _EVENT}},
}


def _of_batch(
    name: str,
    summary: str,
    answers: Schema,
    *problems: int,
    parameters: Sequence[Schema] = (),
    **more: Any,
) -> Schema:
    """Return an operation on one batch."""
    parameters = [_PATH_ID, *parameters]
    return _operation(name, summary, answers, 404, *problems, parameters=parameters, **more)


def _upload(fields: Schema) -> Schema:
    schema = {
        "type": "object",
        "properties": fields,
        "anyOf": [{"required": ["file"]}, {"required": ["text"]}],
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _which() -> Schema:
    which = {"type": "string", "pattern": f"^{reasons.CODE}$"}
    form = {"type": "object", "properties": {"which": which}, "required": ["which"]}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": object_of(which=which)},
            "application/x-www-form-urlencoded": {"schema": form},
        },
    }


def _state(**more: Schema) -> Schema:
    return object_of(batchId=ID, status={"enum": [*models.STATUSES]}, **more)


_HEALTH = {
    "get": _operation(
        "health",
        "Show the state of the servers and workers.",
        {
            "200": _json(ref("Health"), "The database can be reached."),
            "503": {
                "description": "The database can't be reached.",
                "content": {
                    "application/json": {"schema": ref("Health")},
                    _PROBLEM: {"schema": ref("Problem")},
                },
            },
        },
    )
}
_DOCUMENT = {
    "get": _operation("document", "This document.", _ok({"type": "object"}, "The document."))
}
_STORE = {
    "post": _operation(
        "upload",
        "Store a file, or a text with addresses, as a batch; all of it or nothing.",
        {
            "201": {
                **_json(
                    object_of(
                        batchId=ID,
                        filename=TEXT,
                        totalEmails=whole(1),
                        status={"enum": [*models.STATUSES]},
                        rows=ref("Rows"),
                        format=ref("Format"),
                        liveUpdates={"type": "boolean"},
                    ),
                    "The batch is stored.",
                ),
                "headers": {"Location": {"schema": TEXT}},
                "links": {name: _link(name) for name in _OF_A_BATCH},
            }
        },
        *_FILE_PROBLEMS,
        requestBody=_upload(_FORM),
    )
}
_PREVIEW = {
    "post": _operation(
        "preview",
        "Show how an upload of this file, or of its first part, would be read.",
        _ok(
            object_of(
                **FORMAT,
                columns=list_of(object_of(index=whole(1), name=or_null(TEXT), addresses=whole())),
                rows=list_of(list_of(TEXT)),
                partial={"type": "boolean"},
            ),
            "The format, and the first rows.",
        ),
        *_FILE_PROBLEMS,
        requestBody=_upload(_FORM | {"size": TEXT}),
    )
}
_BATCHES = {
    "get": _operation(
        "batches",
        "List the batches, newest first.",
        _ok(object_of(batches=list_of(ref("Batch")), next=or_null(ID)), "A page."),
        parameters=[
            _query("q", _SEARCH, "A part of the file's name."),
            _query("status", _one_of(*models.STATUSES), "Only batches of this status."),
            _query("before", ID, "`next` of the previous page."),
            _query("limit", whole(1, batches.MAX_PAGE), f"{batches.PAGE} by default."),
        ],
    )
}
_ALL_EVENTS = {
    "get": _operation("streamAll", "Stream all changes, and the health.", {"200": _EVENTS})
}
_ONE_BATCH = {
    "get": _of_batch("batch", "Show a batch.", _ok(ref("WholeBatch"), "The batch.")),
    "delete": _of_batch(
        "delete",
        "Delete a batch that has ended, with its file and results.",
        {"204": {"description": "The batch is deleted."}},
        409,
    ),
}
_EVENTS_OF_BATCH = {
    "get": _of_batch(
        "stream",
        "Stream every change of the batch until its end.",
        {
            "200": _EVENTS,
            "204": {"description": "The batch has ended, and Last-Event-ID is its last revision."},
        },
    )
}
_EMAILS = {
    "get": _of_batch(
        "emails",
        "List the emails of the batch by number.",
        _ok(object_of(emails=list_of(ref("Email")), next=or_null(whole())), "A page."),
        parameters=[
            _query("status", _one_of(*reasons.STATUSES), "Only emails of this status."),
            _query("verdict", _one_of(*reasons.VERDICTS), "Only emails with this verdict."),
            _query(
                "reason",
                {"type": "string", "pattern": f"^({reasons.CODE})?$"},
                "Only emails with this reason.",
            ),
            _query("q", _SEARCH, "A part of the address."),
            _AFTER,
            _LIMIT,
        ],
    )
}
_ROWS = {
    "get": _of_batch(
        "rows",
        "List the rows that did not become emails, by line.",
        _ok(
            object_of(
                rows=list_of(
                    object_of(
                        line=whole(),
                        kind={"enum": [*kept_files.KINDS]},
                        firstLine=or_null(whole()),
                        content=or_null(TEXT),
                    )
                ),
                next=or_null(whole()),
            ),
            "A page.",
        ),
        parameters=[
            _query("kind", _one_of(*kept_files.KINDS), "Only rows of this kind."),
            _AFTER,
            _LIMIT,
        ],
    )
}
_TYPOS = {
    "get": _of_batch(
        "typos",
        "List the domains that are probably mistyped, the most frequent first.",
        _ok(
            object_of(typos=list_of(object_of(domain=TEXT, count=whole(1), suggestion=TEXT))),
            "The domains.",
        ),
    )
}
_RESULTS = {
    suffix: {
        "get": _of_batch(
            f"results_{suffix}",
            summary,
            {"200": _file(downloads.MEDIA_TYPES[suffix].partition(";")[0], "The file.")},
            409,
            parameters=[_ONLY],
        )
    }
    for suffix, summary in (
        ("csv", "Download the uploaded file with the outcome of each row."),
        ("jsonl", "Download a JSON object for each email."),
    )
}
_RETRY = {
    "post": _of_batch(
        "retry",
        "Process emails of a completed batch again: failed, unknown, or by reason.",
        _ok(_state(requeued=whole()), "The number of emails that were requeued."),
        409,
        415,
        requestBody=_which(),
    )
}
_CANCEL = {
    "post": _of_batch(
        "cancel",
        "Cancel a batch; outcomes that are counted stay.",
        _ok(_state(processedCount=whole(), totalEmails=whole(1)), "The batch is cancelled."),
        409,
    )
}

_BATCH = "/api/batches/{batchId}"
_PATHS: dict[str, Schema] = {
    "/api/health": _HEALTH,
    "/api/openapi.json": _DOCUMENT,
    "/api/upload": _STORE,
    "/api/preview": _PREVIEW,
    "/api/batches": _BATCHES,
    "/api/batches/stream": _ALL_EVENTS,
    _BATCH: _ONE_BATCH,
    f"{_BATCH}/stream": _EVENTS_OF_BATCH,
    f"{_BATCH}/emails": _EMAILS,
    f"{_BATCH}/rows": _ROWS,
    f"{_BATCH}/typos": _TYPOS,
    **{f"{_BATCH}/results.{suffix}": operation for suffix, operation in _RESULTS.items()},
    f"{_BATCH}/retry": _RETRY,
    f"{_BATCH}/cancel": _CANCEL,
}


def document(*, by_password: bool) -> dict[str, Any]:
    """Return the whole document; `by_password` says whether users sign in by HTTP Basic."""
    schemes = {"basic": {"type": "http", "scheme": "basic"}} if by_password else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Email batches",
            "version": VERSION,
            "description": "Upload lists of addresses, have each processed, and watch progress.",
        },
        "security": [{name: []} for name in schemes],
        "paths": _PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": schemes,
        },
    }
