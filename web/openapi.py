"""GET /api/openapi.json: the API for programs, in OpenAPI 3.1."""

from __future__ import annotations

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
    "header": {"type": "string", "description": "Whether the first row is one: yes or no."},
}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _file(media_type: str, description: str) -> Schema:
    return {"description": description, "content": {media_type: {"schema": TEXT}}}


_PROBLEMS = {
    400: "A parameter, a field or the request itself is malformed.",
    401: "Nobody has signed in.",
    403: "Another origin's page asked for it, or the proxy named no user.",
    404: "There is no such batch.",
    408: "The request came too slowly.",
    409: "The batch is in a state that does not allow it.",
    411: "A body came without its length.",
    413: "The body or the file is too large, or inflates to too much.",
    415: "It is a body, or a file, of a kind that can't be read.",
    422: "The file can't become a batch; `line` is where, if one line is to blame.",
    429: "Too many attempts to sign in failed, or too many streams are open.",
    431: "The headers are too long.",
    503: "The database, or a place for it, is away for now; see Retry-After. Without that"
    " (`database_timeout`, `took_too_long`), the database server ended what took too long.",
    507: "The disk is full.",
}
_ALWAYS = (400, 401, 403, 413, 429, 431, 503)


def _operation(name: str, summary: str, answers: Schema, *problems: int, **more: Any) -> Schema:
    """One method of one address. `answers` are those that are no problem."""
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


# What can be done with a batch that was just uploaded.
_OF_A_BATCH = (
    *("batch", "stream", "emails", "rows", "typos", "results_csv", "results_jsonl"),
    *("retry", "cancel", "delete"),
)


def _link(name: str) -> Schema:
    return {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _one_of(*choices: str) -> Schema:
    return {"enum": ["", *choices]}  # empty for any


_PATH_ID = {"name": "batchId", "in": "path", "required": True, "schema": ID}
_SEARCH = {"type": "string", "maxLength": batches.MAX_SEARCHED, "pattern": "^[^\\u0000]*$"}
_LIMIT = _query("limit", whole(1, batches.MAX_EMAILS), f"{batches.EMAILS} by default.")
_AFTER = _query("after", whole(0, models.MAX_LINE), "`next` of the page before.")
_ONLY = _query("only", _one_of(*results.ONLY), "Rows of this kind only.")
_FILE_PROBLEMS = (408, 415, 422, 507)
_EVENT = {
    "type": "object",
    "description": "One event; `event: health` has what /api/health says.",
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
        "Whether all parts are there, and who processes what.",
        {
            "200": _json(ref("Health"), "It is there."),
            "503": {
                "description": "The database is out of reach.",
                "content": {
                    "application/json": {"schema": ref("Health")},
                    _PROBLEM: {"schema": ref("Problem")},
                },
            },
        },
    )
}
_DOCUMENT = {
    "get": _operation("document", "This document.", {"200": _json({"type": "object"}, "It.")})
}
_STORE = {
    "post": _operation(
        "upload",
        "Store a file, or a text with addresses, as a batch: all of it, or nothing.",
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
                    "It is stored.",
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
        "What an upload of this file, or of its first part, would be read as.",
        {
            "200": _json(
                object_of(
                    **FORMAT,
                    columns=list_of(
                        object_of(index=whole(1), name=or_null(TEXT), addresses=whole())
                    ),
                    rows=list_of(list_of(TEXT)),
                    partial={"type": "boolean"},
                ),
                "The format, and the first rows.",
            )
        },
        *_FILE_PROBLEMS,
        requestBody=_upload(_FORM | {"size": TEXT}),
    )
}
_BATCHES = {
    "get": _operation(
        "batches",
        "The batches, newest first.",
        {"200": _json(object_of(batches=list_of(ref("Batch")), next=or_null(ID)), "A page.")},
        parameters=[
            _query("q", _SEARCH, "A part of the file's name."),
            _query("status", _one_of(*models.STATUSES), "Those in this state only."),
            _query("before", ID, "`next` of the page before."),
            _query("limit", whole(1, batches.MAX_PAGE), f"{batches.PAGE} by default."),
        ],
    )
}
_ALL_EVENTS = {
    "get": _operation("streamAll", "Every change of any batch, and the health.", {"200": _EVENTS})
}
_ONE_BATCH = {
    "get": _operation(
        "batch",
        "A batch.",
        {"200": _json(ref("WholeBatch"), "The batch.")},
        404,
        parameters=[_PATH_ID],
    ),
    "delete": _operation(
        "delete",
        "Delete a batch that has ended, with its file and all that came of it.",
        {"204": {"description": "It is gone."}},
        404,
        409,
        parameters=[_PATH_ID],
    ),
}
_EVENTS_OF_BATCH = {
    "get": _operation(
        "stream",
        "Every change of the batch until its end.",
        {"200": _EVENTS, "204": {"description": "It has ended, as you know."}},
        404,
        parameters=[_PATH_ID],
    )
}
_EMAILS = {
    "get": _operation(
        "emails",
        "Its emails, by number.",
        {"200": _json(object_of(emails=list_of(ref("Email")), next=or_null(whole())), "A page.")},
        404,
        parameters=[
            _PATH_ID,
            _query("status", _one_of(*reasons.STATUSES), "Those in this state only."),
            _query("verdict", _one_of(*reasons.VERDICTS), "Those of this verdict only."),
            _query(
                "reason",
                {"type": "string", "pattern": f"^({reasons.CODE})?$"},
                "Those with this reason only.",
            ),
            _query("q", _SEARCH, "A part of the address."),
            _AFTER,
            _LIMIT,
        ],
    )
}
_ROWS = {
    "get": _operation(
        "rows",
        "The rows that became no emails, by line.",
        {
            "200": _json(
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
            )
        },
        404,
        parameters=[
            _PATH_ID,
            _query("kind", _one_of(*kept_files.KINDS), "Those of this kind only."),
            _AFTER,
            _LIMIT,
        ],
    )
}
_TYPOS = {
    "get": _operation(
        "typos",
        "Domains that are probably mistyped, most first.",
        {
            "200": _json(
                object_of(typos=list_of(object_of(domain=TEXT, count=whole(1), suggestion=TEXT))),
                "The domains.",
            )
        },
        404,
        parameters=[_PATH_ID],
    )
}
_RESULTS = {
    suffix: {
        "get": _operation(
            f"results_{suffix}",
            summary,
            {"200": _file(downloads.MEDIA_TYPES[suffix].partition(";")[0], "A download.")},
            404,
            409,
            parameters=[_PATH_ID, _ONLY],
        )
    }
    for suffix, summary in (
        ("csv", "The uploaded file, with what came of each row."),
        ("jsonl", "A JSON object for each email."),
    )
}
_RETRY = {
    "post": _operation(
        "retry",
        "Process emails of a completed batch again: failed, unknown, or by reason.",
        {"200": _json(_state(requeued=whole()), "So many are processed again.")},
        404,
        409,
        415,
        requestBody=_which(),
        parameters=[_PATH_ID],
    )
}
_CANCEL = {
    "post": _operation(
        "cancel",
        "Cancel a batch; what is counted stays.",
        {"200": _json(_state(processedCount=whole(), totalEmails=whole(1)), "It is.")},
        404,
        409,
        parameters=[_PATH_ID],
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
    """The whole document; `by_password` says whether users sign in by HTTP Basic."""
    schemes = {"basic": {"type": "http", "scheme": "basic"}} if by_password else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Email batches",
            "version": VERSION,
            "description": "Upload lists of addresses, have each processed, and watch.",
        },
        "security": [{name: []} for name in schemes],
        "paths": _PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": schemes,
        },
    }
