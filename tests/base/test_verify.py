"""`verify` finds every change that was not made by Ingot itself."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from ingot import ledger, store_identity
from ingot.errors import IntegrityError
from ingot.parquet import write_table
from ingot.scrub import scrub
from ingot.verify import verify
from tests.base.tiny_store import ACTOR, TinyStore

AREAS = (
    "store.json", "ledger", "corpora", "shards", "decisions", "tokens", "tokenizers", "checkpoints", "evaluations",
    "documents", "runs",
)  # fmt: skip
KINDS = ("flip a bit", "truncate", "delete", "swap with another", "append a byte")
NUM_TAMPERINGS = 1000


def durable_files(root: Path) -> dict[Path, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] in AREAS)
    return {path: path.read_bytes() for path in files}


def tamper(draw: random.Random, path: Path, files: dict[Path, bytes], kind: str) -> list[Path]:
    """Change the store in one way; returns what must be restored."""
    data = bytearray(files[path])
    if kind == "delete":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(data[: draw.randrange(len(data))])
    elif kind == "append a byte":
        path.write_bytes(data + bytes([draw.randrange(256)]))
    elif kind == "flip a bit":
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
    else:
        other = draw.choice([other for other in files if files[other] != files[path]])
        path.write_bytes(files[other])
        other.write_bytes(files[path])
        return [path, other]
    return [path]


def test_an_untouched_store_passes_and_says_what_was_checked(built_store: TinyStore) -> None:
    seen: list[tuple[str, int, int]] = []
    report = verify(built_store.store, witness=built_store.witness, on_progress=lambda *progress: seen.append(progress))
    assert (report.ledger_records, report.corpus_versions, report.notes) == (5, 2, ())
    assert report.objects == seen[-1][1] == seen[-1][2] > 30
    assert report.bytes > 10_000


def test_a_segment_of_an_index_that_a_run_merges_meanwhile_is_no_damage(tiny: TinyStore) -> None:
    segment = write_table(tiny.store, pa.table({"key": [1, 2, 3]}), "history/1-2x3")

    def merge(what: str, number: int, of: int) -> None:
        tiny.store.delete(segment.key)

    verify(tiny.store, witness=tiny.witness)
    verify(tiny.store, witness=tiny.witness, on_progress=merge)
    assert not tiny.store.exists(segment.key)
    segment = write_table(tiny.store, pa.table({"key": [1, 2, 3]}), "history/1-2x3")
    assert scrub(tiny.store, actor=ACTOR, on_progress=merge).damages == ()
    segment = write_table(tiny.store, pa.table({"key": [1, 2, 3]}), "history/1-2x3")
    path = tiny.root / segment.key
    data = path.read_bytes()
    path.write_bytes(bytes([*data[:20], data[20] ^ 1, *data[21:]]))
    with pytest.raises(IntegrityError, match=segment.key):
        verify(tiny.store, witness=tiny.witness)


def test_each_of_1000_random_tamperings_is_found(tiny: TinyStore) -> None:
    files = durable_files(tiny.root)
    assert {path.relative_to(tiny.root).parts[0] for path in files} == set(AREAS)
    draw = random.Random(2026)
    missed, seen = [], set()
    for number in range(NUM_TAMPERINGS):
        if number % 100 == 0:
            verify(tiny.store, witness=tiny.witness)
        path, kind = draw.choice(list(files)), draw.choice(KINDS)
        seen.add((path.relative_to(tiny.root).parts[0], kind))
        changed = tamper(draw, path, files, kind)
        try:
            verify(tiny.store, witness=tiny.witness)
            missed.append((kind, str(path.relative_to(tiny.root))))
        except IntegrityError as error:
            assert str(error)
        for each in changed:
            each.write_bytes(files[each])
    assert missed == []
    assert len(seen) >= len(AREAS) * len(KINDS) - 5
    verify(tiny.store, witness=tiny.witness)


def test_a_manifest_rewritten_with_a_fresh_digest_is_found_by_the_ledger(tiny: TinyStore) -> None:
    store = tiny.store
    record = store.read_record("corpora/handbook/1.json")
    record["provenance"]["writer"] = "somebody else"
    store.delete("corpora/handbook/1.json")
    store.put_if_absent("corpora/handbook/1.json", record)
    with pytest.raises(IntegrityError, match=r"manifest handbook@1 is not the one ledger record 1 names"):
        verify(store)


def test_a_version_whose_ledger_record_is_not_written_yet_is_a_note_and_no_damage(tiny: TinyStore) -> None:
    store = tiny.store
    sequence = ledger.head(store)[0]
    for number in range(1, sequence + 1):
        store.delete(ledger.key_of(number))
    report = verify(store)
    assert len(report.notes) == 2 and "handbook@1 has no ledger record" in report.notes[0]
    with pytest.raises(IntegrityError, match="rewritten or cut"):
        verify(store, witness=tiny.witness)


def test_the_error_names_the_object_and_a_remedy(tiny: TinyStore) -> None:
    store = tiny.store
    (key,) = [key for key in store.list("checkpoints/") if key.endswith("model.safetensors")][:1]
    store.put_bytes(key, b"\0" * (store.size(key) or 0), overwrite=True)
    with pytest.raises(IntegrityError) as caught:
        verify(store)
    assert key in str(caught.value) and "restore it" in str(caught.value)


def test_a_lost_salt_is_never_made_anew(tiny: TinyStore) -> None:
    tiny.store.delete(store_identity.STORE_KEY)
    with pytest.raises(IntegrityError, match="salt"):
        store_identity.initialise(tiny.store)
    assert not tiny.store.exists(store_identity.STORE_KEY)


def test_the_salt_is_made_once_and_stays(tmp_path: Path) -> None:
    store = TinyStore(tmp_path, tmp_path, "").store
    first = store_identity.initialise(store)
    assert len(first) == 32
    assert store_identity.initialise(store, salt="00" * 16) == first
