"""GET /api/openapi.json: the API for programs, in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

import batches
import files
import models
import results
from processors import reasons
from settings import VERSION

_Schema = dict[str, Any]

_PROBLEM = "application/problem+json"


def _object(**properties: _Schema) -> _Schema:
    """An object that has all of these, and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: _Schema) -> _Schema:
    return {"type": "array", "items": schema}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _whole(least: int = 0, most: int | None = None) -> _Schema:
    schema: _Schema = {"type": "integer", "minimum": least}
    return schema if most is None else {**schema, "maximum": most}


_TEXT: _Schema = {"type": "string"}
_TIME: _Schema = {"type": "string", "format": "date-time"}
_NUMBER: _Schema = {"type": "number", "minimum": 0}
_SUMS: _Schema = {"type": "object", "additionalProperties": _whole()}
_ID = _whole(1, models.MAX_ID)

_FORMAT = {
    "kind": {"enum": ["csv", "xlsx"]},
    "encoding": _or_null(_TEXT),
    "delimiter": _or_null(_TEXT),
    "header": _or_null(_list(_TEXT)),
    "column": _whole(1),
}
_SUMMARY = {
    "id": _ID,
    "filename": _TEXT,
    "uploadedBy": _or_null(_TEXT),
    "totalEmails": _whole(1),
    "processedCount": _whole(),
    "failedCount": _whole(),
    "status": {"enum": [*models.STATUSES]},
    "revision": _whole(1),
    "error": _or_null(_TEXT),
    "reasons": _SUMS,
    "verdicts": _object(**dict.fromkeys(reasons.VERDICTS, _whole())),
    "rows": _ref("Rows"),
    "format": _or_null(_ref("Format")),
    "createdAt": _TIME,
    "startedAt": _or_null(_TIME),
    "completedAt": _or_null(_TIME),
    "rate": _or_null(_NUMBER),
    "secondsLeft": _or_null(_NUMBER),
}

_SCHEMAS: dict[str, _Schema] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is stable, and `detail` a sentence for people.",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": _TEXT,
            "detail": _TEXT,
            "requestId": {**_TEXT, "description": "What the server's log calls this request."},
        },
        "required": ["type", "title", "status", "code", "detail", "requestId"],
    },
    "Rows": {
        **_object(
            total=_whole(),
            emails=_whole(),
            duplicates=_whole(),
            blank=_whole(),
            withoutAddress=_whole(),
        ),
        "description": "What became of the file's rows; `total` is the sum of the others.",
    },
    "Format": _object(**_FORMAT),
    "Batch": _object(**_SUMMARY),
    "WholeBatch": _object(
        **_SUMMARY,
        elapsedSeconds=_or_null(_NUMBER),
        rates=_or_null(_object(interval=_NUMBER, points=_list(_NUMBER))),
        history=_list(_ref("Action")),
    ),
    "Snapshot": _object(
        batchId=_ID,
        revision=_whole(1),
        status={"enum": [*models.STATUSES, models.DELETED]},
        processed=_whole(),
        failed=_whole(),
        total=_whole(1),
        reasons=_SUMS,
        verdicts=_SUMS,
        rate=_or_null(_NUMBER),
        secondsLeft=_or_null(_NUMBER),
    ),
    "Action": _object(
        action={"enum": ["retried", "cancelled", *models.DELETIONS]},
        by=_or_null(_TEXT),
        at=_TIME,
        which=_or_null(_TEXT),
        emails=_or_null(_whole()),
    ),
    "Email": _object(
        id=_whole(1),
        line=_whole(),
        email=_TEXT,
        status={"enum": [*reasons.STATUSES]},
        verdict=_or_null({"enum": [*reasons.VERDICTS]}),
        reason=_or_null(_TEXT),
        explanation=_or_null(_TEXT),
        suggestion=_or_null(_TEXT),
        normalized=_or_null(_TEXT),
    ),
    "Health": {
        "type": "object",
        "description": "What a server that is away would tell is null.",
        "properties": {
            "status": {"enum": ["ok", "degraded"]},
            "database": {"enum": ["ok", "unreachable"]},
            "redis": {"enum": ["ok", "unreachable"]},
            "workersAlive": _or_null(_whole()),
            "workerThreads": _or_null(_whole()),
            "workers": _or_null(_list({"type": "object"})),
            "lastWorkerSeen": _or_null({"type": "object"}),
            "queueDepth": _or_null(_whole()),
            "oldestWaiting": _or_null({"type": "object"}),
            "unfinishedBatches": _or_null(_whole()),
            "version": _TEXT,
            "schemaVersion": _or_null(_whole()),
            "notice": _or_null({"type": "object"}),
        },
    },
}
_SCHEMAS["Health"]["required"] = [*_SCHEMAS["Health"]["properties"]]

_FORM = {
    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    "text": {"type": "string", "description": "Addresses, in place of a file."},
    "column": {"type": "string", "description": "The address column: its header, or 1, 2, …"},
    "delimiter": {"type": "string", "description": "comma, semicolon, tab or pipe."},
    "encoding": {"type": "string", "description": "Such as utf-8 or cp1252."},
    "header": {"type": "string", "description": "Whether the first row is one: yes or no."},
}


def _json(schema: _Schema, description: str) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _file(media_type: str, description: str) -> _Schema:
    return {"description": description, "content": {media_type: {"schema": _TEXT}}}


_PROBLEMS = {
    400: "A parameter, a field or the request itself is malformed.",
    401: "Nobody has signed in.",
    403: "Another origin's page asked for it, or the proxy named no user.",
    404: "There is no such batch.",
    408: "The request came too slowly.",
    409: "The batch is in a state that does not allow it.",
    411: "A body came without its length.",
    413: "The file is too large, or inflates to too much.",
    415: "It is a file of a kind that can't be read.",
    422: "The file can't become a batch; `line` is where, if one line is to blame.",
    429: "Too many attempts to sign in failed, or too many streams are open.",
    431: "The headers are too long.",
    503: "The database, or a place for it, is away for now; see Retry-After.",
    507: "The disk is full.",
}
_ALWAYS = (400, 401, 403, 429, 431, 503)


def _operation(name: str, summary: str, answers: _Schema, *problems: int, **more: Any) -> _Schema:
    """One method of one address. `answers` are those that are no problem."""
    refused = {
        str(status): {
            "description": _PROBLEMS[status],
            "content": {_PROBLEM: {"schema": _ref("Problem")}},
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


def _link(name: str) -> _Schema:
    return {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}


def _query(name: str, schema: _Schema, description: str) -> _Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _one_of(*choices: str) -> _Schema:
    return {"enum": ["", *choices]}  # empty for any


_PATH_ID = {"name": "batchId", "in": "path", "required": True, "schema": _ID}
_SEARCH = {"type": "string", "maxLength": batches.MAX_SEARCHED, "pattern": "^[^\\u0000]*$"}
_LIMIT = _query("limit", _whole(1, batches.MAX_EMAILS), f"{batches.EMAILS} by default.")
_AFTER = _query("after", _whole(0, models.MAX_LINE), "`next` of the page before.")
_ONLY = _query("only", _one_of(*results.ONLY), "Rows of this kind only.")
_FILE_PROBLEMS = (408, 413, 415, 422, 507)
_EVENT = {
    "type": "object",
    "description": "One event; `event: health` has what /api/health says.",
    "properties": {
        "id": _TEXT,
        "event": _TEXT,
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [_ref("Snapshot"), _ref("Health")]},
        },
    },
}
_EVENTS: _Schema = {
    "description": "Server-Sent Events: a snapshot, then every change.",
    "content": {"text/event-stream": {"schema": _EVENT}},
}


def _upload(fields: _Schema) -> _Schema:
    schema = {
        "type": "object",
        "properties": fields,
        "anyOf": [{"required": ["file"]}, {"required": ["text"]}],
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _which() -> _Schema:
    which = {"type": "string", "pattern": f"^{reasons.CODE}$"}
    form = {"type": "object", "properties": {"which": which}, "required": ["which"]}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": _object(which=which)},
            "application/x-www-form-urlencoded": {"schema": form},
        },
    }


def _state(**more: _Schema) -> _Schema:
    return _object(batchId=_ID, status={"enum": [*models.STATUSES]}, **more)


def _paths() -> dict[str, _Schema]:
    batch = "/api/batches/{batchId}"
    of_batch = {"parameters": [_PATH_ID]}
    return {
        "/api/health": {
            "get": _operation(
                "health",
                "Whether all parts are there, and who processes what.",
                {
                    "200": _json(_ref("Health"), "It is there."),
                    "503": {
                        "description": "The database is out of reach.",
                        "content": {
                            "application/json": {"schema": _ref("Health")},
                            _PROBLEM: {"schema": _ref("Problem")},
                        },
                    },
                },
            )
        },
        "/api/openapi.json": {
            "get": _operation(
                "document", "This document.", {"200": _json({"type": "object"}, "It.")}
            )
        },
        "/api/upload": {
            "post": _operation(
                "upload",
                "Store a file, or a text with addresses, as a batch: all of it, or nothing.",
                {
                    "201": {
                        **_json(
                            _object(
                                batchId=_ID,
                                filename=_TEXT,
                                totalEmails=_whole(1),
                                status={"enum": [*models.STATUSES]},
                                rows=_ref("Rows"),
                                format=_ref("Format"),
                                liveUpdates={"type": "boolean"},
                            ),
                            "It is stored.",
                        ),
                        "headers": {"Location": {"schema": _TEXT}},
                        "links": {name: _link(name) for name in _OF_A_BATCH},
                    }
                },
                *_FILE_PROBLEMS,
                requestBody=_upload(_FORM),
            )
        },
        "/api/preview": {
            "post": _operation(
                "preview",
                "What an upload of this file, or of its first part, would be read as.",
                {
                    "200": _json(
                        _object(
                            **_FORMAT,
                            columns=_list(
                                _object(index=_whole(1), name=_or_null(_TEXT), addresses=_whole())
                            ),
                            rows=_list(_list(_TEXT)),
                            partial={"type": "boolean"},
                        ),
                        "The format, and the first rows.",
                    )
                },
                *_FILE_PROBLEMS,
                requestBody=_upload(_FORM | {"size": _TEXT}),
            )
        },
        "/api/batches": {
            "get": _operation(
                "batches",
                "The batches, newest first.",
                {
                    "200": _json(
                        _object(batches=_list(_ref("Batch")), next=_or_null(_ID)), "A page."
                    )
                },
                parameters=[
                    _query("q", _SEARCH, "A part of the file's name."),
                    _query("status", _one_of(*models.STATUSES), "Those in this state only."),
                    _query("before", _ID, "`next` of the page before."),
                    _query("limit", _whole(1, batches.MAX_PAGE), f"{batches.PAGE} by default."),
                ],
            )
        },
        "/api/batches/stream": {
            "get": _operation(
                "streamAll", "Every change of any batch, and the health.", {"200": _EVENTS}
            )
        },
        batch: {
            "get": _operation(
                "batch",
                "A batch.",
                {"200": _json(_ref("WholeBatch"), "The batch.")},
                404,
                **of_batch,
            ),
            "delete": _operation(
                "delete",
                "Delete a batch that has ended, with its file and all that came of it.",
                {"204": {"description": "It is gone."}},
                404,
                409,
                **of_batch,
            ),
        },
        f"{batch}/stream": {
            "get": _operation(
                "stream",
                "Every change of the batch until its end.",
                {"200": _EVENTS, "204": {"description": "It has ended, as you know."}},
                404,
                **of_batch,
            )
        },
        f"{batch}/emails": {
            "get": _operation(
                "emails",
                "Its emails, by number.",
                {
                    "200": _json(
                        _object(emails=_list(_ref("Email")), next=_or_null(_whole())), "A page."
                    )
                },
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
        },
        f"{batch}/rows": {
            "get": _operation(
                "rows",
                "The rows that became no emails, by line.",
                {
                    "200": _json(
                        _object(
                            rows=_list(
                                _object(
                                    line=_whole(),
                                    kind={"enum": [*files.KINDS]},
                                    firstLine=_or_null(_whole()),
                                    content=_or_null(_TEXT),
                                )
                            ),
                            next=_or_null(_whole()),
                        ),
                        "A page.",
                    )
                },
                404,
                parameters=[
                    _PATH_ID,
                    _query("kind", _one_of(*files.KINDS), "Those of this kind only."),
                    _AFTER,
                    _LIMIT,
                ],
            )
        },
        f"{batch}/typos": {
            "get": _operation(
                "typos",
                "Domains that are probably mistyped, most first.",
                {
                    "200": _json(
                        _object(
                            typos=_list(_object(domain=_TEXT, count=_whole(1), suggestion=_TEXT))
                        ),
                        "The domains.",
                    )
                },
                404,
                **of_batch,
            )
        },
        **{
            f"{batch}/results.{suffix}": {
                "get": _operation(
                    f"results_{suffix}",
                    summary,
                    {"200": _file(results.MEDIA_TYPES[suffix].partition(";")[0], "A download.")},
                    404,
                    409,
                    parameters=[_PATH_ID, _ONLY],
                )
            }
            for suffix, summary in (
                ("csv", "The uploaded file, with what came of each row."),
                ("jsonl", "A JSON object for each email."),
            )
        },
        f"{batch}/retry": {
            "post": _operation(
                "retry",
                "Process emails of a completed batch again: failed, unknown, or by reason.",
                {"200": _json(_state(requeued=_whole()), "So many are processed again.")},
                404,
                409,
                requestBody=_which(),
                **of_batch,
            )
        },
        f"{batch}/cancel": {
            "post": _operation(
                "cancel",
                "Cancel a batch; what is counted stays.",
                {"200": _json(_state(processedCount=_whole(), totalEmails=_whole(1)), "It is.")},
                404,
                409,
                **of_batch,
            )
        },
    }


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Email batches",
            "version": VERSION,
            "description": "Upload lists of addresses, have each processed, and watch.",
        },
        "security": [{"basic": []}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }
