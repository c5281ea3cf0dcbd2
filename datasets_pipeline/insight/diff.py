"""What differs between two corpus versions, and why: from manifests, decisions and acquisition records; reads no text.

Decisions are cut by content, so parts that both versions name hold the same rows and are not opened: a night that
changed little is compared in little time.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.insight.version_tables import (
    Decided,
    counts_by,
    id_keys,
    is_one_of,
    read_decisions,
    rows_of,
)
from ingot.digests import canonical_json, digest_of
from ingot.errors import NotFoundError
from ingot.manifest import Identity, Manifest
from ingot.parquet import read_table
from ingot.recipe_files import flat
from ingot.storage import Store

NEW, NEW_TEXT, WAS_HELD_OUT = "new document", "new text of a page", "was held out before"
GONE, SUPERSEDED, NOW_HELD_OUT = "its place is gone", "superseded by a new text of the page", "is held out now"
SOURCE_LEFT, LEFT_ITS_FILE = "its source left the recipe", "is not in its file any more"
NOT_KNOWN = "not known any more"
_GROUPS = ("source", "language")


@dataclass(frozen=True)
class Diff:
    """What differs; ids and numbers only. `kept` are documents that are trained on."""

    first: str
    second: str
    is_same: bool
    """The two are one version: the same identity."""
    documents: dict[str, list[int]]
    """documents, kept, heldout, dropped, kept_bytes -> [first, second]."""
    came: dict[str, int]
    """Why documents are kept that were not -> how many."""
    went: dict[str, int]
    """Why documents are not kept any more -> how many."""
    changed: dict[str, int]
    """Documents kept in both whose edits differ, and those dropped in both for another reason."""
    rules: dict[str, list[int]]
    """`rule: reason` that owns drops -> [documents in first, in second], where they differ."""
    groups: dict[str, dict[str, dict[str, int]]]
    """source and language -> name -> kept before, came, went, kept after."""
    examples: list[dict[str, Any]]
    """Some documents for each reason: what (came or went), why, doc_id, place, the other document."""
    recipe: dict[str, list[Any]]
    """Recipe values that differ; rules by their id."""
    versions: dict[str, list[Any]]
    """Versions of extractors, features, rules and so on that differ."""
    shards: dict[str, int]
    """shared, only_first, only_second, shared_bytes, new_bytes."""


def diff(
    store: Store, first: tuple[str, Manifest], second: tuple[str, Manifest], *, max_examples: int = 10
) -> Diff:
    """Compare two versions, given by name and manifest; max_examples for each reason."""
    (name_a, found_a), (name_b, found_b) = first, second
    a, b = found_a.identity, found_b.identity
    shared = {part.sha256 for part in a.decisions} & {part.sha256 for part in b.decisions}
    before = read_decisions(store, [part for part in a.decisions if part.sha256 not in shared], spans=True)
    after = read_decisions(store, [part for part in b.decisions if part.sha256 not in shared], spans=True)
    pair = _Pair(before.final, after.final)
    came, went = _why_came(pair), _why_went(store, pair, found_b)
    return Diff(
        first=name_a,
        second=name_b,
        is_same=found_a.identity_digest == found_b.identity_digest,
        documents=_totals(a, b),
        came=_counted(came),
        went=_counted(went),
        changed=_changed(pair, before, after),
        rules=_drops(a, b),
        groups=_by_group(pair, a, b),
        examples=_examples(pair.after, came, "came", max_examples, pair)
        + _examples(pair.before, went, "went", max_examples, pair),
        recipe=_recipe_differences(a, b),
        versions=_differences(dict(a.versions), dict(b.versions)),
        shards=_shards(a, b),
    )


class _Pair:
    """Final rows of both versions, and where each document stands in the other."""

    def __init__(self, before: pa.Table, after: pa.Table) -> None:
        self.before, self.after = before, after
        ids_before, ids_after = id_keys(before["doc_id"]), id_keys(after["doc_id"])
        self.row_before = rows_of(ids_before, ids_after)
        """Of each document of the second version, its row in the first; -1 when it is not there."""
        self.row_after = rows_of(ids_after, ids_before)
        self.kept_before = is_one_of(before["outcome"], ("kept",))
        self.kept_after = is_one_of(after["outcome"], ("kept",))
        self.came = self.kept_after & ~_at(self.kept_before, self.row_before)
        self.went = self.kept_before & ~_at(self.kept_after, self.row_after)

    def places_only(self, *, in_second: bool) -> dict[tuple[str, str], int]:
        """(source, uri) -> row of documents that only one of the versions knows; the first one at a place."""
        table, rows = (self.after, self.row_before) if in_second else (self.before, self.row_after)
        alone = np.flatnonzero(rows < 0)
        part = table.select(["source", "uri"]).take(pa.array(alone))
        places: dict[tuple[str, str], int] = {}
        for row, source, uri in zip(alone.tolist(), part["source"].to_pylist(), part["uri"].to_pylist(), strict=True):
            places.setdefault((source, uri), row)
        return places


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """bool [n]: the value at each row, False where the row is -1."""
    if not len(values):
        return np.zeros(len(rows), bool)
    return values[np.maximum(rows, 0)] & (rows >= 0)


def _why_came(pair: _Pair) -> np.ndarray:
    """object [documents of the second]: why each is kept that was not; empty elsewhere."""
    why = np.full(len(pair.after), "", dtype=object)
    known = pair.came & (pair.row_before >= 0)
    why[known] = _fates(pair.before, pair.row_before[known], WAS_HELD_OUT, "was dropped by")
    new = np.flatnonzero(pair.came & (pair.row_before < 0))
    earlier = pair.places_only(in_second=False) if len(new) else {}
    places = pair.after.select(["source", "uri"]).take(pa.array(new))
    for row, source, uri in zip(new.tolist(), places["source"].to_pylist(), places["uri"].to_pylist(), strict=True):
        why[row] = NEW_TEXT if (source, uri) in earlier else NEW
    return why


def _why_went(store: Store, pair: _Pair, second: Manifest) -> np.ndarray:
    """object [documents of the first]: why each is not kept any more; empty elsewhere."""
    why = np.full(len(pair.before), "", dtype=object)
    known = pair.went & (pair.row_after >= 0)
    why[known] = _fates(pair.after, pair.row_after[known], NOW_HELD_OUT, "dropped by")
    absent = np.flatnonzero(pair.went & (pair.row_after < 0))
    later = pair.places_only(in_second=True) if len(absent) else {}
    places = pair.before.select(["source", "uri"]).take(pa.array(absent))
    files = _Files(store, second, places)
    for row, source, uri in zip(absent.tolist(), places["source"].to_pylist(), places["uri"].to_pylist(), strict=True):
        why[row] = SUPERSEDED if (source, uri) in later else files.say(source, uri)
    return why


def _fates(table: pa.Table, rows: np.ndarray, held_out: str, dropped_by: str) -> np.ndarray:
    part = table.select(["outcome", "rule", "reason"]).take(pa.array(rows))
    told = [
        held_out if outcome == "heldout" else f"{dropped_by} {rule}: {reason}"
        for outcome, rule, reason in zip(*(part[name].to_pylist() for name in part.column_names), strict=True)
    ]
    return np.array(told, dtype=object)


class _Files:
    """What the second version's looks at the sources say of files whose documents are gone."""

    def __init__(self, store: Store, second: Manifest, places: pa.Table) -> None:
        self._sources = second.provenance.get("sources", {})
        self._asked = {str(source["name"]) for source in second.identity.recipe.get("sources", [])}
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        wanted: dict[str, set[str]] = {}
        for source, uri in zip(places["source"].to_pylist(), places["uri"].to_pylist(), strict=True):
            wanted.setdefault(source, set()).update(_files_of(uri))
        for source, uris in wanted.items():
            if source not in self._sources:
                continue
            try:
                table = read_table(
                    store, self._sources[source]["record"], columns=["uri", "state", "outcome", "reason"]
                )
            except NotFoundError:  # an old look that was collected: the documents are gone all the same
                continue
            table = table.filter(pc.is_in(table["uri"], pa.array(sorted(uris), pa.string())))
            for row in table.to_pylist():
                known = self._rows.get((source, row["uri"]))
                if known is None or row["state"] == "open":
                    self._rows[source, row["uri"]] = row

    def say(self, source: str, uri: str) -> str:
        """Why a document of this place is not in the version."""
        if source not in self._asked:
            return SOURCE_LEFT
        row = next((self._rows[source, file] for file in _files_of(uri) if (source, file) in self._rows), None)
        if row is None:
            return GONE if source in self._sources else NOT_KNOWN
        if row["outcome"] == "quarantined" and row["state"] == "open":
            return f"its file cannot be read: {row['reason']}"
        return LEFT_ITS_FILE if row["state"] == "open" else GONE


def _files_of(uri: str) -> list[str]:
    """The files that a place may lie in: itself, what it is a member or a row of."""
    whole = uri.split("!/", 1)[0]
    return list(dict.fromkeys([uri, whole, whole.rpartition("/")[0] or whole]))


def _counted(why: np.ndarray) -> dict[str, int]:
    """Documents by why, the most frequent first."""
    counts = Counter(why[why != ""].tolist())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _changed(pair: _Pair, before: Decided, after: Decided) -> dict[str, int]:
    both = np.flatnonzero((pair.row_before >= 0) & pair.kept_after)
    both = both[pair.kept_before[pair.row_before[both]]]
    ids = set(pair.after["doc_id"].take(pa.array(both)).to_pylist())
    old, new = _edits(before.verdicts, ids), _edits(after.verdicts, ids)
    dropped_after = is_one_of(pair.after["outcome"], ("dropped",))
    still = np.flatnonzero(dropped_after & _at(is_one_of(pair.before["outcome"], ("dropped",)), pair.row_before))
    now = pair.after.select(["rule", "reason"]).take(pa.array(still))
    was = pair.before.select(["rule", "reason"]).take(pa.array(pair.row_before[still]))
    same = pc.and_(pc.equal(now["rule"], was["rule"]), pc.equal(now["reason"], was["reason"]))
    return {
        "edits": sum(old.get(doc_id) != new.get(doc_id) for doc_id in old.keys() | new.keys()),
        "reason": len(still) - int(pc.sum(same).as_py() or 0),
    }


def _edits(verdicts: pa.Table, ids: set[bytes]) -> dict[bytes, list[str]]:
    """Digests of the edits of these documents, in the order of the rules."""
    edited = verdicts.filter(pc.equal(verdicts["outcome"], "edited")).select(["doc_id", "rule", "spans"])
    found: dict[bytes, list[str]] = {}
    for row in edited.to_pylist():
        if row["doc_id"] in ids:
            found.setdefault(row["doc_id"], []).append(digest_of([row["rule"], row["spans"]]))
    return found


def _totals(a: Identity, b: Identity) -> dict[str, list[int]]:
    totals = {name: [v.accounting.get(name, 0) for v in (a, b)] for name in ("documents", "kept", "heldout", "dropped")}
    totals["kept_bytes"] = [sum(row["kept_bytes"] for row in v.statistics.get("source", {}).values()) for v in (a, b)]
    return totals


def _drops(a: Identity, b: Identity) -> dict[str, list[int]]:
    counts = [
        {f"{rule}: {reason}": num for rule, reason, num in v.statistics.get("waterfall", [])} for v in (a, b)
    ]
    names = list(dict.fromkeys([*counts[1], *counts[0]]))
    return {
        name: [counts[0].get(name, 0), counts[1].get(name, 0)]
        for name in names
        if counts[0].get(name, 0) != counts[1].get(name, 0)
    }


def _by_group(pair: _Pair, a: Identity, b: Identity) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for group in _GROUPS:
        came = counts_by(pair.after[group], came=pair.came)
        went = counts_by(pair.before[group], went=pair.went)
        was, now = a.statistics.get(group, {}), b.statistics.get(group, {})
        found[group] = {
            name: {
                "before": was.get(name, {}).get("kept", 0),
                "came": came.get(name, {}).get("came", 0),
                "went": went.get(name, {}).get("went", 0),
                "after": now.get(name, {}).get("kept", 0),
            }
            for name in sorted({*was, *now})
        }
    return found


def _examples(table: pa.Table, why: np.ndarray, what: str, most: int, pair: _Pair) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    other_table, other_rows = (
        (pair.before, pair.places_only(in_second=False)) if what == "came" else
        (pair.after, pair.places_only(in_second=True))
    )  # fmt: skip
    for reason in _counted(why):
        for row in np.flatnonzero(why == reason)[:most].tolist():
            line = table.slice(row, 1).to_pylist()[0]
            other = None
            if reason in (NEW_TEXT, SUPERSEDED):
                other = other_table["doc_id"][other_rows[line["source"], line["uri"]]].as_py().hex()
            elif what == "went" and pair.row_after[row] >= 0:
                id_ = pair.after["other_doc_id"][int(pair.row_after[row])].as_py()
                other = id_.hex() if id_ else None
            found.append(
                {
                    "what": what, "why": reason, "doc_id": line["doc_id"].hex(), "source": line["source"],
                    "uri": line["uri"], "language": line["language"], "bytes": line["num_bytes"], "other_doc_id": other,
                }
            )  # fmt: skip
    return found


def _recipe_differences(a: Identity, b: Identity) -> dict[str, list[Any]]:
    """Values that differ by dotted path; a rule or source that only one of them has is one value."""
    first, second = _recipe_values(a), _recipe_values(b)
    for section, key, kind in (("rules", "id", "rule"), ("sources", "name", "source")):
        old, new = ({str(entry[key]): entry for entry in v.recipe.get(section, [])} for v in (a, b))
        for values, entries, others in ((first, old, new), (second, new, old)):
            for name in entries.keys() - others.keys():
                for path in [path for path in values if path.startswith(f"{section}.{name}.")]:
                    del values[path]
                values[f"{section}.{name}"] = entries[name].get(kind)
    return dict(sorted(_differences(first, second).items()))


def _recipe_values(identity: Identity) -> dict[str, Any]:
    """Recipe values by dotted path; entries of rules and sources by id and name, with the order of the rules."""
    values = dict(identity.recipe)
    rules = values.pop("rules", [])
    sources = values.pop("sources", [])
    found = flat(values)
    found["order of the rules"] = [str(rule["id"]) for rule in rules]
    for rule in rules:
        found |= flat({key: value for key, value in rule.items() if key != "id"}, f"rules.{rule['id']}")
    for source in sources:
        found |= flat({key: value for key, value in source.items() if key != "name"}, f"sources.{source['name']}")
    return found


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys([*first, *second])
    return {
        name: [first.get(name), second.get(name)]
        for name in names
        if canonical_json(first.get(name)) != canonical_json(second.get(name))
    }


def _shards(a: Identity, b: Identity) -> dict[str, int]:
    sizes = {shard.sha256: shard.bytes for shard in (*a.shards, *b.shards)}
    old, new = {shard.sha256 for shard in a.shards}, {shard.sha256 for shard in b.shards}
    return {
        "shared": len(old & new),
        "only_first": len(old - new),
        "only_second": len(new - old),
        "shared_bytes": sum(sizes[sha] for sha in old & new),
        "new_bytes": sum(sizes[sha] for sha in new - old),
    }

