"""Model versions as the ledger tells them: our numbers, their evidence, who moved which alias.

MLflow shows the same under its own ids and can be rebuilt from here (CONTRACTS 14). `candidate` is the
newest registered version; `champion` is moved only by a person's `promoted` or `rolled_back` record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingot import ledger
from ingot.errors import BusyError, NotFoundError
from ingot.ledger import Actor, Entry, LedgerMoved
from ingot.storage import Store

ALIASES = ("candidate", "champion")
_MAX_RACES = 100


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a model; `details` are what the training task recorded."""

    name: str
    version: int
    checkpoint_fingerprint: str
    checkpoint_key: str
    evidence: dict[str, str]
    details: dict[str, Any]
    registered: Entry

    @property
    def subject(self) -> str:
        """How the ledger names it."""
        return subject_of(self.name, self.version)

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """Every corpus version that the model and what it started from were trained on; the recipe's own first.

        Rows of corpus, root_digest, identity_digest, num_tokens, tokens (counts by group), tokens_read and epochs;
        the last two are None where they were not recorded.
        """
        return list(self.details.get("corpora") or ()) or [
            {
                "corpus": self.details.get("corpus"),
                "root_digest": self.evidence.get("corpus_root_digest", ""),
                "identity_digest": self.evidence.get("corpus_identity", ""),
                "num_tokens": self.details.get("num_tokens"),
                "tokens": self.details.get("tokens", {}),
                "tokens_read": None,
                "epochs": None,
            }
        ]

    @property
    def corpora_words(self) -> str:
        """The names of all of them: `handbook@5 + old_handbook@3`."""
        return " + ".join(str(row["corpus"]) for row in self.corpora)

    @property
    def base_model(self) -> str:
        """What its first stage started from, in words."""
        start = str(self.details.get("start") or "")
        if start.startswith("adopted/"):
            return f"{start}, from outside"
        behind = ", which began with a model from outside" if self.details.get("adopted_base") else ""
        return f"{start}, trained here too{behind}" if start else "none: trained from scratch"

    def tokens_of(self, group: str) -> dict[str, int]:
        """Tokens of all its corpora by a group's values: source, licence, language ..."""
        counts: dict[str, int] = {}
        for row in self.corpora:
            for value, tokens in row["tokens"].get(group, {}).items():
                counts[value] = counts.get(value, 0) + tokens
        return counts


def subject_of(name: str, version: int) -> str:
    """`model <name>/<version>`."""
    return f"model {name}/{version}"


def register(
    store: Store,
    name: str,
    *,
    checkpoint_fingerprint: str,
    checkpoint_key: str,
    checkpoint_digest: str,
    evidence: Mapping[str, str],
    details: Mapping[str, Any],
    actor: Actor,
) -> ModelVersion:
    """Give a checkpoint the next version number of a model; the same checkpoint keeps its number."""
    for _ in range(_MAX_RACES):
        entries = ledger.read(store)
        versions = versions_of(store, name, entries)
        same = [known for known in versions if known.evidence.get("checkpoint") == checkpoint_digest]
        if same:
            return same[0]
        version = len(versions) + 1
        given = {
            "model": name,
            "version": version,
            "checkpoint_fingerprint": checkpoint_fingerprint,
            "checkpoint_key": checkpoint_key,
        }
        try:
            ledger.append(
                store,
                actor=actor,
                verb="registered",
                subject=subject_of(name, version),
                subject_digest=checkpoint_digest,
                evidence={"checkpoint": checkpoint_digest, **evidence},
                attempt=checkpoint_fingerprint,
                details={**details, **given},
                after=len(entries),
            )
        except LedgerMoved:
            continue  # another version may have taken the number
    raise BusyError(f"model {name}: the ledger is busy; run again to register {checkpoint_key}")


def versions_of(store: Store, name: str, entries: Sequence[Entry] | None = None) -> list[ModelVersion]:
    """Registered versions of a model, ascending."""
    entries = ledger.read(store) if entries is None else entries
    found = [entry for entry in entries if entry.verb == "registered" and entry.details.get("model") == name]
    return [
        ModelVersion(
            name=name,
            version=int(entry.details["version"]),
            checkpoint_fingerprint=entry.details["checkpoint_fingerprint"],
            checkpoint_key=entry.details["checkpoint_key"],
            evidence=entry.evidence,
            details=entry.details,
            registered=entry,
        )
        for entry in found
    ]


def names(entries: Sequence[Entry]) -> list[str]:
    """Names of all registered models."""
    return sorted({entry.details["model"] for entry in entries if entry.verb == "registered"})


def last_move(entries: Sequence[Entry], name: str) -> int:
    """Sequence of the record that moved the champion last; 0 before the first promotion."""
    moves = [e.sequence for e in entries if e.verb in ("promoted", "rolled_back") and e.details.get("model") == name]
    return moves[-1] if moves else 0


def champion_version(entries: Sequence[Entry], name: str) -> int | None:
    """The version the champion alias points to; None before the first promotion."""
    moves = [e for e in entries if e.verb in ("promoted", "rolled_back") and e.details.get("model") == name]
    return int(moves[-1].details["version"]) if moves else None


def aliases_of(store: Store, version: ModelVersion, entries: Sequence[Entry]) -> list[str]:
    """The aliases that point to a version."""
    newest = versions_of(store, version.name, entries)[-1].version
    pointing = zip(ALIASES, (newest, champion_version(entries, version.name)), strict=True)
    return [alias for alias, number in pointing if number == version.version]


def _adopted_hint(entries: Sequence[Entry], query: str) -> str:
    """What to do with the name of a model from outside, which has no versions."""
    subjects = {entry.subject for entry in entries if entry.verb == "adopted"}
    found = next((s for s in (query, f"adopted/{query.partition('@')[0].partition('/')[0]}") if s in subjects), None)
    if found is None:
        return ""
    return (
        f". {found} came from outside and has no versions: `ingot trace model {found}` tells of it, and a stage with "
        f"`start: {found}` makes a model of it"
    )


def resolve(store: Store, query: str) -> ModelVersion:
    """`mini` (newest), `mini@champion`, `mini@candidate` or `mini/3`; NotFoundError with what there is."""
    entries = ledger.read(store)
    name, separator, selector = query.partition("@") if "@" in query else query.partition("/")
    versions = versions_of(store, name, entries)
    if not versions:
        known = ", ".join(names(entries)) or "none yet; run `ingot build`"
        hint = _adopted_hint(entries, query)
        raise NotFoundError(f"model {name!r} does not exist in {store.root}; known: {known}{hint}")
    if not separator or selector in ("candidate", "latest"):
        return versions[-1]
    wanted = champion_version(entries, name) if selector == "champion" else _number(selector)
    if selector == "champion" and wanted is None:
        raise NotFoundError(f"model {name} has no champion yet; run `ingot promote {name}/{versions[-1].version}`")
    found = next((version for version in versions if version.version == wanted), None)
    if found is None:
        known = f"versions 1 to {len(versions)}, {' and '.join(ALIASES)}"
        raise NotFoundError(f"{query} does not exist; {name} has {known}")
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
