"""A backup and a restore where the store is on S3."""

from pathlib import Path

from ingot import backup, ledger, restore, store_identity, verify
from ingot.digests import sha256_hex
from ingot.storage import Store
from tests.base.tiny_store import ACTOR


def test_a_store_on_s3_goes_through_a_folder_into_another_one(s3_store: Store, s3_root: str, tmp_path: Path) -> None:
    store_identity.initialise(s3_store)
    weights, key = b"weights" * 100, "checkpoints/0123/00000001"
    s3_store.put_bytes(f"{key}/model.safetensors", weights)
    files = [{"name": "model.safetensors", "size": len(weights), "sha256": sha256_hex(weights)}]
    s3_store.put_if_absent(f"{key}/manifest.json", {"files": files})
    entry = ledger.append(
        s3_store, actor=ACTOR, verb="read_text", subject="x", subject_digest="0", evidence={}, attempt="1"
    )
    folder, counts = tmp_path / "kept", []
    for _ in range(2):
        with backup.opened(folder) as previous:
            copied = backup.copy_store(s3_store, folder, previous, lambda *progress: None)
            index = backup.Index(
                time="", store=s3_store.root, ledger_head=copied.ledger_head, files=tuple(copied.files.values())
            )
            backup.write_index(folder, index)
        counts.append(copied.num_copied)
    assert counts == [4, 0]
    other = Store(f"{s3_root}-restored", scratch_root=tmp_path / "home/scratch")
    found = restore.open_backup(folder)
    restore.claim(tmp_path / "home", other, found)
    restore.restore_store(folder, found, other, lambda *progress: None)
    assert verify.verify(other, witness=entry.sha256).objects == 2
    assert other.list("") == s3_store.list("")
