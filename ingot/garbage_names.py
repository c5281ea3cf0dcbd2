"""Which objects of a store its records name: the half of `ingot gc` that reads."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingot import ledger, manifest
from ingot.parquet import read_table
from ingot.storage import Store

_AREAS = (
    "shards", "decisions", "plans", "tokens", "tokenizers", "checkpoints", "acquisition", "documents", "features",
    "spans",
)  # fmt: skip
_OF_UNITS = ("features", "spans")
_DAMAGED, _MANIFEST = "damaged.json", "manifest.json"


@dataclass
class Names:
    """What is named: single keys, and folders with everything in them."""

    keys: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    """Units of documents that stay, and with them what was computed from them."""

    def knows(self, key: str) -> bool:
        """Whether an object is of an area where what nothing names is garbage."""
        return key.split("/", 1)[0] in _AREAS

    def holds(self, key: str) -> bool:
        """Whether an object of such an area is named."""
        folder, _, name = key.rpartition("/")
        if key in self.keys or folder in self.folders:
            return True
        return key.split("/", 1)[0] in _OF_UNITS and name.split(".", 1)[0] in self.units


def read_names(store: Store, old: Mapping[str, bool]) -> Names:
    """Read every record; old says of each listed key whether it is old enough to be taken."""
    names = Names()
    found = _Published(store, old)
    names.keys |= found.keys
    for key in _keys(old, "plans"):
        record = store.read_record(key)
        decisions = _decisions(record)
        # What was decided of a published version is used by the next night; anything else by a run at work only.
        if decisions in found.decisions or not old[key]:
            names.keys |= {key, *_plan(record), *decisions}
    entries = ledger.read(store)
    registered = [entry for entry in entries if entry.verb in ("registered", "adopted")]
    tokens_in_use = {entry.details.get("tokens_key") for entry in registered}
    tokens_in_use |= {part["tokens_key"] for entry in registered for part in entry.details.get("mixture", ())}
    for key in _keys(old, "tokens"):
        root = key.rsplit("/", 1)[1].split(".", 1)[0]
        if root in found.roots or key in tokens_in_use or not old[key]:
            record = store.read_record(key)
            names.keys.add(key)
            names.keys |= {shard[f"{kind}_key"] for shard in record["shards"] for kind in ("bin", "idx")}
            names.folders.add(record["tokenizer_key"])
    for key in _keys(old, "tokenizers"):
        if not key.endswith(f"/{_MANIFEST}"):
            continue
        record = store.read_record(key)
        used = record["digest"] in {entry.evidence.get("tokenizer") for entry in registered}
        if used or record["corpus"] in found.roots or not old[key]:
            names.folders.add(key.rsplit("/", 1)[0])
    _name_checkpoints(store, names, old, {entry.details["checkpoint_key"] for entry in registered})
    _name_looks(store, names, old, found.looks)
    # A unit that is not old may be named by the look that is about to be recorded.
    young = (key for key in old if key.startswith("documents/") and not old[key])
    names.units |= {_stem(key) for key in young}
    names.keys |= {f"documents/{unit}.parquet" for unit in names.units}
    return names


class _Published:
    """What the manifests name, those that were held back among them."""

    def __init__(self, store: Store, old: Mapping[str, bool]) -> None:
        self.keys: set[str] = set()
        self.decisions: set[tuple[str, ...]] = set()
        self.roots: set[str] = set()
        self.looks: set[str] = set()
        """Acquisition records that versions were made from."""
        for corpus in manifest.corpora(store):
            for number in manifest.versions_of(store, corpus):
                read = manifest.read(store, corpus, number)
                self._add(read.identity.model_dump(mode="json"), read.provenance)
        for key in _keys(old, "held"):
            record = store.read_record(key)
            self._add(record["identity"], record["provenance"])

    def _add(self, identity: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        self.decisions.add(_decisions(identity))
        self.roots.add(identity["root_digest"])
        self.keys |= {f"shards/{shard['sha256']}.parquet" for shard in identity["shards"]}
        self.keys |= set(_decisions(identity))
        self.looks |= {source["record"] for source in provenance.get("sources", {}).values()}


def _name_checkpoints(store: Store, names: Names, old: Mapping[str, bool], registered: set[str]) -> None:
    names.folders |= registered
    for key in _keys(old, "checkpoints"):
        folder, _, name = key.rpartition("/")
        if name == _DAMAGED:
            names.folders.add(folder)  # kept for whoever looks into it
        elif name == _MANIFEST:
            names.keys.add(key)
            names.keys |= {f"{folder}/{file['name']}" for file in store.read_json(key)["files"]}


def _name_looks(store: Store, names: Names, old: Mapping[str, bool], published: set[str]) -> None:
    """The newest look at each source, and those that versions were made from."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for key in sorted(_keys(old, "acquisition")):
        by_source[key.rsplit("/", 1)[0]].append(key)
    tables = {key for key in published if key in old}
    for folder, pointers in by_source.items():
        for key in pointers:
            table = f"{folder}/{store.read_record(key)['record']}.parquet"
            if key == pointers[-1] or table in published or not old[key]:
                names.keys.add(key)
                tables.add(table)
    names.keys |= tables
    for table in sorted(tables):
        units = read_table(store, table, columns=["unit"])["unit"].to_pylist()
        names.units |= {unit for unit in units if unit is not None}


def _keys(old: Mapping[str, bool], area: str) -> Iterator[str]:
    """The records of an area."""
    return (key for key in old if key.startswith(f"{area}/") and key.endswith(".json"))


def _decisions(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"decisions/{part['sha256']}.parquet" for part in record["decisions"])


def _plan(record: Mapping[str, Any]) -> tuple[str, ...]:
    # One object in the records of earlier versions.
    plan = record["plan"]
    return tuple(part["key"] for part in ([plan] if isinstance(plan, dict) else plan))


def _stem(key: str) -> str:
    return key.rsplit("/", 1)[1].split(".", 1)[0]
