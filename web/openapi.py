"""The API's description in OpenAPI 3.1, which GET /api/openapi.json returns."""

from __future__ import annotations

from typing import Any

import models
from batches import kept_files
from batches.filters import WORDS
from processors import reasons
from runtime.rate import MAX_PER_MINUTE
from runtime.settings import VERSION
from web import batches, downloads, offered, parameters, problems
from web.operations import (
    BATCH,
    JSON,
    LINKS,
    PATHS,
    content,
    describe,
    ok,
    one_of,
    query,
    small_form,
)
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
    or_null,
    ref,
    whole,
)

describe(
    "GET /api/health",
    "health",
    "Show the state of the servers and workers.",
    {
        **ok(ref("Health"), "The database can be reached."),
        "503": {
            "description": "The database can't be reached.",
            **content({JSON: ref("Health"), problems.MEDIA_TYPE: ref("Problem")}),
        },
    },
)
describe(
    "GET /api/openapi.json", "document", "This document.", ok({"type": "object"}, "The document.")
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
    "per_minute": {"type": "string", "description": "The most emails a minute; empty for no rate."},
}
_CHOICE = {
    "processor": {
        "type": "string",
        "description": "The name of the processor; empty for the default one.",
    },
    "columns": {
        "type": "string",
        "description": "Headers separated by commas, as in CSV: the columns whose cells the"
        " processor gets; * for all.",
    },
}
# The fields that may be there besides those that are named: options of processors.
_OPTIONS = {
    "additionalProperties": False,
    "patternProperties": {
        "^option\\.": {"type": "string", "description": "An option of the processor."}
    },
}
_CHOSEN = {"type": "object", "properties": _CHOICE, **_OPTIONS}
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_FILE_PROBLEMS = (408, 415, 422, 507)


def _form_with_file(**fields: Schema) -> Schema:
    schema = {
        "type": "object",
        "properties": fields,
        **_OPTIONS,
        "oneOf": [{"required": ["file"]}, {"required": ["text"]}],
    }
    return {"required": True, **content({"multipart/form-data": schema})}


_STORED = object_of(
    batchId=ID,
    filename=TEXT,
    totalEmails=whole(1),
    status=STATUS,
    rows=ref("Rows"),
    format=ref("Format"),
    processor=or_null(TEXT),
    options={"type": "object"},
    columns=list_of(TEXT),
    liveUpdates={"type": "boolean"},
)
_CREATED = {
    "description": "The batch is stored.",
    **content({JSON: _STORED}),
    "headers": {"Location": {"schema": TEXT}},
    "links": LINKS,
}
describe(
    "POST /api/upload",
    "upload",
    "Store a file, or a text with addresses, as a batch; all of it or nothing.",
    {"201": _CREATED},
    *_FILE_PROBLEMS,
    requestBody=_form_with_file(**_FORM, **_BEGIN, **_CHOICE),
)
_SHEET = object_of(
    name=TEXT,
    hidden={"type": "boolean"},
    rows=or_null(whole()),
    addresses=or_null(whole()),
)
describe(
    "POST /api/preview",
    "preview",
    "Show how an upload of this file, or of its first part, would be read.",
    ok(
        object_of(
            **FORMAT,
            why=or_null({**TEXT, "description": "Why the column is that of the addresses."}),
            columns=list_of(
                object_of(
                    index=whole(1),
                    name=or_null(TEXT),
                    addresses=whole(),
                    cells={
                        **or_null(TEXT),
                        "description": "The name for the field `columns` of an upload; null if"
                        " it is very long.",
                    },
                )
            ),
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
    requestBody=_form_with_file(**_FORM, **_BEGIN, **_CHOICE, size=TEXT),
)

_SEARCH = {"type": "string", "maxLength": parameters.MAX_SEARCHED, "pattern": "^[^\\u0000]*$"}
_PROCESSOR = {**_SEARCH, "maxLength": offered.MAX_NAME}
_LIMIT = query("limit", whole(1, batches.MAX_EMAILS), f"{batches.EMAILS} by default.")
_AFTER = query("after", whole(0, models.MAX_LINE), "`next` of the previous page.")
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
_EVENTS = ok(_EVENT, "Server-Sent Events: a snapshot, then what changes.", "text/event-stream")

describe(
    "GET /api/batches",
    "batches",
    "List the batches, newest first.",
    ok(object_of(batches=list_of(ref("Batch")), next=or_null(ID)), "A page."),
    parameters=[
        query("q", _SEARCH, "A part of the file's name."),
        query("status", one_of(*models.STATUSES), "Only batches of this status."),
        query("processor", _PROCESSOR, "Only batches for the processor of this name."),
        query("before", ID, "`next` of the previous page."),
        query("limit", whole(1, batches.MAX_PAGE), f"{batches.PAGE} by default."),
    ],
)
describe("GET /api/batches/stream", "streamAll", "Stream all changes, and the health.", _EVENTS)
describe(f"GET {BATCH}", "batch", "Show a batch.", ok(ref("WholeBatch"), "The batch."))
describe(
    f"DELETE {BATCH}",
    "delete",
    "Delete a batch that has ended, with its file and results.",
    {"204": {"description": "The batch is deleted."}},
    409,
)
describe(
    f"GET {BATCH}/stream",
    "stream",
    "Stream the changes of the batch until its end.",
    {
        **_EVENTS,
        "204": {"description": "The batch has ended, and Last-Event-ID is its last revision."},
    },
)
_OF_EMAILS = [
    query("status", one_of(*WORDS["status"]), "Only emails of this status."),
    query("verdict", one_of(*WORDS["verdict"]), "Only emails with this verdict."),
    query(
        "reason",
        {"type": "string", "pattern": f"^({reasons.CODE})?$"},
        "Only emails with this reason.",
    ),
    query("q", _SEARCH, "A part of the address."),
]
_KIND = query("kind", one_of(*WORDS["kind"]), "Only rows of this kind, which are no emails.")

describe(
    f"GET {BATCH}/emails",
    "emails",
    "List the emails of the batch by number.",
    ok(
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
describe(
    f"GET {BATCH}/rows",
    "rows",
    "List the rows that did not become emails, by line.",
    ok(
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
        query("afterPart", whole(0, models.MAX_LINE), "`nextPart` of the previous page."),
        _LIMIT,
    ],
)
_TYPO = object_of(domain=TEXT, count=whole(1), suggestion=TEXT)
describe(
    f"GET {BATCH}/typos",
    "typos",
    "List the domains that are probably mistyped, the most frequent first.",
    ok(object_of(typos=list_of(_TYPO)), "The domains."),
)
_ONLY = query(
    "only",
    one_of(*(word for words in WORDS.values() for word in words), *reasons.CATALOGUE),
    "A verdict, a status, a kind or a reason, also one of the batch's own, in place of the"
    " parameter of that name. `unknown` is the verdict. Beside it, there may be `q` for emails.",
)
for _suffix, _summary, *_refused in (
    ("csv", "Download the uploaded file with the outcome of each row."),
    ("xlsx", "Download the same rows as a workbook.", 409),
    ("jsonl", "Download a JSON object for each email, or for each row of a kind."),
):
    describe(
        f"GET {BATCH}/results.{_suffix}",
        f"results_{_suffix}",
        _summary,
        ok(TEXT, "The file.", downloads.MEDIA_TYPES[_suffix].partition(";")[0]),
        *_refused,
        parameters=[_ONLY, *_OF_EMAILS, _KIND],
    )

describe(
    f"POST {BATCH}/again",
    "again",
    "Store a new batch of the file of one that has ended, or of the rows that a filter finds.",
    {"201": _CREATED},
    *(409, 415, 422, 507),
    parameters=[_ONLY, *_OF_EMAILS, _KIND],
    requestBody={
        "required": False,
        **content(dict.fromkeys(_FORMS, _CHOSEN)),
    },
)

_WHICH = {"type": "string", "pattern": f"^{reasons.CODE}$"}
describe(
    f"POST {BATCH}/retry",
    "retry",
    "Process emails of a completed batch again: failed, unknown (not interrupted), or by reason.",
    ok(
        object_of(batchId=ID, status=STATUS, requeued=whole()),
        "The number of emails that were requeued.",
    ),
    *(409, 415),
    requestBody=small_form("which", _WHICH),
)
describe(
    f"POST {BATCH}/cancel",
    "cancel",
    "Cancel a batch; outcomes that are counted stay.",
    ok(
        object_of(batchId=ID, status=STATUS, processedCount=whole(), totalEmails=whole(1)),
        "The batch is cancelled.",
    ),
    409,
)
describe(
    f"POST {BATCH}/finish",
    "finish",
    "Make the emails of a batch that wait to be processed again unknown.",
    ok(object_of(batchId=ID, finished=whole(), status=STATUS), "The number of these emails."),
    409,
)
for _name, _summary in (
    ("pause", "Begin nothing more of a batch until it is resumed; turns under way are counted."),
    ("resume", "Go on with a paused batch."),
):
    describe(
        f"POST {BATCH}/{_name}",
        _name,
        _summary,
        ok(object_of(batchId=ID, status=STATUS, paused=or_null(ref("Pause"))), "Done."),
        409,
    )


describe(
    f"POST {BATCH}/rate",
    "rate",
    "Process at most so many emails of a batch a minute; empty or null for as many as can be.",
    ok(object_of(batchId=ID, status=STATUS, perMinute=or_null(whole(1))), "The rate is set."),
    *(409, 415),
    requestBody=small_form(
        "per_minute",
        {"type": "string", "pattern": "^([1-9][0-9]{0,5}|1000000)?$"},
        or_null(whole(1, MAX_PER_MINUTE)),
    ),
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
        "paths": PATHS,
        "components": {"schemas": SCHEMAS, "securitySchemes": schemes},
    }
