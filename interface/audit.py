"""`ingot audit pack`, and which runs used a corpus: answers for an auditor, from the store alone."""

from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any

from ingot import ledger, manifest, model_versions
from ingot.digests import sha256_hex
from ingot.errors import NotFoundError
from ingot.storage import Store
from interface.context import open_settings, open_store
from interface.output import Printer, write_file


def audit(options: Namespace, printer: Printer) -> int:
    """`ingot audit pack`."""
    from interface.audit_pack import audit_pack

    store = open_store(open_settings())
    version = model_versions.resolve(store, options.model)
    path = Path(options.output or f"{version.name}-{version.version}-audit.zip").expanduser()
    data, head = audit_pack(store, version)
    write_file(path, data)
    digest = sha256_hex(data)
    printer.line(f"{path}: {len(data):,} bytes, SHA-256 {digest}")
    printer.line(f"made at ledger head {head}")
    printer.line(f"check it anywhere with Python alone: unzip it, then python3 -I verify_pack.py --head {head}")
    printer.result(
        {"path": str(path), "sha256": digest, "bytes": len(data), "model": version.name, "version": version.version,
         "head": head}
    )  # fmt: skip
    return 0


def runs_of_corpus(store: Store, query: str) -> list[dict[str, Any]]:
    """Training and evaluation runs that read a corpus version (`handbook@12`) or a digest of one.

    From run records and the ledger, so MLflow may be down. A row: run (our key, the tag `ingot.run` in
    MLflow), experiment, name, corpus, digest, model (`mini/3` or None), start_time_ms. Raises
    NotFoundError for a name or digest that no version has.
    """
    wanted = _root_digests(store, query)
    entries = ledger.read(store)
    trained = {e.details["checkpoint_fingerprint"]: e for e in entries if e.verb == "registered"}
    rows: list[dict[str, Any]] = []
    for key in store.list("runs/"):
        record = store.read_record(key)
        for dataset in record.get("datasets", ()):
            if dataset["digest"] in wanted:
                registered = trained.get(record["run_key"])
                rows.append(
                    {"run": record["run_key"], "experiment": record["experiment"], "name": record["name"],
                     "corpus": wanted[dataset["digest"]], "digest": dataset["digest"],
                     "model": registered.subject.removeprefix("model ") if registered else None,
                     "start_time_ms": record.get("start_time_ms")}
                )  # fmt: skip
    return rows + _evaluations(entries, wanted)


def _evaluations(entries: list[ledger.Entry], wanted: dict[str, str]) -> list[dict[str, Any]]:
    """Evaluations that a gate used, on documents held out of the corpus its model was trained on."""
    roots = {e.subject: e.evidence.get("corpus_root_digest", "") for e in entries if e.verb == "registered"}
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        root = roots.get(entry.subject, "")
        if entry.verb == "gated" and root in wanted:
            model = entry.subject.removeprefix("model ")
            run = entry.evidence["evaluation"]
            found[run] = {
                "run": run, "experiment": "evaluation", "name": f"{model} on {wanted[root]}", "corpus": wanted[root],
                "digest": root, "model": model, "start_time_ms": _milliseconds(entry.time),
            }  # fmt: skip
    return list(found.values())


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _root_digests(store: Store, query: str) -> dict[str, str]:
    """Root digest -> name of the versions meant: one by name, or those with this digest (8 digits or more of it)."""
    lowered = query.lower()
    if len(lowered) >= 8 and all(letter in "0123456789abcdef" for letter in lowered):
        found = {}
        for corpus in manifest.corpora(store):
            for number in manifest.versions_of(store, corpus):
                item = manifest.read(store, corpus, number)
                digests = (item.identity.root_digest, item.identity.content_digest, item.identity_digest)
                if any(digest.startswith(lowered) for digest in digests):
                    found[item.identity.root_digest] = f"{corpus}@{number}"
        if found or query not in manifest.corpora(store):
            if not found:
                raise NotFoundError(f"no corpus version has a digest that begins with {query}; see `ingot ledger`")
            return found
    corpus, number = manifest.find(store, query)
    return {manifest.read(store, corpus, number).identity.root_digest: f"{corpus}@{number}"}
