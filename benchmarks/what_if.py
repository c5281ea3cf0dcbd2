"""How long `ingot what-if` and `ingot diff` take over a version of a million documents.

The store is fabricated: features, signatures and decisions of the right types and sizes with drawn numbers, a text of
a few bytes for each, two versions that differ in 2 % of their documents. What is timed reads them as in any store.

    python benchmarks/what_if.py [--documents 1000000] [--folder /tmp/what-if]
"""

import argparse
import hashlib
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets_pipeline.analyse import feature_version, features_key, rule_version  # noqa: E402
from datasets_pipeline.decision_rows import write_decisions  # noqa: E402
from datasets_pipeline.features.columns import COLUMNS  # noqa: E402
from datasets_pipeline.insight.diff import diff  # noqa: E402
from datasets_pipeline.insight.what_if import what_if  # noqa: E402
from ingot import manifest  # noqa: E402
from ingot.config import Recipe, parse_recipe, resolved  # noqa: E402
from ingot.manifest import Identity  # noqa: E402
from ingot.parquet import write_table  # noqa: E402
from ingot.schemas import ACQUISITION, DECISIONS, DOC_ID, DOCUMENTS  # noqa: E402
from ingot.storage import Store  # noqa: E402

_UNIT = 10_000
_LANGUAGES = ("en", "de", "fr", "es")


def recipe_of(**length: int) -> Recipe:
    """A recipe with three rules."""
    return parse_recipe(
        {
            "corpus": "big",
            "sources": [{"source": "folder", "name": "wiki", "uri": "/wiki"}],
            "rules": [{"rule": "length", **length}, {"rule": "gopher_quality"}, {"rule": "gopher_repetition"}],
        }
    )


def build(store: Store, num: int) -> None:
    """Units, features, one acquisition record, and decisions of two versions."""
    chosen = np.random.default_rng(7)
    ids = [hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(num)]
    words = np.exp(chosen.normal(5.5, 1.2, num)).astype(np.int64) + 1
    language = chosen.choice(len(_LANGUAGES), num)
    records = []
    for start in range(0, num, _UNIT):
        size = min(_UNIT, num - start)
        unit = hashlib.sha256(str(start).encode()).hexdigest()[:32]
        part = slice(start, start + size)
        _write_unit(store, unit, ids[part], words[part], language[part], start, chosen)
        records += [_file(f"{start + n:07}.md", unit, n) for n in range(size)]
    look = write_table(store, pa.Table.from_pylist(records, schema=ACQUISITION), "acquisition/wiki/benchmark")
    order = np.argsort(np.array(ids, "S16"))
    for version in (1, 2):
        present = order if version == 1 else order[chosen.random(num) > 0.01]
        dropped = words[present] < (20 if version == 1 else 22)
        named = [ids[i] for i in present]
        _publish(store, version, named, present, words[present], language[present], dropped, look.key)


def _write_unit(
    store: Store, unit: str, ids: list[bytes], words: np.ndarray, language: np.ndarray, start: int, chosen: Any
) -> None:
    num = len(ids)
    columns: dict[str, Any] = {
        "doc_id": pa.array(ids, DOC_ID), "text": ["x"] * num, "uri": [f"{start + n:07}.md" for n in range(num)],
        "start": [0] * num, "end": [1] * num, "media_type": ["text/markdown"] * num, "extractor": ["markdown"] * num,
        "extractor_version": ["1"] * num, "metadata": ["{}"] * num,
    }  # fmt: skip
    columns |= {name: pa.nulls(num, DOCUMENTS.field(name).type) for name in DOCUMENTS.names if name not in columns}
    table = pa.table({name: columns[name] for name in DOCUMENTS.names}, schema=DOCUMENTS)
    write_table(store, table, "documents", key=f"documents/{unit}.parquet")
    numbers: dict[str, Any] = {"doc_id": table["doc_id"]}
    for column in COLUMNS:
        if column.name == "language":
            numbers["language"] = pa.array([_LANGUAGES[i] for i in language])
        elif column.type == pa.string():
            numbers[column.name] = pa.array(["text/markdown"] * num)
        elif column.type == pa.bool_():
            numbers[column.name] = pa.array([False] * num)
        elif column.type == pa.float64():
            numbers[column.name] = pa.array(np.round(chosen.uniform(0.6, 1, num), 4))
        else:
            numbers[column.name] = pa.array((words * chosen.uniform(0.0, 0.2, num)).astype(np.int64))
    numbers |= {"num_words": pa.array(words), "num_non_symbol_words": pa.array(words), "num_chars": pa.array(words * 6)}
    numbers["num_shingles"] = pa.array(words)
    data = chosen.integers(0, 256, num * 448, np.uint8).tobytes()
    numbers["signature"] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(448), num, [None, pa.py_buffer(data)])
    numbers["failed"] = pa.array([False] * num)
    write_table(store, pa.table(numbers), "features", key=features_key(unit))


def _file(uri: str, unit: str, row: int) -> dict[str, Any]:
    return {
        "uri": uri, "digest": uri, "state": "open", "outcome": "read", "retry": False, "unit": unit, "first_row": row,
        "num_rows": 1, "num_rejects": 0, "size": 1, "attributes_digest": "", "place_digest": "", "first_seen": "",
    }  # fmt: skip


def _publish(
    store: Store, version: int, ids: list[bytes], files: np.ndarray, words: np.ndarray, language: np.ndarray,
    dropped: np.ndarray, look: str,
) -> None:  # fmt: skip
    num, lost = len(ids), np.flatnonzero(dropped)
    final: dict[str, Any] = {
        "doc_id": pa.array(ids, DOC_ID), "verdict_order": np.zeros(num, np.int32), "final": [True] * num,
        "outcome": np.where(dropped, "dropped", "kept"), "rule": pa.array(np.where(dropped, "length", ""), pa.string()),
        "reason": np.where(dropped, "too_few_words", ""), "source": ["wiki"] * num,
        "uri": [f"{n:07}.md" for n in files.tolist()], "language": [_LANGUAGES[i] for i in language],
        "licence": ["MIT"] * num, "media_type": ["text/markdown"] * num, "num_bytes": words * 6,
        "num_occurrences": np.ones(num, np.int32),
    }  # fmt: skip
    verdicts: dict[str, Any] = {
        "doc_id": pa.array([ids[i] for i in lost], DOC_ID), "verdict_order": np.ones(len(lost), np.int32),
        "final": [False] * len(lost), "outcome": ["dropped"] * len(lost), "rule": ["length"] * len(lost),
        "reason": ["too_few_words"] * len(lost), "score": words[lost].astype(float),
    }  # fmt: skip
    tables = [
        pa.table({f.name: pa.array(v[f.name], f.type) if f.name in v else pa.nulls(len(v["doc_id"]), f.type)
                  for f in DECISIONS}, schema=DECISIONS)
        for v in (final, verdicts)
    ]  # fmt: skip
    rows = pa.concat_tables(tables).sort_by([("doc_id", "ascending"), ("verdict_order", "ascending")])
    recipe = recipe_of(min_words=20 if version == 1 else 22)
    identity = Identity(
        manifest_version=1, corpus="big", snapshot_digest=str(version), tombstones_digest="",
        recipe={"rules": [resolved(rule) for rule in recipe.rules]},
        versions={"features": feature_version(), **{f"rule.{r.id}": rule_version(r.rule) for r in recipe.rules}},
        content_digest="", root_digest="", shards=[], decisions=write_decisions(store, rows),
        accounting={"documents": num, "kept": int((~dropped).sum()), "heldout": 0, "occurrences": num},
        statistics={},
    )  # fmt: skip
    manifest.publish(store, identity, {"sources": {"wiki": {"record": look}}}, version)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--documents", type=int, default=1_000_000)
    options.add_argument("--folder", help="where the store is made and kept (default: a temporary folder)")
    arguments = options.parse_args()
    folder = Path(arguments.folder or tempfile.mkdtemp())
    store = Store(str(folder / "store"), scratch_root=folder / "scratch")
    if not store.exists("corpora/big/2.json"):
        build(store, arguments.documents)
    name, found = manifest.read_named(store, "big@1")
    for what, recipe in (
        ("nothing", recipe_of(min_words=20)),
        ("min_words 20 -> 30", recipe_of(min_words=30)),
        ("min_words 20 -> 10", recipe_of(min_words=10)),
        ("all three rules", parse_recipe({**resolved_values(), "rules": [{"rule": "length", "min_words": 40},
         {"rule": "gopher_quality", "min_stop_words": 1}, {"rule": "gopher_repetition", "dup_line_frac": 0.1}]})),
    ):  # fmt: skip
        began, cpu = time.perf_counter(), time.process_time()
        answer = what_if(store, recipe, name, found)
        print(
            f"what-if {what}: {time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of processor; "
            f"{answer.goes:,} go, {answer.comes:,} come"
        )
    began, cpu = time.perf_counter(), time.process_time()
    differs = diff(store, (name, found), manifest.read_named(store, "big@2"))
    print(
        f"diff: {time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of processor; "
        f"{sum(differs.came.values()):,} came, {sum(differs.went.values()):,} went"
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    if not arguments.folder:
        shutil.rmtree(folder)


def resolved_values() -> dict[str, Any]:
    """What the recipes share."""
    return {"corpus": "big", "sources": [{"source": "folder", "name": "wiki", "uri": "/wiki"}]}


if __name__ == "__main__":
    main()
