"""Describing an operation of the API in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from web import forms, problems
from web.schemas import ID, Schema, object_of, open_object, ref

JSON = "application/json"
BATCH = "/api/batches/{batchId}"

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
    503: "The database can't be reached, or the server has too much to do for the request; see"
    " Retry-After. Without it (`database_timeout`, `took_too_long`), a statement took too long.",
    507: "The disk is full.",
}
_ALWAYS = (400, 401, 403, 413, 429, 431, 503)

# Filled by describe(): the operations by path and method, and the links from the response to an
# upload to the operations on its batch.
PATHS: dict[str, Schema] = {}
LINKS: Schema = {}


def content(schemas: dict[str, Schema]) -> Schema:
    """Return the content of a request or response, which has one of the schemas by media type."""
    return {"content": {kind: {"schema": schema} for kind, schema in schemas.items()}}


def ok(schema: Schema, description: str, kind: str = JSON) -> Schema:
    """Return the responses of an operation that answers 200 with this schema."""
    return {"200": {"description": description, **content({kind: schema})}}


def query(name: str, schema: Schema, description: str) -> Schema:
    """Return a parameter of the query string."""
    return {"name": name, "in": "query", "schema": schema, "description": description}


def one_of(*choices: str) -> Schema:
    """Return the schema of one of the choices, or of an empty text, which allows any."""
    return {"enum": ["", *choices]}


def describe(
    operation: str, name: str, summary: str, answers: Schema, *refused: int, **more: Any
) -> None:
    """Describe an operation, such as `GET /api/batches`.

    `answers` are the responses by status, without errors.
    `refused` are the statuses of errors that not every operation has.
    """
    method, path = operation.split()
    if path.startswith(BATCH):
        refused += (404,)
        batch_id = {"name": "batchId", "in": "path", "required": True, "schema": ID}
        more["parameters"] = [batch_id, *more.get("parameters", ())]
        LINKS[name] = {"operationId": name, "parameters": {"batchId": "$response.body#/batchId"}}
    problem = content({problems.MEDIA_TYPE: ref("Problem")})
    errors = {
        str(status): {"description": _PROBLEMS[status], **problem}
        for status in sorted({*_ALWAYS, *refused})
    }
    responses = errors | answers
    described = {"operationId": name, "summary": summary, "responses": responses, **more}
    PATHS.setdefault(path, {})[method.lower()] = described


def small_form(name: str, text: Schema, *others: Schema) -> Schema:
    """Return a body with this field: a text in a form, and in JSON also one of the others."""
    in_json = {"anyOf": [text, *others]} if others else text
    kinds = {
        JSON: object_of(**{forms.name_in_json(name): in_json}),
        "application/x-www-form-urlencoded": open_object(**{name: text}),
    }
    return {"required": True, **content(kinds)}
