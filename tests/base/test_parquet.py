"""Parquet objects: the same bytes every time, and no changed bit passes as data."""

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingot.errors import IntegrityError, NotFoundError
from ingot.parquet import ROW_GROUP_ROWS, check_object, column_names, num_rows, read_table, write_table
from ingot.storage import Store

NUM_FLIPS = 300


def small_table(rows: int = 200) -> pa.Table:
    draw = random.Random(1)
    return pa.table(
        {
            "doc_id": pa.array([draw.randbytes(16) for _ in range(rows)], pa.binary(16)),
            "text": pa.array([f"page {n} says {draw.random()}" for n in range(rows)], pa.large_string()),
            "score": pa.array([None if n % 7 == 0 else draw.random() for n in range(rows)], pa.float64()),
            "spans": pa.array([[{"start": n, "end": n + 3}] for n in range(rows)]),
        }
    )


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def data_pages_end(path: Path) -> int:
    """The first byte of the footer."""
    size = path.stat().st_size
    return size - 8 - int.from_bytes(path.read_bytes()[-8:-4], "little")


def test_a_table_comes_back_as_it_was_written(local_store: Store) -> None:
    table = small_table()
    ref = write_table(local_store, table, "shards")
    assert ref.key == f"shards/{ref.sha256}.parquet"
    assert (ref.rows, ref.bytes) == (200, local_store.size(ref.key))
    assert read_table(local_store, ref.key).equals(table)
    assert read_table(local_store, ref.key, columns=["score", "doc_id"]).column_names == ["score", "doc_id"]
    assert num_rows(local_store, ref.key) == 200


@pytest.mark.parametrize("read", [num_rows, column_names])
def test_an_object_removed_while_it_is_opened_is_absent_and_not_damaged(
    local_store: Store, monkeypatch: pytest.MonkeyPatch, read: Callable[[Store, str], object]
) -> None:
    ref = write_table(local_store, small_table(), "history")
    path = local_store.local_path(ref.key)
    monkeypatch.setattr(Store, "local_path", lambda self, key: path)
    path.unlink()
    with pytest.raises(NotFoundError, match=ref.key):
        read(local_store, ref.key)


def test_a_filter_returns_the_rows_it_names(local_store: Store) -> None:
    import pyarrow.compute as pc

    table = small_table(ROW_GROUP_ROWS + 100)
    ref = write_table(local_store, table, "decisions")
    wanted = table["doc_id"][ROW_GROUP_ROWS + 50].as_py()
    found = read_table(local_store, ref.key, filters=pc.field("doc_id") == wanted)
    assert found.num_rows == 1 and found["text"][0] == table["text"][ROW_GROUP_ROWS + 50]
    assert pq.read_metadata(local_store.local_path(ref.key)).num_row_groups == 2


def test_writing_twice_gives_the_same_bytes_and_key_however_the_table_was_put_together(local_store: Store) -> None:
    table = small_table()
    ref = write_table(local_store, table, "shards")
    pieces = pa.concat_tables([table.slice(0, 33), table.slice(33, 100), table.slice(133)])
    assert write_table(local_store, pieces, "shards") == ref
    assert write_table(local_store, pieces.replace_schema_metadata({"from": "elsewhere"}), "shards") == ref
    named = [write_table(local_store, t, "features", key="features/7/unit.parquet") for t in (table, pieces)]
    assert named[0] == named[1]
    assert local_store.list("shards/") == [ref.key]


def test_none_of_300_flipped_bits_in_the_data_is_read_as_data(local_store: Store) -> None:
    ref = write_table(local_store, small_table(), "shards")
    path = local_store.local_path(ref.key)
    data, end, draw = path.read_bytes(), data_pages_end(path), random.Random(3)
    original = read_table(local_store, ref.key)
    silently_wrong, found = 0, 0
    for _ in range(NUM_FLIPS):
        path.write_bytes(flipped(data, draw.randrange(4 * 8, end * 8)))
        try:
            silently_wrong += not read_table(local_store, ref.key).equals(original)
        except IntegrityError as error:
            assert ref.key in str(error)
            found += 1
    assert silently_wrong == 0
    assert found >= NUM_FLIPS * 0.9  # a few hit bytes that no reader looks at


def test_without_page_checksums_flipped_bits_are_read_as_data(tmp_path: Path) -> None:
    """The positive control: this is what the checksums are for."""
    table, path = small_table(), tmp_path / "plain.parquet"
    pq.write_table(table, path, compression="zstd")
    data, end, draw, silently_wrong = path.read_bytes(), data_pages_end(path), random.Random(3), 0
    for _ in range(NUM_FLIPS):
        path.write_bytes(flipped(data, draw.randrange(4 * 8, end * 8)))
        try:
            silently_wrong += not pq.read_table(path, use_threads=False).equals(table)
        except (pa.ArrowException, OSError):
            continue
    assert silently_wrong > 30


@pytest.mark.parametrize("key", [None, "documents/unit.parquet"], ids=["named by content", "sealed"])
def test_check_object_finds_every_flipped_bit_footer_included(local_store: Store, key: str | None) -> None:
    ref = write_table(local_store, small_table(20), "documents", key=key)
    path = local_store.local_path(ref.key)
    data = path.read_bytes()
    assert check_object(local_store, ref.key) == len(data)
    draw = random.Random(5)
    footer = data_pages_end(path)
    bits = [draw.randrange(len(data) * 8) for _ in range(500)]
    bits += [draw.randrange(footer * 8, len(data) * 8) for _ in range(500)]
    for bit in bits:
        path.write_bytes(flipped(data, bit))
        with pytest.raises(IntegrityError, match="has other bytes than were written under that key"):
            check_object(local_store, ref.key)
    path.write_bytes(data)
    check_object(local_store, ref.key)


def test_a_sealed_object_under_another_key_is_found(local_store: Store) -> None:
    write_table(local_store, small_table(20), "documents", key="documents/a.parquet")
    local_store.put_bytes("documents/b.parquet", local_store.read_bytes("documents/a.parquet"))
    with pytest.raises(IntegrityError, match=r"documents/b\.parquet has other bytes"):
        check_object(local_store, "documents/b.parquet")


def test_a_document_that_quotes_a_seal_does_not_confuse_it(local_store: Store) -> None:
    quoted = "ingot.seal\x18@" + "0" * 64
    table = pa.table({"text": [quoted, "b"], quoted: ["a", "b"]})
    for key in (None, "documents/a.parquet"):
        ref = write_table(local_store, table, "documents", key=key)
        check_object(local_store, ref.key)
        assert read_table(local_store, ref.key).equals(table)


def test_the_seal_is_not_seen_by_readers(local_store: Store) -> None:
    write_table(local_store, small_table(20), "documents", key="documents/a.parquet")
    assert pq.read_schema(local_store.local_path("documents/a.parquet")).metadata.keys() == {b"ingot.seal"}
    assert read_table(local_store, "documents/a.parquet").schema.metadata is None


@pytest.mark.parametrize("kept", [0, 1, 8, 100, -1])
def test_a_cut_file_is_damage_and_named(local_store: Store, kept: int) -> None:
    ref = write_table(local_store, small_table(), "shards")
    path = local_store.local_path(ref.key)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_table, num_rows, check_object):
        with pytest.raises(IntegrityError, match=ref.key):
            read(local_store, ref.key)


def test_an_absent_object_is_not_found_and_named(local_store: Store) -> None:
    for read in (read_table, num_rows, check_object):
        with pytest.raises(NotFoundError, match=r"shards/none\.parquet is not in the store"):
            read(local_store, "shards/none.parquet")


def test_a_kill_before_the_put_leaves_nothing_and_after_it_the_whole_object(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.base.test_storage_local import in_child

    for point, there in (("shards.put.before", False), ("shards.put.after", True)):
        monkeypatch.setenv("INGOT_CRASH_AT", point)
        assert in_child(lambda: write_table(local_store, small_table(), "shards")) == -9
        keys = local_store.list("shards/")
        assert bool(keys) == there
        assert [check_object(local_store, key) for key in keys] == [local_store.size(key) for key in keys]


def test_columns_come_in_the_order_they_were_asked_for_and_a_missing_one_is_damage(local_store: Store) -> None:
    ref = write_table(local_store, small_table(), "shards")
    assert read_table(local_store, ref.key, columns=["text", "doc_id"]).column_names == ["text", "doc_id"]
    with pytest.raises(IntegrityError, match=ref.key):
        read_table(local_store, ref.key, columns=["doc_id", "nothing"])
