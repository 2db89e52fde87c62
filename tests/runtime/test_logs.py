import logging
import re
import sys

import pytest

from harness import books
from harness.effort import least_seconds
from runtime import logs

logger = logs.Logger("test")
library = logging.getLogger("test")


def test_plain_values_stay_bare_and_others_are_quoted_on_one_line(caplog):
    logger.error("stored", batch=7, name="a b\n2026 level=INFO", url="http://x:1/")
    assert caplog.messages == ['stored batch=7 name="a b\\n2026 level=INFO" url=http://x:1/']


@pytest.fixture
def written(caplog):
    """Log by a method of a logger, and return the line as it is written."""
    caplog.set_level(logging.INFO)

    def write(method, event, request="", **values):
        token = logs.REQUEST.set(request)
        method(event, **values)
        text = logs._Formatter().format(caplog.records[-1])
        logs.REQUEST.reset(token)
        time, _, rest = text.partition(" ")
        assert re.fullmatch(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", time)
        return rest

    return write


def test_every_record_is_written_as_keys_and_values(written):
    start = "level=INFO logger=test "
    assert written(logger.info, "stored", batch=7) == f"{start}event=stored batch=7"
    completed = written(logger.info, "batch completed", "a1b2", batch=7)
    assert completed == f'{start}event="batch completed" batch=7 request=a1b2'
    for method in (library.info, logger.info):
        text = written(method, 'with "quotes"\nand lines')
        assert text == rf'{start}event="with \"quotes\"\nand lines"'


def logged(raises):
    """What is logged of an error: the lines below the first."""
    formatter = logs._Formatter()
    try:
        raises()
    except Exception:
        return formatter.format(
            logging.LogRecord("test", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        )
    raise AssertionError


def test_errors_are_logged_without_the_addresses_in_their_messages(caplog):
    address = "someone@" + "example.com"

    def fail():
        try:
            raise KeyError(address)
        except KeyError as error:
            raise ValueError(f"not {address!r}, but <{address}>, it seems") from error

    text = logged(fail)
    assert address not in text
    assert "KeyError: …\nWhile that was handled:\n" in text
    assert text.endswith("ValueError: not … but … it seems")
    assert "in fail\n" in text
    logger.error("failed", error=ValueError("no a@x.de"))
    assert caplog.messages == ['failed error="no \\u2026"']


def test_an_error_that_is_its_own_cause_is_logged_once(caplog):
    def fail():
        first = ValueError("one")
        first.__cause__ = second = ValueError("two")
        raise second from first

    assert [line for line in logged(fail).split("\n") if line.startswith("ValueError")] == [
        "ValueError: one",
        "ValueError: two",
    ]


def test_an_error_whose_message_cannot_be_read_is_logged(caplog):
    class OddError(Exception):
        def __str__(self):
            raise TypeError

        def __bool__(self):
            return False

    def fail():
        raise ValueError("one") from OddError()

    text = logged(fail)
    assert "OddError: its message can't be read\n" in text
    assert text.endswith("ValueError: one")
    logger.error("failed", error=OddError())
    assert caplog.messages == ['failed error="its message can\'t be read"']


@pytest.mark.parametrize(
    "message", ["a" * 300_000, "a@" * 150_000, "@" * 300_000, "a " * 150_000, "\u0301" * 300_000]
)
def test_an_endless_message_is_logged_at_once_and_cut(written, message):
    def write():
        return (
            logged(lambda: (_ for _ in ()).throw(ValueError(message))),
            written(logger.info, "failed", why=message, error=ValueError(message)),
            written(library.info, message),
        )

    text, line, of_library = write()
    assert least_seconds(write) < 1  # some thousandths; to go back takes minutes
    assert len(text) < 2 * logs.MAX_VALUE + 1000
    assert len(line) < 13 * logs.MAX_VALUE
    assert len(of_library) < 7 * logs.MAX_VALUE
    if "@" in message:
        assert text.endswith("ValueError: …")


def test_no_part_of_an_address_is_left_where_a_message_is_cut():
    message = "x " * (logs.MAX_VALUE // 2 - 10) + "someone." * 10 + "@example.com, and more"
    assert "someone" not in logs.said(ValueError(message))
    assert logs.said(ValueError("a " * logs.MAX_VALUE)).endswith("a a…")


def test_nor_with_rows_and_statements_that_postgresql_shows(database):
    secret = "a secret" + " name"
    bad_row = (
        "INSERT INTO email (batch_id, id, email, row_number, status) VALUES (1, 1, %s, 1, 'x')"
    )
    for sql in (bad_row, "SELECT %s, nothing"):
        text = logged(lambda sql=sql: books.query(sql, secret))
        assert secret not in text
        assert "Error: " in text


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(caplog):
    caplog.set_level(logging.INFO)
    outage = logs.Outage("redis", logger)
    outage.end()
    assert not outage.lasting
    for _ in range(3):
        outage.begin(ConnectionError("refused"))
    assert outage.lasting
    outage.end()
    outage.end()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.messages[0] == "unreachable server=redis error=refused"
    assert caplog.messages[1].startswith("reachable again server=redis seconds=0.")
