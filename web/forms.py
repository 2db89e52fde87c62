"""Bodies of requests, read within limits: the parts of a form, or one field of a small body.

No other module may read a body: Bottle's own properties, such as `forms`, have no such limits, and
copy a large body to one more file.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote

import multipart
from bottle import request

from web.problems import Problem
from web.server.connections import most_bytes, too_large

# The most fields of a form, and the most bytes of a field that is kept in memory. There is one for
# each option of each processor.
MAX_FIELDS = 150
MAX_TEXT = 100_000
# The most bytes of all fields that are kept in memory.
MAX_TEXTS = 2_000_000
# Bytes of a body that are read at once.
BUFFER = 1 << 18
# No other charset is looked up: some of Python's codecs are very slow, and Python remembers every
# name that it has looked up.
_CHARSETS = ("utf-8", "utf8")

# The parameter `filename*` of a Content-Disposition (RFC 8187): charset, language, escaped name.
_EXTENDED = re.compile(r""";[ \t]*filename\*[ \t]*=[ \t]*((?:[^;']*'[^;']*')?)([^;]*)""", re.I)
_QUOTED = re.compile(r'"(?>(?:\\.|[^\\"])*)"')

_JSON = "application/json"
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_FORMS = (_URLENCODED, _MULTIPART)


def received() -> BinaryIO:
    """Return the current request's body, as waitress has received it. It can be read once."""
    body: BinaryIO = request.environ["wsgi.input"]
    return body


def parts(body: BinaryIO) -> Iterator[multipart.MultipartPart]:
    """Yield the parts of `body`, the current request's, if it is a multipart form.

    Each part must be closed, because large ones are on the disk. Raises Problem, and ValueError.
    """
    kind, options = _kind()
    if kind != _MULTIPART:
        return
    parser = multipart.MultipartParser(
        body,
        options.get("boundary", ""),
        buffer_size=BUFFER,
        charset=_CHARSETS[0],
        part_limit=MAX_FIELDS,
        spool_limit=MAX_TEXT,
        memory_limit=MAX_TEXTS,
    )
    try:
        for part in parser:
            _read_extended_filename(part)
            yield part
            # Only now, so that the caller has the part and can close it.
            if not part.filename:  # a file's encoding shows in its bytes
                _check_charset(part.charset)
    except Exception as error:
        # The parser leaves the file of a part open that it couldn't complete, and shows that part
        # nowhere but in its frame, as the local variable `part`.
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if isinstance(incomplete := frame.f_locals.get("part"), multipart.MultipartPart):
                incomplete.close()
        raise


def _read_extended_filename(part: multipart.MultipartPart) -> None:
    """Take the name of a part's file from `filename*`, which some clients send alone.

    A damaged one is read as far as possible, because it is only a name.
    """
    found = _EXTENDED.search(_QUOTED.sub('""', part.disposition))
    if found is not None:
        charset = "iso-8859-1" if found[1].lower().startswith("iso-8859-1'") else "utf-8"
        name = unquote(found[2].strip(' \t"'), charset, "replace")
        if part.filename is None or "\ufffd" not in name:
            # Not empty: without a name, the file would count as a text.
            part.filename = name or part.filename or " "


@contextmanager
def problems_of_forms() -> Iterator[None]:
    """Turn a ValueError about a form into a Problem."""
    try:
        yield
    except ValueError as error:
        raise Problem(400, "bad_form", _why_bad(error)) from None


def name_in_json(name: str) -> str:
    """Return the name that a field of a form has in a JSON object: in camel case."""
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def field(name: str, *, is_number: bool = False) -> str | None:
    """Return a field of the current request, from its JSON object, form or query string.

    A JSON object has it by its name_in_json(); null stands for an empty text there, and if
    `is_number`, the value may be a whole number. Returns None if the field is missing. Raises
    Problem, also for a body of more than most_bytes().
    """
    kind, _ = _kind()
    body = _small_body()
    if kind == _JSON:
        return _json_field(body, name_in_json(name), (str, int) if is_number else (str,))
    found = dict(_pairs(kind, body, (_JSON, *_FORMS)))
    value: str | None = found.get(name, request.query.getunicode(name))
    return value


def fields() -> list[tuple[str, str]]:
    """Return the fields of the current request's small form, in order; none without a body.

    Raises Problem, also for a body of more than most_bytes().
    """
    kind, _ = _kind()
    return _pairs(kind, _small_body(), _FORMS)


def _small_body() -> bytes:
    # web/server/ refuses larger bodies already; this limit doesn't rely on that.
    most = most_bytes(request.path)
    if request.content_length <= most:
        small = received().read(most + 1)
        if len(small) <= most:
            return small
    raise Problem(413, "content_too_large", too_large(request.path))


def _json_field(body: bytes, name: str, kinds: tuple[type, ...]) -> str | None:
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Problem(400, "bad_json", "The body must be a JSON object, in UTF-8.")
    if document.keys() - {name}:
        raise Problem(400, "bad_json", f"The object has {name!r} and nothing else.")
    if name not in document:
        return None
    value = document[name]
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON doesn't distinguish 7 from 7.0
    if type(value) not in kinds:  # which JSON's true would be an instance of
        what = "a text or a whole number" if int in kinds else "a text"
        raise Problem(400, "bad_parameter", f"{name} must be {what}.", parameter=name)
    return str(value)


def _pairs(kind: str, body: bytes, allowed: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names and texts of a small form. `allowed` are the types to name in an error."""
    if not body:
        return []
    with problems_of_forms():
        if kind == _URLENCODED:
            return parse_qsl(
                body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
            )
        if kind == _MULTIPART:
            found = [*parts(BytesIO(body))]  # none is large enough to need closing
            return [(part.name, part.value) for part in found if not part.filename]
    kinds = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    detail = f"The body must be of the type {kinds}."
    raise Problem(415, "unsupported_media_type", detail)


def _kind() -> tuple[str, dict[str, str]]:
    """Return the media type of the body, and its parameters.

    Raises Problem for a charset other than UTF-8.
    """
    kind, options = multipart.parse_options_header(request.environ.get("CONTENT_TYPE", ""))
    _check_charset(options.get("charset", _CHARSETS[0]))
    return kind, options


def _check_charset(name: str) -> None:
    if name.lower() not in _CHARSETS:
        raise Problem(400, "bad_form", "Forms are read as UTF-8; name no other charset.")


def _why_bad(error: ValueError) -> str:
    if isinstance(error, multipart.ParserLimitReached):
        return f"The form has more than {MAX_FIELDS} fields, or very long texts or headers in them."
    if isinstance(error, multipart.MultipartError):
        return f"The form can't be read: {error.args[0]}."
    if isinstance(error, UnicodeError):
        return "The form's fields are no UTF-8 text."
    return f"The form has more than {MAX_FIELDS} fields."
