"""An audit pack: a model version's evidence in one zip file that can be checked without Ingot.

Holds the card, the manifests, counts of decisions, evaluation and verdict, the whole ledger, and a
verifier of one Python file. Records go in as the store holds them, byte for byte. No document text, no
weights. The same store and ledger give the same bytes.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot import ledger, manifest, verify_pack
from ingot.digests import canonical_json, sha256_hex
from ingot.errors import IntegrityError
from ingot.ledger import Entry
from ingot.manifest import Identity
from ingot.model_card import card as card_of
from ingot.model_versions import ModelVersion
from ingot.parquet import read_table
from ingot.storage import Store
from interface.trace_page import model_page

KIND = "ingot audit pack 1"
_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip file can say: the same evidence gives the same file."""
_README = """\
Audit pack of model {subject}, made at ledger head {head}

  python3 -I verify_pack.py     checks this folder; or give it the zip file. Needs Python 3.9, nothing else.
  python3 -I verify_pack.py --head SEQUENCE:SHA256     with a ledger head that you keep yourself
  python3 -I verify_pack.py --allowed-signers FILE     with your own list of who may approve; needs ssh-keygen

With -I Python imports nothing from this folder.

A verifier that came with the evidence is only as good as its sender. Take it from a copy of Ingot that
you trust (ingot/verify_pack.py), or read it: it is one file.

  card.html, card.json        where the model comes from, what was measured, who decided
  checkpoint/manifest.json    size and SHA-256 of every file of the model
  adopted/manifest.json       the same of the model from outside that it began with; not there without one
  tokens.json                 the token files it was trained on, made from the shards of the corpus
  tokens/                     the same of every corpus of a mixture; not there for one corpus
  corpora/                    what the corpus versions consist of: shards, rules, counts
  decisions.json              how many documents were kept, held out and dropped, by rule, reason and source
  evaluations/                the measurement and the gate's verdict, with every number it rests on
  ledger.jsonl                every ledger record up to the head, chained by SHA-256
  pack.json                   size and SHA-256 of each of these files

No document text and no weights are in here. `ingot trace document ID` answers for a single document.
"""


def audit_pack(store: Store, version: ModelVersion) -> tuple[bytes, str]:
    """(zip file, ledger head it was made at); raises IntegrityError when the store's records are damaged."""
    entries = ledger.read(store)
    files = dict(_files(store, version, entries))
    sequence, head = entries[-1].sequence, entries[-1].sha256
    card = json.loads(files["card.json"])
    pack = {
        "kind": KIND,
        "model": version.name,
        "version": version.version,
        "ledger_head": f"{sequence}:{head}",
        "verdict": card["verdict"]["digest"] if card["verdict"] else None,
        "corpora": [f"{corpus['corpus']}@{corpus['version']}" for corpus in card["corpora"]],
    }
    files["README.txt"] = _README.format(subject=f"{version.name}/{version.version}", head=pack["ledger_head"]).encode()
    files["verify_pack.py"] = Path(verify_pack.__file__).read_bytes()
    named = {name: {"bytes": len(data), "sha256": sha256_hex(data)} for name, data in sorted(files.items())}
    files["pack.json"] = _json({**pack, "files": named})
    return _zip(files), str(pack["ledger_head"])


def _files(store: Store, version: ModelVersion, entries: list[Entry]) -> Iterator[tuple[str, bytes]]:
    card = card_of(store, version, entries)
    yield "card.json", _json(card)
    yield "card.html", model_page(store, version, card, entries).encode()
    yield "checkpoint/manifest.json", store.read_bytes(f"{version.checkpoint_key}/manifest.json")
    if "adopted" in card:
        key = card["adopted"]["checkpoint"]
        yield "adopted/manifest.json", store.read_bytes(f"{key}/manifest.json")
    yield "tokens.json", store.read_bytes(version.details["tokens_key"])
    for part in version.details.get("mixture", ()):
        yield f"tokens/{part['corpus']}.json", store.read_bytes(part["tokens_key"])
    summary = {}
    for corpus in card["corpora"]:
        name = f"{corpus['corpus']}@{corpus['version']}"
        yield f"corpora/{name}.json", store.read_bytes(manifest.key_of(corpus["corpus"], corpus["version"]))
        summary[name] = decision_summary(store, manifest.read(store, corpus["corpus"], corpus["version"]).identity)
    yield "decisions.json", _json(summary)
    if card["verdict"]:
        verdict = f"evaluations/{card['verdict']['digest']}.json"
        yield verdict, store.read_bytes(verdict)
        record = store.read_record(verdict)
        for measured in (record.get("evaluation"), record.get("champion_evaluation")):
            if measured:
                yield f"evaluations/{measured}.json", store.read_bytes(f"evaluations/{measured}.json")
    yield "ledger.jsonl", b"".join(store.read_bytes(ledger.key_of(e.sequence)) + b"\n" for e in entries)


def decision_summary(store: Store, identity: Identity) -> dict[str, list[dict[str, Any]]]:
    """How many documents were decided how: final decisions by source, rule and reason, and all verdicts by rule."""
    final: Counter[tuple[str, str, str | None, str | None]] = Counter()
    verdicts: Counter[tuple[str | None, str | None]] = Counter()
    columns = ["verdict_order", "outcome", "source", "rule", "reason"]
    for part in identity.decisions:
        table = read_table(store, f"decisions/{part.sha256}.parquet", columns=columns)
        if len(table) != part.rows:
            raise IntegrityError(f"decisions/{part.sha256}.parquet has {len(table)} rows, recorded are {part.rows}")
        for row in zip(*(table[name].to_pylist() for name in columns), strict=True):
            order, outcome, source, rule, reason = row
            if order == 0:
                final[source, outcome, rule, reason] += 1
            else:
                verdicts[rule, reason] += 1
    return {
        "final": [
            {"source": source, "outcome": outcome, "rule": rule, "reason": reason, "documents": number}
            for (source, outcome, rule, reason), number in sorted(final.items(), key=lambda item: _order(item[0]))
        ],
        "also": [
            {"rule": rule, "reason": reason, "documents": number}
            for (rule, reason), number in sorted(verdicts.items(), key=lambda item: _order(item[0]))
        ],
    }


def _order(names: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple(name or "" for name in names)


def _json(value: Any) -> bytes:
    canonical_json(value)  # refuses what has no one spelling
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(files.items()):
            item = zipfile.ZipInfo(name, _TIME)
            item.compress_type = zipfile.ZIP_DEFLATED
            item.external_attr = 0o644 << 16
            item.create_system = 3  # Unix, whatever packs it
            archive.writestr(item, data, compresslevel=6)
    return out.getvalue()
