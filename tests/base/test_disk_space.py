"""A full disk is told with numbers, whatever library met it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ingot.disk_space import told_when_full
from ingot.errors import StorageError
from ingot.parquet import write_table
from ingot.storage import Store
from tests.small_disk import small_disk

SIZE = 1 << 20
TOO_MUCH = 3 << 20


def test_a_table_for_which_scratch_has_no_room_says_what_it_needs(tmp_path: Path) -> None:
    table = pa.table({"noise": pa.array(np.random.default_rng(1).integers(0, 1 << 62, TOO_MUCH // 8))})
    with small_disk(tmp_path / "disk", SIZE) as disk:
        store = Store(str(tmp_path / "store"), scratch_root=disk.folder / "scratch")
        told = r"the disk of \S+/disk/scratch is full: shards needs 3,145,728 bytes, 1,0\d\d,\d\d\d are free; free"
        with pytest.raises(StorageError, match=told):
            write_table(store, table, "shards")
        assert store.list("") == [] and list((disk.folder / "scratch").iterdir()) == []
        disk.resize(4 * TOO_MUCH)
        assert write_table(store, table, "shards").rows == table.num_rows


def test_a_copy_of_a_remote_object_for_which_there_is_no_room_says_what_it_needs(
    s3_root: str, s3_store: Store, tmp_path: Path
) -> None:
    s3_store.put_bytes("shards/a", b"x" * TOO_MUCH)
    with small_disk(tmp_path / "disk", SIZE) as disk:
        store = Store(s3_root, scratch_root=disk.folder)
        told = r"the disk of \S+/disk is full: shards/a needs 3,145,728 bytes, 1,0\d\d,\d\d\d are free"
        with pytest.raises(StorageError, match=told):
            store.local_path("shards/a")
        disk.resize(4 * TOO_MUCH)
        assert store.local_path("shards/a").stat().st_size == TOO_MUCH


def test_libraries_that_say_it_in_words_only_are_understood(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with (
        small_disk(tmp_path / "disk", SIZE) as disk,
        pytest.raises(StorageError, match=r"is full: a checkpoint needs 3,145,728 bytes, 1,0\d\d,\d\d\d are free"),
        told_when_full(disk.folder, "a checkpoint", TOO_MUCH),
    ):
        path = disk.folder / "model.safetensors"
        try:
            save_file({"w": np.zeros(TOO_MUCH, dtype=np.uint8)}, path)
        finally:
            path.unlink(missing_ok=True)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    for error in (KeyError("x"), PermissionError(13, "Permission denied"), StorageError("said already")):
        with pytest.raises(type(error)) as caught, told_when_full(tmp_path, "a", 1):
            raise error
        assert caught.value is error
