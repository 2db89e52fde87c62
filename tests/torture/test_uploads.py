"""The files of a torture run, and what is expected of them."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from io import BytesIO

import pytest

from batches import accounting, kept_files
from processors import PROCESSED, Item, Later, failed
from tabular import reader
from tabular.formats import Overrides
from torture.processor import UNUSUAL, answer
from torture.uploads import GOOD, LAYOUTS, MALFORMED, Upload


def said(address: str, of_round: int = 1) -> object:
    """What the processor says of an address, without a Stop."""
    return answer(Item(address, "", of_round), stop=False)


def test_the_processor_says_what_is_expected_of_each_kind_of_address():
    for template in GOOD:
        assert said(template.format(7)) == PROCESSED
    for template, reason in MALFORMED.items():
        assert said(template.format(7)) == failed(reason)


def test_unusual_addresses_are_put_off_for_so_many_rounds():
    with pytest.raises(RuntimeError):
        said("raises.7@example.com")
    for word in UNUSUAL.keys() - {"raises", "never"}:
        rounds, outcome = UNUSUAL[word]
        address = f"{word}.7@example.com"
        for number in range(1, rounds):
            assert isinstance(said(address, number), Later)
        assert said(address, rounds) == outcome
    assert said("never.7@example.com").wait(UNUSUAL["never"].rounds) is None


@pytest.mark.parametrize("seed", range(40))
def test_a_file_is_read_as_expected(seed):
    upload = Upload("list.csv", seed, 1 + 30 * seed)
    content, counts = upload.content()
    rows = accounting.Rows()
    with (
        closing(reader.read(BytesIO(content), Overrides())) as table,
        closing(kept_files.SkippedRows(1)) as skipped,
    ):
        pieces = accounting.read_addresses(table, rows, 10**6, skipped)
        read = [
            pair
            for piece in pieces
            for pair in zip(piece.addresses.strings(), piece.lines.tolist(), strict=True)
        ]
    expected = [(row.address, row.line) for row in upload.rows() if row.kind == "email"]
    assert read == expected
    assert rows == accounting.Rows(
        counts["email"], counts["duplicate"], counts["blank"], counts["without address"]
    )


def test_files_differ_and_have_all_kinds_of_rows():
    uploads = [Upload("list.csv", seed, 300, unusual=0.5) for seed in range(20)]
    assert len({upload.content()[0] for upload in uploads}) == 20
    counts: Counter[str] = Counter()
    for upload in uploads:
        counts.update(upload.content()[1])
    assert set(counts) == {"email", "duplicate", "blank", "without address"}
    assert len(LAYOUTS) > 1
    words = {row.address.partition(".")[0] for upload in uploads for row in upload.rows()}
    assert words >= UNUSUAL.keys()
