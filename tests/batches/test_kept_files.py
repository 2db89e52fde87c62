import io
import random
from contextlib import closing

import pytest

from batches import kept_files
from batches.kept_files import KeptPieces, SkippedRows
from harness.books import query
from postgres.database import pool, session

RNG = random.Random(5)
CONTENTS = [
    b"a",
    b"a@x.de\n" * 1000,
    RNG.randbytes(kept_files.PIECE),
    RNG.randbytes(kept_files.PIECE + 1),
    b"a@x.de\n" * 500_000,
]


def keep(batch_id, content, file=None):
    with session(30) as current, pool.atomic():
        file = file or io.BytesIO(content)
        with closing(KeptPieces(batch_id, file)) as pieces:
            pieces.copy(current)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: len(content))
def test_the_bytes_come_back_as_they_were(database, content, on_disk, tmp_path):
    (tmp_path / "list").write_bytes(content)
    with (tmp_path / "list").open("rb") as file:
        file.seek(3)
        keep(7, content, file if on_disk else None)
    keep(8, b"another")
    with kept_files.open_kept(7) as file:
        assert file.read() == content
        assert file.seek(0, io.SEEK_END) == len(content)
        for position in (0, len(content) // 2, len(content) - 1):
            file.seek(position)
            assert file.read(50) == content[position : position + 50]
    compressed = query("SELECT sum(octet_length(content)) FROM file_piece WHERE batch_id = 7")[0][0]
    assert compressed < len(content) + 1000


def test_no_connection_is_held_between_two_reads(database):
    keep(7, CONTENTS[4])
    with kept_files.open_kept(7) as file:
        file.read(10)
        assert not pool._in_use


def test_a_file_that_is_not_kept_is_not_found(database):
    with pytest.raises(FileNotFoundError):
        kept_files.open_kept(7)
    keep(7, CONTENTS[4])
    query_all = "DELETE FROM file_piece WHERE number = 1 RETURNING number"
    with kept_files.open_kept(7) as file:
        file.read(10)
        query(query_all)
        with pytest.raises(FileNotFoundError):
            file.read()


def test_what_is_rolled_back_is_not_kept(database):
    class StopError(Exception):
        pass

    def store():
        with session(30) as current, pool.atomic(), closing(SkippedRows(7)) as skipped:
            with closing(KeptPieces(7, io.BytesIO(CONTENTS[3]))) as pieces:
                pieces.copy(current)
            skipped.blank(1)
            skipped.copy(current)
            raise StopError

    with pytest.raises(StopError):
        store()
    assert query(
        "SELECT (SELECT count(*) FROM file_piece), (SELECT count(*) FROM skipped_row)"
    ) == [(0, 0)]


def test_what_the_disk_does_not_give_is_no_half_of_a_file(database, monkeypatch, tmp_path):
    def broken(*_):
        raise OSError(5, "Input/output error")

    (tmp_path / "list").write_bytes(CONTENTS[-1])
    monkeypatch.setattr(kept_files.os, "pread", broken)
    with (tmp_path / "list").open("rb") as file, pytest.raises(OSError, match="Input/output"):
        keep(7, b"", file)
    assert query("SELECT count(*) FROM file_piece") == [(0,)]


def test_skipped_rows_are_found_page_by_page_and_by_kind(database):
    with session() as current, pool.atomic(), closing(SkippedRows(7)) as skipped:
        for line in range(2, 5002, 2):
            skipped.blank(line)
            skipped.duplicate(line + 1, 0, 1, f"b{line}\t\\@x.de")
        skipped.without_address(9000, ["a\nb", "ü" * 500])
        skipped.copy(current)
    with session():
        assert [row.row_number for row in kept_files.skipped(7, kept_files.KINDS, (0, 0), 3)] == [
            2,
            3,
            4,
        ]
        assert [row.row_number for row in kept_files.skipped(7, ["blank"], (2, 0), 2)] == [4, 6]
        (row,) = kept_files.skipped(7, ["duplicate"], (0, 0), 1)
        assert (row.row_number, row.first_row, row.content) == (3, 1, "b2\t\\@x.de")
        (row,) = kept_files.skipped(7, ["without_address"], (0, 0), 10)
        assert row.content == ("a\nb, " + "ü" * 500)[:200]
        assert kept_files.skipped(8, kept_files.KINDS, (0, 0), 10) == []


def test_postgresql_does_not_compress_what_is_compressed(database):
    assert query(
        "SELECT attstorage FROM pg_attribute"
        " WHERE attrelid = 'file_piece'::regclass AND attname = 'content'"
    ) == [("e",)]
