import logging

import logs


def test_plain_values_stay_bare_and_others_are_quoted_on_one_line():
    written = logs.line("stored", batch=7, name="a b\n2026 level=INFO", url="http://x:1/")
    assert written == 'stored batch=7 name="a b\\n2026 level=INFO" url=http://x:1/'


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(caplog):
    caplog.set_level(logging.INFO)
    outage = logs.Outage("redis", logging.getLogger("test"))
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
