"""A short round of torture, and that what it looks for would be found."""

from __future__ import annotations

import contextlib
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from batches import accounting, kept_files
from harness.batches import store
from harness.books import execute_at, query
from harness.polling import eventually
from harness.processes import Process
from harness.servers import processes
from processors import PROCESSED, failed
from processors.check import check, check_one
from tabular import reader
from tabular.formats import Overrides
from torture.audit import ACKNOWLEDGED, BROKEN_OFF, UNKNOWN, Row, audit
from torture.uploads import GOOD, LAYOUTS, MALFORMED, Upload

GOALS = {"worker": 8, "redis": 2, "postgres": 2, "app": 2}


@pytest.fixture
def torture() -> Iterator[Callable[..., Process]]:
    """Start the command; one that still runs at the end is stopped as by Ctrl-C."""
    started: list[Process] = []

    def start(*options: str) -> Process:
        process = Process("tests/torture/run.py", *options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


def table(output: str, row: str) -> str:
    """The value in a row of the table, which is known by its first words."""
    found = re.search(rf"^{row} +(\S.*)$", output, re.M)
    assert found, output
    return found[1]


def number(output: str, row: str) -> int:
    return int(table(output, row).replace(",", ""))


class TestCommand:
    @pytest.mark.timeout(420)
    def test_a_short_round_loses_and_doubles_nothing(self, torture):
        seed = random.SystemRandom().getrandbits(32)
        print(f"seed {seed}")  # noqa: T201  # pytest shows it if this fails
        kills = [f"--{family}-kills={least}" for family, least in GOALS.items()]
        process = torture("--seconds=20", "--emails=20000", f"--seed={seed}", *kills)
        assert process.wait(400) == 0, process.output
        output = process.output
        assert process.lines[0] == f"seed {seed}"
        for family, least in GOALS.items():
            assert number(output, f"kills +{family}") >= least
            assert re.fullmatch(
                r"median \d+\.\d\d, max \d+\.\d\d, count \d+",
                table(output, f"recovery in s +{family}"),
            )
        assert number(output, "emails") >= 20_000
        assert number(output, "processed") == number(output, "emails")
        assert number(output, "failed") > 0
        for row in ("lost", "doubled", "faults"):
            assert number(output, row) == 0
        assert "logs are in" not in output

    def test_an_interrupted_run_leaves_nothing_behind(self, torture):
        process = torture("--seconds=600", "--keep-logs")
        folder = eventually(lambda: self.command_folder(process.pid), 60)
        eventually((folder / "slow_check.py").exists, 60)
        assert process.stop(signal.SIGINT) == 130
        logs = Path(re.search(r"The logs are in (\S+)", process.output)[1])
        assert list(logs.glob("*.log"))
        for file in logs.iterdir():
            file.unlink()
        logs.rmdir()
        assert not folder.exists()
        eventually(lambda: not processes("", folder))

    @staticmethod
    def command_folder(pid: int) -> Path | None:
        """The temporary folder of a run, from the command line of one of its processes."""
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                match = re.search(r"(/\S*email-batch-[^/\s]+)/", " ".join(child.cmdline()))
                if match:
                    return Path(match[1])
        return None

    @pytest.mark.parametrize("options", [["--workers=0"], ["--seconds=soon"], ["--kill-all"]])
    def test_wrong_options_are_told(self, torture, options):
        process = torture(*options)
        assert process.wait() == 2
        assert "error: " in process.output


class TestUploads:
    """The files, and what is expected of them."""

    def test_the_processor_says_what_is_expected_of_each_kind_of_address(self):
        for template in GOOD:
            assert check_one(template.format(7)) == PROCESSED
        for template, reason in MALFORMED.items():
            assert check_one(template.format(7)) == failed(reason)

    @pytest.mark.parametrize("seed", range(40))
    def test_a_file_is_read_as_expected(self, seed):
        upload = Upload("list.csv", seed, 1 + 30 * seed)
        content, counts = upload.content()
        rows = accounting.Rows()
        with (
            closing(reader.read(BytesIO(content), Overrides())) as table,
            closing(kept_files.SkippedRows(1)) as skipped,
        ):
            pieces = accounting.read_addresses(table, rows, 10**6, skipped)
            read = [
                pair for piece in pieces for pair in zip(piece.addresses, piece.lines, strict=True)
            ]
        expected = [(row.address, row.line) for row in upload.rows() if row.kind == "email"]
        assert read == expected
        assert rows == accounting.Rows(
            counts["email"], counts["duplicate"], counts["blank"], counts["without address"]
        )

    def test_files_differ_and_have_all_kinds_of_rows(self):
        uploads = [Upload("list.csv", seed, 300) for seed in range(20)]
        assert len({upload.content()[0] for upload in uploads}) == 20
        counts: Counter[str] = Counter()
        for upload in uploads:
            counts.update(upload.content()[1])
        assert set(counts) == {"email", "duplicate", "blank", "without address"}
        assert len(LAYOUTS) > 1


@dataclass
class Listed:
    """An upload of store(): these addresses, one a line."""

    addresses: list[str]
    standing: str = ACKNOWLEDGED
    filename: str = "list.csv"

    def rows(self) -> Iterator[Row]:
        for line, address in enumerate(self.addresses, start=1):
            good = "@" in address
            outcome = ("processed", None) if good else ("failed", "no_at_sign")
            yield Row("email", line, f"{address}\n", address, *outcome)


ADDRESSES = ["a@example.com", "b", "c@example.com", "d", "e@example.com"]


@pytest.fixture
def verdict_on(servers, database):
    """What the audit says of everything in the database."""

    return lambda *uploads: audit(servers.database_url, uploads)


@pytest.fixture
def change(servers, database):
    """Execute a statement that nobody should."""

    return partial(execute_at, servers.database_url)


@pytest.fixture
def processed(make_turns, queue) -> Callable[[], int]:
    """Store a batch of ADDRESSES in chunks of two, and process it; its id."""

    def make() -> int:
        batch_id = store(*ADDRESSES, chunk_size=2).batch_id
        turns = make_turns(check)
        for _ in range(3):
            queue.enqueue(batch_id)
            turns.run_once()
        return batch_id

    return make


class TestAudit:
    """What is wrong is counted as it is: exactly that, and nothing else."""

    def test_all_is_well(self, processed, verdict_on):
        processed()
        verdict = verdict_on(Listed(ADDRESSES))
        assert verdict.clean
        assert (verdict.batches, verdict.emails, verdict.processed, verdict.failed) == (1, 5, 5, 2)
        assert (verdict.lost, verdict.doubled, verdict.redone) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("sql", "lost", "doubled"),
        [
            # Counted once already, it would be counted again.
            ("UPDATE email SET status = 'pending', reason = NULL WHERE id = 1", 1, 1),
            ("UPDATE email SET reason = 'no_domain' WHERE id = 2", 1, 0),
            ("UPDATE email SET status = 'processed', reason = NULL WHERE id = 2", 1, 1),
            ("UPDATE email SET reason = 'odd' WHERE id = 1", 1, 0),
            ("UPDATE email SET email = 'z@example.com' WHERE id = 1", 1, 0),
            ("UPDATE email SET row_number = 9 WHERE id = 1", 1, 0),
            ("DELETE FROM email WHERE id = 1", 1, 1),
            (
                "INSERT INTO email SELECT batch_id, 6, email, 6, status FROM email WHERE id = 1",
                0,
                1,
            ),
            ("UPDATE batch SET failed_count = failed_count + 1", 0, 1),
            ("UPDATE batch SET failed_count = failed_count - 1", 0, 0),
            ("UPDATE batch SET total_rows = total_rows + 1, blank_rows = 1", 0, 0),
            ("UPDATE chunk SET done = 1 WHERE first_id = 3", 0, 0),
            ("UPDATE chunk SET reasons = '{}' WHERE first_id = 1", 0, 0),
            ("DELETE FROM chunk WHERE first_id = 1", 0, 0),
            ("DELETE FROM chunk WHERE first_id = 5", 0, 0),
            ("UPDATE chunk SET first_id = 2 WHERE first_id = 3", 0, 0),
            ("UPDATE batch SET filename = 'other.csv'", 5, 5),
            ("DELETE FROM email; DELETE FROM batch", 5, 0),
        ],
    )
    def test_what_was_tampered_with_is_found(
        self, processed, verdict_on, change, sql, lost, doubled
    ):
        processed()
        change(sql)
        verdict = verdict_on(Listed(ADDRESSES))
        assert not verdict.clean
        assert (verdict.lost, verdict.doubled) == (lost, doubled)
        assert verdict.faults.sentences

    def test_an_email_that_was_counted_twice_is_doubled_and_a_pending_one_lost(
        self, verdict_on, change, make_turns, queue
    ):
        batch_id = store(*ADDRESSES, chunk_size=2).batch_id
        queue.enqueue(batch_id)
        make_turns(check).run_once()
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.processed) == (3, 0, 2)
        change("UPDATE batch SET processed_count = processed_count + 1")
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.processed) == (3, 1, 2)

    def test_a_half_stored_batch_is_found(self, processed, verdict_on, change):
        batch_id = processed()
        change(
            "INSERT INTO email (batch_id, id, email, row_number)"
            " SELECT %s, id, 'x@example.com', id FROM generate_series(1, 7) AS id",
            batch_id + 3,
        )
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled) == (0, 7)
        assert f"batch {batch_id + 3}: half stored, 7 emails but no batch" in str(
            verdict.faults.sentences
        )

    def test_a_batch_that_is_stored_twice_is_doubled(self, processed, verdict_on):
        processed()
        processed()
        verdict = verdict_on(Listed(ADDRESSES))
        assert (verdict.lost, verdict.doubled, verdict.batches) == (0, 5, 2)

    def test_what_nobody_answered_for_may_be_there_or_not_but_not_twice(
        self, processed, verdict_on
    ):
        upload = Listed(ADDRESSES, UNKNOWN)
        assert verdict_on(upload).clean
        processed()
        verdict = verdict_on(upload)
        assert verdict.clean
        assert verdict.unknown_stored == 1
        processed()
        assert verdict_on(upload).doubled == 5

    def test_what_was_broken_off_must_not_be_there(self, processed, verdict_on):
        upload = Listed(ADDRESSES, BROKEN_OFF)
        assert verdict_on(upload).clean
        processed()
        verdict = verdict_on(upload)
        assert (verdict.lost, verdict.doubled) == (0, 5)

    def test_a_row_that_was_counted_as_another_kind_is_found(self, database, verdict_on):
        store(*ADDRESSES, "")
        verdict = verdict_on(Listed(ADDRESSES))
        assert any("its rows were counted as" in each for each in verdict.faults.sentences)
        assert query("SELECT blank_rows FROM batch") == [(1,)]
