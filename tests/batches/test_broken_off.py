"""Uploads that are broken off or refused, and those that wait."""

import gc
from io import BytesIO
from pathlib import Path

import pytest

from batches import accounting, intake
from batches.intake import IntakeError
from harness.batches import store_file as store
from harness.books import query
from harness.files import csv_of
from runtime import in_order
from runtime.in_order import InOrder
from tabular import reader, text
from tabular.formats import Overrides
from web import uploads


def test_a_file_whose_sender_goes_is_not_stored(database, monkeypatch):
    """Neither in the middle of the emails nor once all else is done."""
    monkeypatch.setattr(text, "BLOCK", 1000)
    monkeypatch.setattr(accounting, "PIECE_ROWS", 2000)
    content = csv_of(*(f"user{number}@x.de" for number in range(4000)))
    for patience in range(3):
        asked = iter([False] * patience + [True])
        with pytest.raises(IntakeError) as error:
            store(content, max_rows=10**5, abandoned=lambda: next(asked))  # noqa: B023
        assert error.value.code == "abandoned"
    for table in ("batch", "email", "chunk", "file_piece"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)]
    asked = iter([False] * 3)
    assert store(content, max_rows=10**5, abandoned=lambda: next(asked)).total_emails == 4000


def test_an_upload_that_is_broken_off_leaves_no_file_open(database, monkeypatch):
    monkeypatch.setattr(accounting, "PIECE_ROWS", 2000)
    content = csv_of(*(f"user{number}@x.de" for number in range(20_000)))
    monkeypatch.setattr(text, "BLOCK", 10_000)
    gc.collect()
    gc.disable()
    try:
        before = len([*Path("/proc/self/fd").iterdir()])
        for patience in (0, 3, 5):
            asked = iter([False] * patience + [True] * 20)
            with pytest.raises(IntakeError, match="broken off"):
                store(content, max_rows=10**5, abandoned=lambda: next(asked))  # noqa: B023
        assert len([*Path("/proc/self/fd").iterdir()]) == before
    finally:
        gc.enable()


def test_rows_without_addresses_are_no_reason_to_go_on_for_long(database):
    """Neither for a sender that goes, nor for a preview of the first rows."""
    content = b"a@x.de\n" + b"\n" * 100_000
    asked = []
    store(content, max_rows=10**6, abandoned=lambda: bool(asked.append(None)))
    assert len(asked) > 3
    table = reader.read(BytesIO(content), Overrides())
    counted = accounting.count(table, 1000, 10**6)
    assert not counted.whole
    assert counted.rows.total < 50_000


def test_a_large_file_waits_for_those_before_it_and_a_small_one_does_not(database, monkeypatch):
    monkeypatch.setattr(intake, "_large", InOrder(1, 1))
    monkeypatch.setattr(in_order, "LOOK_SECONDS", 0.01)
    large = csv_of("mail,x", *(f"a{n}@x.de,{'x' * 2000}" for n in range(intake.LARGE // 2000)))
    with intake._large.turn(lambda: None):
        assert store(b"a@x.de\n").total_emails == 1
        answers = iter([False, False, True])
        with pytest.raises(IntakeError, match="broken off"):
            store(large, abandoned=lambda: next(answers))
        monkeypatch.setattr(intake._large, "_longest", 1)
        with pytest.raises(IntakeError, match="try again") as error:
            store(large)
        assert (error.value.code, uploads.status_of(error.value.code)) == ("too_many_uploads", 503)
    assert query("SELECT count(*) FROM batch") == [(1,)]
    assert store(large).total_emails == intake.LARGE // 2000


def test_the_file_stays_open_for_its_owner(database):
    file = BytesIO(b"a@x.de\n")
    intake.store(file, "list.csv", chunk_size=1, max_rows=10)
    assert not file.closed


def test_a_refused_file_leaves_nothing_of_itself(database):
    with pytest.raises(IntakeError):
        store(b"a@x.de\n" * 5 + b"\n\0")
    with pytest.raises(IntakeError):
        store(b"a@x.de\n" * 2000)
    assert query(
        "SELECT (SELECT count(*) FROM file_piece), (SELECT count(*) FROM skipped_row)"
    ) == [(0, 0)]
