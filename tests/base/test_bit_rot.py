"""Bits that flip on the disk are never read back as if nothing had happened."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingot import parquet
from ingot.errors import IntegrityError
from ingot.parquet import check_object, read_table, write_table
from ingot.schemas import SHARDS
from ingot.storage import Store
from tests.base.tiny_store import doc_id

FLIPS, LONG_FLIPS = 400, 10_000


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Four hundred rows of made-up text in the columns of a shard."""
    chosen = random.Random(5)
    words = ["anchor", "barge", "crane", "dredger", "ferry", "gate", "harbour", "jetty", "lamp", "quay"]
    texts = [" ".join(chosen.choices(words, k=60)) for _ in range(400)]
    return pa.Table.from_pylist(
        [
            {
                "doc_id": doc_id("guide/install.md"), "text": f"{number} {text}", "text_sha256": bytes(32),
                "source": "wiki", "uri": f"page-{number}.md", "language": "en", "licence": "internal", "parents": [],
                "metadata": "{}", "schema_version": 1,
            }
            for number, text in enumerate(texts)
        ],
        schema=SHARDS,
    )  # fmt: skip


def flipped(data: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chosen.randrange(len(changed))] ^= 1 << chosen.randrange(8)
    return bytes(changed)


@pytest.mark.faults
@pytest.mark.parametrize("key", [None, "features/1/unit.parquet"], ids=["named by content", "sealed"])
def test_of_random_flips_in_an_object_none_is_silent(
    local_store: Store, rows: pa.Table, key: str | None, is_long: bool
) -> None:
    written = write_table(local_store, rows, "shards", key=key)
    path, chosen = Path(local_store.root) / written.key, random.Random(2026)
    whole = path.read_bytes()
    seen: Counter[str] = Counter()
    for _ in range(LONG_FLIPS if is_long else FLIPS):
        path.write_bytes(flipped(whole, chosen))
        # A file counts as the same one while size and time are; here it changes faster than the clock ticks.
        parquet._is_intact_once.cache_clear()
        try:
            same = read_table(local_store, written.key).equals(rows)
            seen["read the same" if same else "SILENT"] += 1
        except IntegrityError as error:
            assert written.key in str(error)
            seen["refused"] += 1
        with pytest.raises(IntegrityError, match=written.key):
            check_object(local_store, written.key)
    assert seen["SILENT"] == 0
    # A seal's own place in the footer may be hit: then pages tell, and `ingot scrub` refuses it as above.
    assert seen["read the same"] <= 0.02 * seen.total()
    path.write_bytes(whole)
    parquet._is_intact_once.cache_clear()
    assert read_table(local_store, written.key).equals(rows)


def test_plain_pyarrow_reads_such_flips_back_wrong(tmp_path: Path, rows: pa.Table) -> None:
    # The control: the same flips, the same rows, no checksums.
    pq.write_table(rows, tmp_path / "plain.parquet", compression="none", use_dictionary=False)
    whole, chosen, silent = (tmp_path / "plain.parquet").read_bytes(), random.Random(2026), 0
    for _ in range(60):
        (tmp_path / "flipped.parquet").write_bytes(flipped(whole, chosen))
        try:
            silent += not pq.read_table(tmp_path / "flipped.parquet").equals(rows)
        except (OSError, pa.ArrowException, ValueError):
            continue
    assert silent > 30


def test_a_shard_that_is_cut_or_has_a_zeroed_block_is_refused(local_store: Store, rows: pa.Table) -> None:
    written = write_table(local_store, rows, "shards")
    path, chosen = Path(local_store.root) / written.key, random.Random(1)
    whole = path.read_bytes()
    for _ in range(40):
        path.write_bytes(whole[: chosen.randrange(len(whole))])
        with pytest.raises(IntegrityError, match=written.key):
            read_table(local_store, written.key)
        start = chosen.randrange(max(1, len(whole) - 4096))
        path.write_bytes(whole[:start] + bytes(len(whole[start : start + 4096])) + whole[start + 4096 :])
        with pytest.raises(IntegrityError, match=written.key):
            read_table(local_store, written.key)
