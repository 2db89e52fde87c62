"""JSON Schemas of the API's requests and responses."""

from __future__ import annotations

from typing import Any, get_args

import models
from processors import reasons
from tabular.formats import Kind

Schema = dict[str, Any]


def open_object(**properties: Schema) -> Schema:
    """Return the schema of an object with at least these properties."""
    return {"type": "object", "properties": properties, "required": [*properties]}


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these properties."""
    return {**open_object(**properties), "additionalProperties": False}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def whole(least: int = 0, most: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": least}
    return schema if most is None else {**schema, "maximum": most}


TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "number", "minimum": 0}
SUMS: Schema = {"type": "object", "additionalProperties": whole()}
ID = whole(1, models.MAX_ID)
STATUS: Schema = {"enum": [*models.STATUSES]}

FORMAT = {
    "kind": {"enum": [*get_args(Kind)]},
    "encoding": or_null(TEXT),
    "delimiter": or_null(TEXT),
    "header": or_null(list_of(TEXT)),
    "column": whole(1),
    "sheet": or_null(TEXT),
    "text": {**TEXT, "description": "The format in words."},
}
_SUMMARY = {
    "id": ID,
    "filename": TEXT,
    "uploadedBy": or_null(TEXT),
    "totalEmails": whole(1),
    "processedCount": whole(),
    "failedCount": whole(),
    "waiting": whole(),
    "nextAt": or_null(TIME),
    "paused": or_null(ref("Pause")),
    "perMinute": or_null(whole(1)),
    "processor": or_null(TEXT),
    "options": {"type": "object"},
    "columns": list_of(TEXT),
    "answers": list_of(TEXT),
    "status": STATUS,
    "revision": whole(1),
    "error": or_null(TEXT),
    "reasons": SUMS,
    "verdicts": object_of(**dict.fromkeys(reasons.VERDICTS, whole())),
    "rows": ref("Rows"),
    "format": or_null(ref("Format")),
    "createdAt": TIME,
    "startedAt": or_null(TIME),
    "completedAt": or_null(TIME),
    "rate": or_null(NUMBER),
    "secondsLeft": or_null(NUMBER),
}

SCHEMAS: dict[str, Schema] = {
    "Problem": {
        "description": "RFC 9457. `code` is stable; `detail` is a sentence for people.",
        **open_object(
            type=TEXT,
            title=TEXT,
            status={"type": "integer"},
            code=TEXT,
            detail=TEXT,
            requestId={**TEXT, "description": "The request's id in the server's log."},
        ),
    },
    "Rows": {
        **object_of(
            total=whole(),
            emails=whole(),
            duplicates=whole(),
            blank=whole(),
            withoutAddress=whole(),
            furtherAddresses=whole(),
            withOtherAddresses=whole(),
        ),
        "description": "The file's rows by what they hold; `total` and `furtherAddresses` are"
        " the sum of the four between them.",
    },
    "Format": object_of(**FORMAT),
    "Batch": object_of(**_SUMMARY),
    "WholeBatch": object_of(
        **_SUMMARY,
        elapsedSeconds=or_null(NUMBER),
        ending={**TEXT, "description": "How the batch ended, in words; empty before its end."},
        reasonDetails=list_of(
            object_of(
                reason=TEXT,
                verdict=or_null({"enum": [*reasons.VERDICTS]}),
                explanation=TEXT,
                count=whole(1),
            )
        ),
        rates=or_null(object_of(interval=NUMBER, points=list_of(NUMBER))),
        history=list_of(ref("Action")),
    ),
    "Snapshot": object_of(
        batchId=ID,
        revision=whole(1),
        status={"enum": [*models.STATUSES, models.DELETED]},
        processed=whole(),
        failed=whole(),
        total=whole(1),
        reasons=SUMS,
        waiting=whole(),
        nextAt=or_null(TIME),
        paused=or_null(ref("Pause")),
        perMinute=or_null(whole(1)),
        processor=or_null(TEXT),
        verdicts=SUMS,
        rate=or_null(NUMBER),
        secondsLeft=or_null(NUMBER),
    ),
    "Pause": {
        **object_of(by=or_null(TEXT), at=TIME, why=or_null(TEXT), until=or_null(TIME)),
        "description": "Who paused the batch, or why if nobody did, and until when.",
    },
    "Action": object_of(
        action={"enum": [*models.ACTIONS]},
        by=or_null(TEXT),
        at=TIME,
        which=or_null(TEXT),
        emails=or_null(whole()),
        why=or_null(TEXT),
        text={**TEXT, "description": "The action in words, without its time."},
    ),
    "Email": object_of(
        id=whole(1),
        line=whole(),
        email=TEXT,
        status={"enum": [*reasons.STATUSES]},
        verdict=or_null({"enum": [*reasons.VERDICTS]}),
        reason=or_null(TEXT),
        explanation=or_null(TEXT),
        suggestion=or_null(TEXT),
        normalized=or_null(TEXT),
        freeProvider={"type": "boolean"},
        answers={
            **or_null({"type": "object", "additionalProperties": TEXT}),
            "description": "What the processor answered besides, by name.",
        },
    ),
    "Health": {
        "description": "The values that come from a server are null if it can't be reached.",
        **open_object(
            status={"enum": ["ok", "degraded"]},
            database={"enum": ["ok", "unreachable", "read-only"]},
            redis={"enum": ["ok", "unreachable"]},
            workersAlive=or_null(whole()),
            workerThreads=or_null(whole()),
            workers=or_null(list_of(open_object(processors=list_of(TEXT)))),
            lastWorkerSeen=or_null({"type": "object"}),
            processors=list_of({"type": "object"}),
            queueDepth=or_null(whole()),
            oldestWaiting=or_null({"type": "object"}),
            unfinishedBatches=or_null(whole()),
            version=TEXT,
            schemaVersion=or_null(whole()),
            notice=or_null({"type": "object"}),
            texts={
                "type": "object",
                "description": "The texts of the state of the servers on the pages.",
                "additionalProperties": TEXT,
            },
        ),
    },
}
