"""Fixed documents, stored digests: bytes that change while the stage's version does not are noticed here.

What depends on the version of pyarrow (bytes of Parquet files, root digests) is not golden; values are. When
a stage's output changes on purpose, raise its VERSION and store the new digest beside it.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from datasets_pipeline import tokens as token_files
from datasets_pipeline.acquire import extraction_versions, open_files
from datasets_pipeline.analyse import feature_version, features_key, span_config_digest, spans_key
from datasets_pipeline.dedup.minhash import SIGNATURE_VERSION
from datasets_pipeline.parallel import InProcessPool
from ingot.digests import digest_of, sha256_file, sha256_hex
from ingot.parquet import read_table
from ingot.store_identity import span_key
from tests.curation.pages import ADDRESS, GERMAN, made_up, page
from tests.curation.road import Night, Road

METADATA = """Metadata-Version: 2.1
Name: harbour-tools
Version: 1.4
Summary: Small tools for a harbour office.
License-Expression: BSD-3-Clause
Description-Content-Type: text/markdown

# Harbour tools

A collection of small programs that the office uses to count crates and to print the list of boats.
"""

INPUT = "08facc0793c5"
# stage: (its version, the first 12 digits of the digest of its values)
GOLDEN = {
    "extraction": ("16e21d5dfc13", "b06e99c4adc6"),
    "features": ("2-dcd6e944e0f7", "78d14a896001"),
    "signatures": ("1-unicode14.0.0", "c7c22ccfca3e"),
    "spans": ("pii 4", "735c9ba8570d"),
    "snapshot": ("16e21d5dfc13", "dee5e57c4a09"),
    "decisions": ("ea8952cf683c", "46681868751e"),
    "content": ("ea8952cf683c", "62a669e504d1"),
    "tokens": ("1 0.23.3", "3196aae9642b"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Road, Night]:
    """One run over made-up documents of several kinds."""
    folder = tmp_path_factory.mktemp("golden")
    corpus = made_up(folder / "documents", num_pages=10)
    corpus.write("notes", "tools.dist-info/METADATA", METADATA)
    corpus.write("notes", "mixed/zeichen.md", f"# Größe ≥ 3\n\n{GERMAN}\n\n東京の港 🚢 {ADDRESS} e\u0301te\u0301\r\n")
    table = "<table><tr><th>Quay</th></tr><tr><td>North &amp; south</td></tr></table>"
    corpus.write("notes", "mixed/table.html", table)
    rows = [json.dumps({"text": page(40 + n), "day": f"2024-0{n}-07"}) for n in range(1, 4)]
    corpus.write("rows", "rows.jsonl", "\n".join([*rows, "broken"]) + "\n")
    jsonl = {"source": "jsonl", "name": "rows", "uri": str(corpus.folder / "rows"), "date_column": "day"}
    road = Road(corpus, folder / "road", values={"sources": [*corpus.recipe["sources"], jsonl]})
    return road, road.run()


def values_of(road: Road, night: Night) -> dict[str, tuple[str, Any]]:
    """(version, values) of each stage, without what only says where something lies."""
    recipe, store = road.recipe, road.store
    looks = night.looks
    places = [(look.source, file) for look in looks for file in open_files(store, look)]
    (pii,) = [rule for rule in recipe.rules if rule.rule == "pii"]
    documents: list[list[Any]] = []
    features: list[list[Any]] = []
    spans: list[list[Any]] = []
    for source, file in places:
        for key, rows in (
            (f"documents/{file.unit}.parquet", documents),
            (features_key(file.unit), features),
            (spans_key(span_config_digest(pii, span_key(store)), file.unit), spans),
        ):
            part = read_table(store, key).slice(file.first_row, file.num_rows).to_pylist()
            rows.extend([source, file.uri, plain(row)] for row in part)
    signatures = [[*row[:2], row[2].pop("signature")] for row in features]
    tokenizer = token_files.train_tokenizer(store, night.manifest, recipe.tokenizer)
    tokens = token_files.tokenize(store, night.ref.name, night.manifest, tokenizer, InProcessPool())
    ids = b"".join(store.read_bytes(shard.bin_key) for shard in tokens.shards)
    versions = night.manifest.identity.versions
    # Programs beside ours (a text recognition, a converter) are another machine's; they read none of these documents.
    extraction = digest_of(
        [
            {name: v for name, v in extraction_versions(entry).items() if not name.startswith(("program.", "model."))}
            for entry in recipe.sources
        ]
    )[:12]
    ours = {name: v for name, v in versions.items() if name not in ("pyarrow", "parquet_writer", "extract")}
    everything = digest_of({**ours, "extract": extraction})[:12]
    return {
        "extraction": (extraction, sorted(documents, key=str)),
        "features": (feature_version(), sorted(features, key=str)),
        "signatures": (SIGNATURE_VERSION, sorted(signatures)),
        "spans": (f"pii {versions['rule.pii']}", sorted(spans, key=str)),
        "snapshot": (extraction, night.manifest.identity.snapshot_digest),
        "decisions": (everything, [plain(row) for row in road.decisions(night)]),
        "content": (everything, night.ref.content_digest),
        "tokens": (f"{token_files.TOKENIZER_VERSION} {tokenizers.__version__}", [tokenizer.digest, sha256_hex(ids)]),
    }


def plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_golden_documents_are_the_same_bytes(run: tuple[Road, Night]) -> None:
    folder: Path = run[0].corpus.folder
    files = {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    assert digest_of(files)[:12] == INPUT, "the made-up documents changed, so every golden digest does: store them anew"


@pytest.mark.parametrize(
    "stage", ["extraction", "features", "signatures", "spans", "snapshot", "decisions", "content", "tokens"]
)
def test_a_stage_gives_the_bytes_that_its_version_stands_for(run: tuple[Road, Night], stage: str) -> None:
    version, values = values_of(*run)[stage]
    found, stored = (version, digest_of(values)[:12]), GOLDEN[stage]
    if version == stored[0]:
        assert found == stored, f"{stage}: bytes changed: raise the stage's VERSION if you meant it"
    assert found == stored, f"{stage}: its version changed; store the new digest in GOLDEN: {found}"
