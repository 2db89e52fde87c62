"""Processing in a child process, which is killed for real."""

import os
import signal

import psutil
import pytest

from harness.polling import eventually
from harness.processors import listed
from processors import (
    CRASHED,
    ERROR,
    PROCESSED,
    TIMED_OUT,
    Item,
    Outcome,
    ProcessorError,
    ReasonError,
    failed,
)
from work import isolation

PROCESSOR = """
import os, signal, threading, time
from processors import answered, configured, in_windows, one_by_one

@configured
def secretive(options):
    def reason(address):
        with open("/proc/self/cmdline") as file:
            return "shown" if options["secret"] in file.read() else options["secret"]
    return one_by_one(reason)

@one_by_one
def trap(address):
    kind = address.partition("@")[0]
    if kind == "bad":
        print("noise that is no outcome")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(0)
    if kind == "hang":
        open(os.environ["ONCE"], "w").close()
        time.sleep(600)
    if kind == "linger":
        threading.Thread(target=time.sleep, args=(600,)).start()
    if kind == "raise":
        raise LookupError(address)
    if kind == "once" and not os.path.exists(os.environ["ONCE"]):
        open(os.environ["ONCE"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("SLOW", "0")))
    return {"bad": "bad", "wordy": "So bad"}.get(kind)

@in_windows(10)
def together(items):
    return {each.key: answered(size=len(items), **each.cells) for each in items}
"""


@pytest.fixture(autouse=True)
def trap(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(PROCESSOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ONCE", str(tmp_path / "once"))


def no_error(error):
    raise error


def process(*kinds, turn_seconds=60.0, limit=60.0, alive=lambda: None, on_error=no_error):
    addresses = [f"{kind}@x.de" for kind in kinds]
    return listed(
        isolation.process(
            "trap:trap",
            addresses,
            options={},
            turn_seconds=turn_seconds,
            limit=limit,
            alive=alive,
            on_error=on_error,
        )
    )


def test_it_says_what_the_processor_says():
    outcomes = process("ok", "bad", "raise", "ü\n")
    assert outcomes == [PROCESSED, failed("bad"), ERROR, PROCESSED]


def test_a_wrong_reason_fails_its_email_and_is_told_to_the_parent():
    errors = []
    outcomes = process("wordy", "ok", "wordy", on_error=errors.append)
    assert outcomes == [ERROR, PROCESSED, ERROR]
    assert [type(error) for error in errors] == [ReasonError] * 2
    assert str(errors[0]).startswith("the reason 'So bad' is not allowed; ")


def test_answers_come_back_as_they_are_and_each_email_is_a_window_of_its_own():
    cells = {"a": "1", "b": 'ü\n"\x1f'}
    given = [Item(f"{number}@x.de", f"k{number}", 1, cells) for number in range(2)]
    findings = isolation.process(
        "trap:together",
        given,
        options={},
        turn_seconds=60.0,
        limit=60.0,
        alive=lambda: None,
        on_error=no_error,
    )
    assert listed(findings) == [Outcome("processed", None, {"size": "1", **cells})] * 2


def test_it_has_its_options_but_nobody_sees_them():
    options = {"secret": "s3cret"}
    findings = isolation.process(
        "trap:secretive",
        ["a", "b"],
        options=options,
        turn_seconds=60,
        limit=60,
        alive=lambda: None,
        on_error=no_error,
    )
    assert listed(findings) == [failed("s3cret")] * 2


def test_an_address_that_kills_its_process_fails_and_the_others_go_on():
    outcomes = process("ok", "kill", "ok", "kill", "kill", "bad")
    assert outcomes == [PROCESSED, CRASHED, PROCESSED, CRASHED, CRASHED, failed("bad")]


def test_a_process_that_ends_in_silence_has_crashed_too():
    assert process("exit", "ok") == [CRASHED, PROCESSED]


def test_one_death_may_be_somebody_elses_doing():
    assert process("ok", "once", "ok") == [PROCESSED] * 3


def test_an_address_that_takes_too_long_fails_and_the_others_go_on():
    assert process("ok", "hang", "ok", limit=0.5) == [PROCESSED, TIMED_OUT, PROCESSED]


def test_a_process_that_does_not_exit_blames_no_address():
    assert process("ok", "linger", limit=0.5) == [PROCESSED] * 2


def test_it_ends_after_the_turns_time_but_not_before_the_first(monkeypatch):
    monkeypatch.setenv("SLOW", "0.05")
    assert process("ok", "ok", turn_seconds=0.0) == [PROCESSED]
    some = process(*["ok"] * 100, turn_seconds=0.4)
    assert 1 <= len(some) < 100


def test_what_alive_raises_ends_it_and_the_child(tmp_path):
    calls = []

    def alive():
        calls.append(children())
        if len(calls) == 4:
            raise ConnectionError

    def children():
        return [child.pid for child in psutil.Process().children() if child.is_running()]

    before = children()
    with pytest.raises(ConnectionError):
        process("hang", alive=alive)
    assert calls[3] != before
    assert children() == before


def test_a_processor_that_cannot_be_loaded_is_no_address_to_blame():
    with pytest.raises(ProcessorError, match="as it started"):
        isolation.process(
            "nowhere:x",
            ["a"],
            options={},
            turn_seconds=1,
            limit=1,
            alive=lambda: None,
            on_error=no_error,
        )


def test_a_child_does_not_outlive_a_killed_parent(tmp_path):
    parent = os.fork()
    if parent == 0:
        try:
            process("hang")
        finally:
            os._exit(1)
    child = eventually(lambda: psutil.Process(parent).children())[0]
    eventually((tmp_path / "once").exists)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
