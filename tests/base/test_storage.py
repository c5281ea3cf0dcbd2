"""What every store promises, held against a local folder and against S3."""

import pickle
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from ingot import ledger
from ingot.errors import IntegrityError, NotFoundError, RecipeError
from ingot.ledger import Actor
from ingot.parquet import check_object, read_table, write_table
from ingot.storage import Store
from ingot.verify import verify
from tests.base.tiny_store import build

BAD_KEYS = [
    "", "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "a//b", "a/", "a\\b", "..\\a", "a\0b",
]  # fmt: skip


def test_bytes_come_back_as_they_were_put(any_store: Store) -> None:
    for data in (b"", b"x", bytes(range(256)) * 5000):
        key = f"area/{len(data)}.bin"
        any_store.put_bytes(key, data)
        assert any_store.read_bytes(key) == data
        assert any_store.size(key) == len(data)
        assert any_store.exists(key)
        assert any_store.local_path(key).read_bytes() == data


def test_a_file_comes_back_as_it_was_put(any_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights" * 1000)
    any_store.put_file("checkpoints/x/model", tmp_path / "file")
    assert any_store.read_bytes("checkpoints/x/model") == b"weights" * 1000
    assert (tmp_path / "file").exists()


def test_what_is_absent_is_not_found_and_named(any_store: Store) -> None:
    for read in (any_store.read_bytes, any_store.read_json, any_store.read_record, any_store.local_path):
        with pytest.raises(NotFoundError, match=r"area/none is not in the store"):
            read("area/none")
    assert any_store.size("area/none") is None
    assert not any_store.exists("area/none")
    any_store.delete("area/none")


def test_present_with_the_same_size_is_done_and_overwrite_replaces(any_store: Store, tmp_path: Path) -> None:
    any_store.put_bytes("area/a", b"first")
    any_store.put_bytes("area/a", b"other")
    assert any_store.read_bytes("area/a") == b"first"
    any_store.put_bytes("area/a", b"longer one")
    assert any_store.read_bytes("area/a") == b"longer one"
    any_store.put_bytes("area/a", b"LONGER ONE", overwrite=True)
    assert any_store.read_bytes("area/a") == b"LONGER ONE"
    (tmp_path / "file").write_bytes(b"longer two")
    any_store.put_file("area/a", tmp_path / "file")
    assert any_store.read_bytes("area/a") == b"LONGER ONE"
    any_store.put_file("area/a", tmp_path / "file", overwrite=True)
    assert any_store.read_bytes("area/a") == b"longer two"


def test_a_local_path_follows_an_object_that_was_written_again_with_the_same_size(any_store: Store) -> None:
    any_store.put_bytes("area/a", b"first")
    assert any_store.local_path("area/a").read_bytes() == b"first"
    any_store.put_bytes("area/a", b"again", overwrite=True)
    assert any_store.local_path("area/a").read_bytes() == b"again"


def test_a_list_is_sorted_and_ends_at_the_folder(any_store: Store) -> None:
    for key in ("area/b", "area/a/2", "area/a/10", "areal/c", "area.json"):
        any_store.put_bytes(key, b"x")
    assert any_store.list("area/") == ["area/a/10", "area/a/2", "area/b"]
    assert any_store.list("area/a/") == ["area/a/10", "area/a/2"]
    assert any_store.list("none/") == []


def test_a_deleted_object_is_gone_from_every_view(any_store: Store) -> None:
    any_store.put_bytes("area/a", b"x")
    any_store.delete("area/a")
    assert any_store.list("area/") == [] and not any_store.exists("area/a")


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_leaves_the_store_is_refused_everywhere(local_store: Store, key: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    for call in (
        lambda: local_store.put_bytes(key, b"x"),
        lambda: local_store.put_file(key, tmp_path / "x"),
        lambda: local_store.put_if_absent(key, {}),
        lambda: local_store.read_bytes(key),
        lambda: local_store.local_path(key),
        lambda: local_store.size(key),
        lambda: local_store.delete(key),
    ):
        with pytest.raises(RecipeError, match="is not a plain relative path"):
            call()
    assert (tmp_path / "x").read_bytes() == b"outside"


def test_of_two_records_for_one_key_the_first_stays(any_store: Store) -> None:
    assert any_store.put_if_absent("ledger/1.json", {"who": "a"})
    assert not any_store.put_if_absent("ledger/1.json", {"who": "b"})
    assert any_store.read_record("ledger/1.json") == {"who": "a"}
    assert set(any_store.read_json("ledger/1.json")) == {"who", "writer", "attempt", "record_sha256"}


def test_of_8_threads_exactly_one_wins_a_key(any_store: Store) -> None:
    barrier, wins = threading.Barrier(8), []

    def compete(number: int) -> None:
        barrier.wait()
        wins.append((any_store.put_if_absent("ledger/1.json", {"who": number}), number))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for won, number in wins if won]
    assert len(wins) == 8
    assert any_store.read_record("ledger/1.json") == {"who": winner}


def test_a_record_moved_to_another_key_is_found(any_store: Store) -> None:
    any_store.put_if_absent("evaluations/a.json", {"bits_per_byte": 2.0})
    any_store.put_bytes("evaluations/b.json", any_store.read_bytes("evaluations/a.json"))
    with pytest.raises(IntegrityError, match=r"evaluations/b\.json was changed"):
        any_store.read_record("evaluations/b.json")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xff\xfe", b'{"a":1}', b"[" * 20_000]
)
def test_whatever_is_no_record_is_damage_and_no_traceback(local_store: Store, body: bytes) -> None:
    local_store.put_bytes("evaluations/a.json", body)
    with pytest.raises(IntegrityError, match="restore it from a backup"):
        local_store.read_record("evaluations/a.json")


def test_an_object_that_is_no_json_is_damage_and_named(any_store: Store) -> None:
    any_store.put_bytes("area/a.json", b"{not json")
    with pytest.raises(IntegrityError, match=r"area/a\.json is not JSON \(9 bytes\)"):
        any_store.read_json("area/a.json")


def test_a_store_survives_pickling(any_store: Store) -> None:
    any_store.put_bytes("area/a", b"x")
    again = pickle.loads(pickle.dumps(any_store))
    assert again.root == any_store.root
    assert again.read_bytes("area/a") == b"x"
    with again.scratch() as mine, any_store.scratch() as other:
        assert mine.parent == other.parent


def test_tables_and_ledger_work_the_same_on_both(any_store: Store) -> None:
    table = pa.table({"doc_id": [b"1", b"2"], "text": ["a", "b"]})
    ref = write_table(any_store, table, "shards")
    named = write_table(any_store, table, "documents", key="documents/u.parquet")
    assert read_table(any_store, ref.key).equals(table)
    assert read_table(any_store, named.key, columns=["text"]).column_names == ["text"]
    assert check_object(any_store, named.key) == named.bytes
    for number in range(5):
        ledger.append(
            any_store, actor=Actor("service", "nightly", "declared"), verb="published", subject=f"a@{number}",
            subject_digest="d", evidence={}, attempt=str(number),
        )  # fmt: skip
    assert [entry.subject for entry in ledger.read(any_store)] == [f"a@{number}" for number in range(5)]


def test_the_whole_store_can_be_built_and_verified_on_both(any_store: Store, tmp_path: Path) -> None:
    tiny = build(tmp_path, tmp_path / "sources", store=any_store)
    report = verify(any_store, witness=tiny.witness)
    assert (report.ledger_records, report.corpus_versions) == (5, 2)
    (key, *_) = [key for key in any_store.list("shards/")]
    any_store.put_bytes(key, b"\0" * (any_store.size(key) or 0), overwrite=True)
    with pytest.raises(IntegrityError, match=key):
        verify(any_store, witness=tiny.witness)
