"""The API's description in OpenAPI 3.1, which GET /api/openapi.json returns."""

from __future__ import annotations

from typing import Any

import models
from batches import kept_files
from batches.filters import WORDS
from processors import reasons
from runtime.settings import VERSION
from web import batches, downloads, parameters, problems
from web.schemas import (
    FORMAT,
    ID,
    SCHEMAS,
    STATUS,
    TEXT,
    TIME,
    Schema,
    list_of,
    object_of,
    open_object,
    or_null,
    ref,
    whole,
)

_JSON = "application/json"
_BATCH = "/api/batches/{batchId}"

_PROBLEMS = {
    400: "A parameter, a field or the request itself is malformed.",
    401: "The request names no user, or a wrong password.",
    403: "A page of another origin sent the request, or the proxy named no user.",
    404: "There is no batch with this id.",
    408: "The request came too slowly.",
    409: "The batch's state does not allow it.",
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

# Filled by _describe(): the operations by path and method, and the links from the response to an
# upload to the operations on its batch.
_PATHS: dict[str, Schema] = {}
_LINKS: Schema = {}


def _content(schemas: dict[str, Schema]) -> Schema:
    """Return the content of a request or response, which has one of the schemas by media type."""
    return {"content": {kind: {"schema": schema} for kind, schema in schemas.items()}}


def _ok(schema: Schema, description: str, kind: str = _JSON) -> Schema:
    return {"200": {"description": description, **_content({kind: schema})}}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _one_of(*choices: str) -> Schema:
    return {"enum": ["", *choices]}  # an empty value allows any


def _describe(
    operation: str, name: str, summary: str, answers: Schema, *refused: int, **more: Any
) -> None:
    """Describe an operation, such as `GET /api/batches`.

    `answers` are the responses by status, without errors.
    `refused` are the statuses of errors that not every operation has.
    """
    method, path = operation.split()
    if path.startswith(_BATCH):
        refused += (404,)
        batch_id = {"name": "batchId", "in": "path", "required": True, "schema": ID}
        more["parameters"] = [batch_id, *more.get("parameters", ())]
        _LINKS[name] = {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}
    problem = _content({problems.MEDIA_TYPE: ref("Problem")})
    errors = {
        str(status): {"description": _PROBLEMS[status], **problem}
        for status in sorted({*_ALWAYS, *refused})
    }
    responses = errors | answers
    described = {"operationId": name, "summary": summary, "responses": responses, **more}
    _PATHS.setdefault(path, {})[method.lower()] = described


_describe(
    "GET /api/health",
    "health",
    "Show the state of the servers and workers.",
    {
        **_ok(ref("Health"), "The database can be reached."),
        "503": {
            "description": "The database can't be reached.",
            **_content({_JSON: ref("Health"), problems.MEDIA_TYPE: ref("Problem")}),
        },
    },
)
_describe(
    "GET /api/openapi.json", "document", "This document.", _ok({"type": "object"}, "The document.")
)

_FORM = {
    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    "text": {"type": "string", "description": "Addresses, in place of a file."},
    "column": {"type": "string", "description": "The address column: its header, or 1, 2, …"},
    "delimiter": {"type": "string", "description": "comma, semicolon, tab or pipe."},
    "encoding": {"type": "string", "description": "Such as utf-8 or cp1252."},
    "header": {"type": "string", "description": "Whether there is a header: yes, no, or its line."},
    "split": {"type": "string", "description": "Whether a cell may have several addresses."},
    "sheet": {"type": "string", "description": "The sheet of a workbook: its name, or 1, 2, …"},
}
_BEGIN = {
    "paused": {"type": "string", "description": "Whether the batch begins paused: yes or no."},
    "start_at": {**TIME, "description": "Until when the batch is paused, unless it is resumed."},
}
_FILE_PROBLEMS = (408, 415, 422, 507)


def _form_with_file(**fields: Schema) -> Schema:
    schema = {
        "type": "object",
        "properties": fields,
        "oneOf": [{"required": ["file"]}, {"required": ["text"]}],
    }
    return {"required": True, **_content({"multipart/form-data": schema})}


_STORED = object_of(
    batchId=ID,
    filename=TEXT,
    totalEmails=whole(1),
    status=STATUS,
    rows=ref("Rows"),
    format=ref("Format"),
    liveUpdates={"type": "boolean"},
)
_describe(
    "POST /api/upload",
    "upload",
    "Store a file, or a text with addresses, as a batch; all of it or nothing.",
    {
        "201": {
            "description": "The batch is stored.",
            **_content({_JSON: _STORED}),
            "headers": {"Location": {"schema": TEXT}},
            "links": _LINKS,
        }
    },
    *_FILE_PROBLEMS,
    requestBody=_form_with_file(**_FORM, **_BEGIN),
)
_SHEET = object_of(
    name=TEXT,
    hidden={"type": "boolean"},
    rows=or_null(whole()),
    addresses=or_null(whole()),
)
_describe(
    "POST /api/preview",
    "preview",
    "Show how an upload of this file, or of its first part, would be read.",
    _ok(
        object_of(
            **FORMAT,
            why=or_null({**TEXT, "description": "Why the column is that of the addresses."}),
            columns=list_of(object_of(index=whole(1), name=or_null(TEXT), addresses=whole())),
            headerLine=or_null(whole(1)),
            above=list_of(object_of(line=whole(1), cells=list_of(TEXT))),
            rows=list_of(list_of(TEXT)),
            lines=list_of(whole(1)),
            sheets=list_of(_SHEET),
            encodings={
                **list_of(object_of(encoding=TEXT, texts=list_of(TEXT))),
                "description": "The likeliest encodings, if none is certain, and how they read the"
                " same pieces of the file.",
            },
            partial={"type": "boolean"},
            counts=ref("Rows"),
            headline={
                **object_of(before=TEXT, column=or_null(TEXT), after=TEXT),
                "description": "The number of rows, estimated if `partial`, and where their"
                " addresses are, in words: three texts to be shown as one, of which `column` is"
                " the name of the address column.",
            },
            summary={**TEXT, "description": "The counts in words."},
            others={
                **or_null(object_of(text=TEXT, column=whole(1))),
                "description": "Rows with addresses in other columns, and the column with most.",
            },
            problem=or_null({**TEXT, "description": "Why an upload would be refused as it is."}),
            warning=or_null({**TEXT, "description": "Why an upload would probably be refused."}),
        ),
        "The format, and the first rows.",
    ),
    *_FILE_PROBLEMS,
    requestBody=_form_with_file(**_FORM, size=TEXT),
)

_SEARCH = {"type": "string", "maxLength": parameters.MAX_SEARCHED, "pattern": "^[^\\u0000]*$"}
_LIMIT = _query("limit", whole(1, batches.MAX_EMAILS), f"{batches.EMAILS} by default.")
_AFTER = _query("after", whole(0, models.MAX_LINE), "`next` of the previous page.")
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
_EVENTS = _ok(_EVENT, "Server-Sent Events: a snapshot, then every change.", "text/event-stream")

_describe(
    "GET /api/batches",
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
_describe("GET /api/batches/stream", "streamAll", "Stream all changes, and the health.", _EVENTS)
_describe(f"GET {_BATCH}", "batch", "Show a batch.", _ok(ref("WholeBatch"), "The batch."))
_describe(
    f"DELETE {_BATCH}",
    "delete",
    "Delete a batch that has ended, with its file and results.",
    {"204": {"description": "The batch is deleted."}},
    409,
)
_describe(
    f"GET {_BATCH}/stream",
    "stream",
    "Stream every change of the batch until its end.",
    {
        **_EVENTS,
        "204": {"description": "The batch has ended, and Last-Event-ID is its last revision."},
    },
)
_OF_EMAILS = [
    _query("status", _one_of(*WORDS["status"]), "Only emails of this status."),
    _query("verdict", _one_of(*WORDS["verdict"]), "Only emails with this verdict."),
    _query(
        "reason",
        {"type": "string", "pattern": f"^({reasons.CODE})?$"},
        "Only emails with this reason.",
    ),
    _query("q", _SEARCH, "A part of the address."),
]
_KIND = _query("kind", _one_of(*WORDS["kind"]), "Only rows of this kind, which are no emails.")

_describe(
    f"GET {_BATCH}/emails",
    "emails",
    "List the emails of the batch by number.",
    _ok(
        object_of(emails=list_of(ref("Email")), next=or_null(whole()), matching=or_null(whole())),
        "A page.",
    ),
    parameters=[*_OF_EMAILS, _AFTER, _LIMIT],
)
_ROW = object_of(
    line=whole(),
    kind={"enum": [*kept_files.KINDS]},
    firstLine=or_null(whole()),
    content=or_null(TEXT),
)
_describe(
    f"GET {_BATCH}/rows",
    "rows",
    "List the rows that did not become emails, by line.",
    _ok(
        object_of(
            rows=list_of(_ROW),
            next=or_null(whole()),
            nextPart=or_null(whole()),
            matching=or_null(whole()),
        ),
        "A page.",
    ),
    parameters=[
        _KIND,
        _AFTER,
        _query("afterPart", whole(0, models.MAX_LINE), "`nextPart` of the previous page."),
        _LIMIT,
    ],
)
_TYPO = object_of(domain=TEXT, count=whole(1), suggestion=TEXT)
_describe(
    f"GET {_BATCH}/typos",
    "typos",
    "List the domains that are probably mistyped, the most frequent first.",
    _ok(object_of(typos=list_of(_TYPO)), "The domains."),
)
_ONLY = _query(
    "only",
    _one_of(*(word for words in WORDS.values() for word in words), *reasons.CATALOGUE),
    "A verdict, a status, a kind or a reason, also one of the batch's own, in place of the"
    " parameter of that name. `unknown` is the verdict. Beside it, there may be `q` for emails.",
)
for _suffix, _summary, *_refused in (
    ("csv", "Download the uploaded file with the outcome of each row."),
    ("xlsx", "Download the same rows as a workbook.", 409),
    ("jsonl", "Download a JSON object for each email, or for each row of a kind."),
):
    _describe(
        f"GET {_BATCH}/results.{_suffix}",
        f"results_{_suffix}",
        _summary,
        _ok(TEXT, "The file.", downloads.MEDIA_TYPES[_suffix].partition(";")[0]),
        *_refused,
        parameters=[_ONLY, *_OF_EMAILS, _KIND],
    )

_WHICH = {"type": "string", "pattern": f"^{reasons.CODE}$"}
_describe(
    f"POST {_BATCH}/retry",
    "retry",
    "Process emails of a completed batch again: failed, unknown (not interrupted), or by reason.",
    _ok(
        object_of(batchId=ID, status=STATUS, requeued=whole()),
        "The number of emails that were requeued.",
    ),
    *(409, 415),
    requestBody={
        "required": True,
        **_content(
            {
                _JSON: object_of(which=_WHICH),
                "application/x-www-form-urlencoded": open_object(which=_WHICH),
            }
        ),
    },
)
_describe(
    f"POST {_BATCH}/cancel",
    "cancel",
    "Cancel a batch; outcomes that are counted stay.",
    _ok(
        object_of(batchId=ID, status=STATUS, processedCount=whole(), totalEmails=whole(1)),
        "The batch is cancelled.",
    ),
    409,
)
_describe(
    f"POST {_BATCH}/finish",
    "finish",
    "Make the emails of a batch that wait to be processed again unknown.",
    _ok(object_of(batchId=ID, finished=whole(), status=STATUS), "The number of these emails."),
    409,
)
for _name, _summary in (
    ("pause", "Begin nothing more of a batch until it is resumed; turns under way are counted."),
    ("resume", "Go on with a paused batch."),
):
    _describe(
        f"POST {_BATCH}/{_name}",
        _name,
        _summary,
        _ok(object_of(batchId=ID, status=STATUS, paused=or_null(ref("Pause"))), "Done."),
        409,
    )


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
        "components": {"schemas": SCHEMAS, "securitySchemes": schemes},
    }
