"""Plain DNS messages: make queries and read answers, in a few microseconds each.

The answers are those of the dnspython package, which takes twenty times as long. An answer that
isn't plainly right is UNUSUAL, and goes to the package (see unusual.py). A property test holds
both to the same answers.

A plain answer repeats the question as it was sent. It has records of the type asked for, all of the
name asked for, or none. Behind them may come NS, SOA, A and AAAA records, which say whom else one
could ask; they are skipped, except for the SOA record of a negative answer, but a malformed one
shows that the answer can't be trusted. An OPT record has no options but those that explain an
error. All names consist of letters, digits, "-" and "_".
"""

from __future__ import annotations

import socket
import struct
from operator import itemgetter
from string import ascii_letters, digits
from typing import NamedTuple

# Types of records, and the class of all of them.
A, _NS, _SOA, MX, AAAA, _OPT = 1, 2, 6, 15, 28, 41
_IN = 1

# What an answer can be.
FOUND = "found"
NO_DATA = "no_data"  # the name exists, but nothing of this type
NO_DOMAIN = "no_domain"
ERROR = "error"  # the nameserver has no sensible answer
TRUNCATED = "truncated"  # to be asked for by TCP
MALFORMED = "malformed"  # no answer to this question; perhaps a forgery, before the true one
UNUSUAL = "unusual"  # to be read by the package
# What it is in the end, after the package has read it if need be.
RESULTS = (FOUND, NO_DATA, NO_DOMAIN, ERROR, TRUNCATED, MALFORMED)


class Answer(NamedTuple):
    """An answer to the question for one type of records of a name.

    `result` is one of the constants above, or how a question ends without such an answer (see
    exchange.py).
    `values` are those found, without duplicates: addresses, or hosts in order of preference, in
    lower case and without the final dot; "" is the root, of a Null MX.
    `ttl` is for how many seconds the answer is valid, if FOUND, NO_DATA or NO_DOMAIN.
    `rcode` is the nameserver's code of an ERROR.
    """

    result: str
    values: tuple[str, ...] = ()
    ttl: int = 0
    rcode: int = 0


# The seconds of a negative answer without an SOA record, as in the package.
_NEGATIVE_TTL = 300
# The largest TTL (RFC 2181, 8), the longest name as text, and the most pointers within one name:
# one fewer than the package follows, because one to a name that was read before is not counted.
_MAX_TTL = (1 << 31) - 1
_MAX_NAME = 253
_MAX_POINTERS = 15

# The header of a query behind its id: it wants recursion, and has one question and one additional
# record. That is the OPT record at its end, by which the answer may have 1,232 bytes: no network
# cuts these into pieces.
_QUERY = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
_QUERY_OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
# Behind the labels of a question's name: the root, type and class.
_ENDS = {kind: b"\x00" + struct.pack("!HH", kind, _IN) for kind in (A, MX, AAAA)}
# The bytes of a query that are its question.
QUESTION = slice(2 + len(_QUERY), -len(_QUERY_OPT))

# The header: flags, and the numbers of questions and of records of each section.
_HEADER = struct.Struct("!2xHHHHH")
# A pointer to the question's name, behind the header. Most records have it instead of a name.
_POINTER = b"\xc0\x0c"
# Of the flags, those that say whether a message is an answer, and to what sort of question, and the
# reserved one; and their values in a plain answer.
_FLAGS, _ANSWER = 0xF840, 0x8000
# The flag of a truncated answer; the bits of the code, and the codes that are no errors.
_TC = 0x0200
_RCODE, _NOERROR, _NXDOMAIN = 0x000F, 0, 3
# The beginning of a record behind its name, and behind its type and class.
_RECORD = struct.Struct("!HHIH")
_TTL_AND_LENGTH = struct.Struct("!IH")
_OPTION = struct.Struct("!HH")
_EXPLANATION = 15
_SIZES = {A: 4, AAAA: 16}
# Behind the names in an SOA record.
_SOA_END = struct.Struct("!16xI")

_PLAIN = f"{ascii_letters}{digits}-_".encode()
_preference = itemgetter(0)
# Twice as fast as Answer(…).
_new = tuple.__new__


def query(name: str, kind: int, query_id: bytes) -> bytes:
    """Return a query for records of a kind: A, AAAA or MX.

    `name` is in lower-case ASCII without a final dot. Its labels have 1 to 63 characters.
    `query_id` has two bytes. The answer begins with it, and has the same QUESTION from the 13th
    byte on, unless it is UNUSUAL.
    """
    labels = "".join([chr(len(label)) + label for label in name.split(".")])
    return query_id + _QUERY + labels.encode() + _ENDS[kind] + _QUERY_OPT


class _UnusualError(ValueError):
    """The message isn't plain."""


def read(message: bytes, question: bytes) -> Answer:
    """Return what a message says to the QUESTION of a query, whose id it is known to have."""
    try:
        return _read(message, question)
    # All but _UnusualError mean that the message is too short, or an address has the wrong length.
    except (ValueError, IndexError, OSError, struct.error):
        return Answer(UNUSUAL)


def _read(message: bytes, question: bytes) -> Answer:
    flags, questions, answers, authority, additional = _HEADER.unpack_from(message)
    if flags & _FLAGS != _ANSWER or questions != 1 or not message.startswith(question, 12):
        raise _UnusualError
    at, ttl = 12 + len(question), 0
    values: tuple[str, ...] = ()
    names = {12}
    if answers:
        values, ttl, at = _found(message, at, answers, question, names)
    zone, negative_ttl = _rest(message, at, authority, additional, names)
    if flags & _TC:
        return Answer(TRUNCATED)
    rcode = flags & _RCODE
    if answers:
        if rcode != _NOERROR:
            raise _UnusualError
        return _new(Answer, (FOUND, values, ttl, 0))
    if rcode not in (_NOERROR, _NXDOMAIN):
        return Answer(ERROR, rcode=rcode)
    # Only the zone that the name is in can say that there is nothing.
    if zone and not f".{_name(message, 12)[0]}".endswith(f".{zone}"):
        raise _UnusualError
    return Answer(NO_DATA if rcode == _NOERROR else NO_DOMAIN, ttl=negative_ttl)


def _found(
    message: bytes, at: int, count: int, question: bytes, names: set[int]
) -> tuple[tuple[str, ...], int, int]:
    """Return the values of the answers at an offset, their least TTL, and the offset behind them.

    All must be of the name and type asked for. Adds to `names` where the hosts begin.
    """
    kind = question[-3]
    least = _MAX_TTL
    values: list[str] = []
    preferences: list[int] = []
    by_pointer = _POINTER + question[-4:]
    for _ in range(count):
        # A record begins as the question does: with name, type and class.
        if message.startswith(by_pointer, at):
            at += 6
        elif message.startswith(question, at):
            at += len(question)
        else:
            raise _UnusualError
        ttl, length = _TTL_AND_LENGTH.unpack_from(message, at)
        if ttl > _MAX_TTL:
            raise _UnusualError
        least = min(least, ttl)
        at += 6
        end = at + length
        if kind == MX:
            preferences.append(message[at] << 8 | message[at + 1])
            host, behind = _name(message, at + 2)
            names.add(at + 2)
            if behind != end:
                raise _UnusualError
            values.append(host)
        elif kind == A:
            values.append(socket.inet_ntoa(message[at:end]))
        else:
            values.append(socket.inet_ntop(socket.AF_INET6, message[at:end]))
        at = end
    if count == 1:
        return (values[0],), least, at
    if preferences:
        in_order = sorted(zip(preferences, values, strict=True), key=_preference)
        values = [host for _, host in in_order]
    return tuple(dict.fromkeys(values)), least, at


def _rest(
    message: bytes, at: int, authority: int, additional: int, names: set[int]
) -> tuple[str, int]:
    """Read the records behind the answers, up to the end of the message.

    `names` are where names begin that were read. Most owners are a pointer to one of them, which
    takes a tenth of the time of reading it again.
    Returns the name of the SOA record, "" without one, and the seconds of a negative answer.
    """
    zone, seconds = "", None
    options = False
    for number in range(authority + additional):
        begin, first = at, message[at]
        if first >= 192 and (first & 63) << 8 | message[at + 1] in names:
            at += 2
        elif first:
            _, at = _name(message, at)
        else:
            at += 1
        kind, of_class, ttl, length = _RECORD.unpack_from(message, at)
        at += 10
        end = at + length
        if kind == _OPT:
            # With a name, a version or an extended code, or not the only one.
            if number < authority or options or message[begin] or ttl >> 16:
                raise _UnusualError
            options = True
            if length:
                _explanations(message, at, end)
        elif of_class != _IN or ttl > _MAX_TTL:
            raise _UnusualError
        elif length == _SIZES.get(kind):
            pass
        elif kind == _NS:
            if _name(message, at)[1] != end:
                raise _UnusualError
            names.add(at)
        elif kind == _SOA and number < authority and seconds is None:
            zone, _ = _name(message, begin)
            seconds = min(ttl, _minimum(message, at, end))
        else:
            raise _UnusualError
        at = end
    if at != len(message):
        raise _UnusualError
    return zone, _NEGATIVE_TTL if seconds is None else seconds


def _explanations(message: bytes, at: int, end: int) -> None:
    """Read the options of an OPT record there, which may only explain an error (RFC 8914)."""
    while at < end:
        code, length = _OPTION.unpack_from(message, at)
        at += 4
        # A code of two bytes, and text.
        if code != _EXPLANATION or length < 2 or not message[at + 2 : at + length].isascii():
            raise _UnusualError
        at += length
    if at != end:
        raise _UnusualError


def _minimum(message: bytes, at: int, end: int) -> int:
    """Return the last number of the SOA record there: the seconds of a negative answer."""
    for _ in range(2):
        _, at = _name(message, at)
    (seconds,) = _SOA_END.unpack_from(message, at)
    if at + _SOA_END.size != end or seconds > _MAX_TTL:
        raise _UnusualError
    return int(seconds)


def _name(message: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset, in lower case without the final dot, and the offset behind it.

    A pointer must lead back, and what it leads to must end before the name begins.
    """
    labels = []
    behind = pointers = 0
    begin, limit = at, len(message)
    while length := message[at]:
        if length < 64:
            at += length + 1
            labels.append(message[at - length : at])
        elif length < 192:
            raise _UnusualError
        else:
            target = (length & 63) << 8 | message[at + 1]
            behind = behind or at + 2
            pointers += 1
            if target >= begin or at + 2 > limit or pointers > _MAX_POINTERS:
                raise _UnusualError
            limit, at, begin = begin, target, target
    if at >= limit:
        raise _UnusualError
    if not labels:
        return "", behind or at + 1
    text = b".".join(labels)
    # Nothing but the dots between the labels.
    if len(text) > _MAX_NAME or len(text.translate(None, _PLAIN)) != len(labels) - 1:
        raise _UnusualError
    return text.lower().decode(), behind or at + 1
