"""`ingot trace | why | verify | ledger | report | schema`: answers from the store alone.

None of them imports Prefect, MLflow or torch: an auditor needs only the store.
"""

import json
import uuid
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingot import adopted, lineage, manifest, model_versions
from ingot import ledger as records
from ingot.errors import IngotError, NotFoundError
from ingot.ledger import Actor
from ingot.model_card import readings
from ingot.overrides import RULE as OVERRIDE_RULE
from ingot.storage import Store
from interface.context import open_settings, open_store
from interface.output import Printer, progress_bars, write_file

_MANY = 20


def trace(options: Namespace, printer: Printer) -> int:
    """`ingot trace model | document`."""
    store = open_store(open_settings())
    if options.kind == "model" and options.query.startswith(adopted.PREFIX):
        from interface.trace_adopted import adopted_page, print_adopted

        answer = lineage.trace_adopted(store, options.query)
        print_adopted(answer, printer)
        written = _write_page(options.html, lambda: adopted_page(answer), printer)
        printer.result({**answer, **written})
        return 0
    if options.kind == "model":
        answer = lineage.trace_model(store, options.query)
        print_model(answer, printer)
        written = _write_page(options.html, lambda: _model_page(store, options.query), printer)
        printer.result({**answer, **written})
        return 0
    ids, files = lineage.find_documents(store, options.query)
    traces = [with_reads(store, lineage.trace_document(store, doc_id)) for doc_id in ids[:_MANY]]
    for row in files:
        printer.line(f"{row['source']}: {row['uri']} is {row['state']}, {_outcome(row)}")
    for found in traces:
        print_document(found, printer)
    if len(ids) > _MANY:
        printer.line(f"... and {len(ids) - _MANY} more documents; ask for one by its id")
    written = _write_page(options.html, lambda: _document_page(options.query, traces, files), printer)
    printer.result({"documents": [found.__dict__ for found in traces], "ids": ids, **written})
    return 0


def _model_page(store: Store, query: str) -> str:
    from ingot.model_card import card
    from interface.trace_page import model_page

    version, entries = model_versions.resolve(store, query), records.read(store)
    return model_page(store, version, card(store, version, entries), entries)


def _document_page(query: str, traces: list[lineage.DocumentTrace], files: list[dict[str, Any]]) -> str:
    from interface.trace_page import document_page

    return document_page(query, traces, files)


def _write_page(place: str | None, page: Callable[[], str], printer: Printer) -> dict[str, str]:
    """Write the page where `--html` says; nothing without it."""
    if not place:
        return {}
    path = Path(place).expanduser()
    write_file(path, page().encode())
    printer.line(f"page written to {path}; open it in any browser, it needs no network")
    return {"html": str(path)}


def _outcome(row: dict[str, Any]) -> str:
    if row["outcome"] == "quarantined":
        return f"quarantined: {row['reason']}"
    return f"{row['num_rows']} documents, first seen {row['first_seen']}"


def print_model(answer: dict[str, Any], printer: Printer) -> None:
    """A model's origin, for people."""
    aliases = f" ({', '.join(answer['aliases'])})" if answer["aliases"] else ""
    printer.line(f"model {answer['model']}/{answer['version']}{aliases}")
    code = answer["code"] or {}
    dirty = ", with uncommitted changes" if code.get("dirty") == "true" else ""
    printer.table(
        [
            ["run", answer["run"]],
            ["checkpoint", answer["checkpoint"]],
            ["recipe", answer["recipe_digest"]],
            ["code", f"{code.get('version')} {code.get('commit', '')[:12]}{dirty}"],
            ["base model", answer["base_model"]],
        ]
    )
    for what, words in adopted.lines(answer["adopted"]) if answer["adopted"] else ():
        printer.line(f"{what}: {words}")
    for corpus in answer["corpora"]:
        printer.line(
            f"trained on {corpus['corpus']}: {corpus['documents']:,} documents, {corpus['tokens']:,} tokens, "
            f"{readings(corpus)}strictest classification: {corpus['classification']}"
        )
    for row in answer["cleaned_against"]:
        printer.line(
            f"cleaned against {row['benchmark']} ({row['sha256'][:16]}): {row['seen']:,} of {row['items']:,} items "
            f"seen in {row['documents']:,} documents, policy {row['policy']}"
        )
    many = len(answer["corpora"]) > 1
    rows = [
        [f"{s['corpus']}: {s['source']}" if many else s["source"], s["documents"], s["kept"], s["tokens"]]
        for s in answer["sources"]
    ]
    printer.table(rows, ["source", "documents", "kept", "tokens"])
    licences = [[item["licence"], item["documents"], item["bytes"], item["tokens"]] for item in answer["licences"]]
    printer.table(licences[:_MANY], ["licence", "documents", "bytes", "tokens"])
    for entry in answer["ledger"]:
        printer.line(
            f"  {entry['time']}  {entry['verb']} by {entry['by']} ({entry['kind']}, {entry['established_by']})"
        )


def with_reads(store: Store, found: lineage.DocumentTrace) -> lineage.DocumentTrace:
    """The trace with how often each model read the document (`read`); None where its checkpoint does not tell."""
    from training.reads import TokenLists, document_reads  # numpy, no torch

    places = [(v["shard"], v["row"]) for v in found.versions if v["outcome"] == "kept" and "shard" in v]
    models, lists = [], TokenLists(store)
    for model in found.models:
        read = None
        if model["corpora"]:
            with suppress(IngotError):  # damaged or older than the record: the other answers stand
                read = document_reads(store, model["checkpoint"], places, lists=lists)
        models.append({**model, "read": read})
    return replace(found, models=models)


def print_document(found: lineage.DocumentTrace, printer: Printer) -> None:
    """A document's fate, for people."""
    printer.line(f"document {found.doc_id}")
    for place in found.occurrences[:_MANY]:
        licence = place["licence"] or "states no licence"
        span = f"[{place['start']}, {place['end']})"
        printer.line(f"  stands in {place['source']}: {place['uri']} {span}, {licence}, {place['state']}")
    for version in found.versions:
        # What rules judged: the source's default where the document states none, else the strictest of its places.
        licence = "" if version["licence"] in (None, "unknown") else f", licence {version['licence']}"
        printer.line(f"  in {version['corpus']}@{version['version']}: {explain(version)}{licence}")
        for verdict in version["verdicts"]:
            if verdict["outcome"] == "edited":
                printer.line(f"    edited by {verdict['rule']}: {len(verdict['spans'])} spans")
            elif verdict["rule"] != version["rule"]:
                printer.line(f"    also {verdict['rule']}: {_reason(verdict)}")
    for name in found.unreadable:
        printer.line(f"  in {name}: not known, what it decided is damaged; `ingot scrub` says what makes it again")
    for model in found.models:
        star = ", the champion" if model["champion"] else ""
        printer.line(f"  model {model['model']}/{model['version']}{star}: {model['role']}{read_words(model)}")


def read_words(model: dict[str, Any]) -> str:
    """How often a model read a document, by corpus; nothing where it did not, or where it is not known."""
    read = model.get("read")
    if not read or not read["corpora"]:
        return ""
    told = "; ".join(f"{times:.2f} times from {corpus}" for corpus, times in read["corpora"].items())
    return f", read {told}"


def explain(version: dict[str, Any]) -> str:
    """One sentence on what happened to a document in a version."""
    if version["outcome"] == "kept" and version["rule"] == OVERRIDE_RULE:
        lifted = [f"{row['rule']} says {_reason(row)}" for row in version["verdicts"] if row["outcome"] == "dropped"]
        although = f" although {'; '.join(lifted)}" if lifted else ""
        return f"kept by {_override(version)}{although}, shard {version['shard'][:16]} row {version['row']}"
    if version["outcome"] == "kept":
        return f"kept, shard {version['shard'][:16]} row {version['row']}"
    if version["outcome"] == "heldout":
        return f"held out for evaluation, shard {version['shard'][:16]} row {version['row']}"
    if version["rule"] == OVERRIDE_RULE:
        return f"dropped by {_override(version)}"
    text = f"dropped by {version['rule']}: {_reason(version)}"
    if version["other_doc_id"]:
        text += f", in favour of {version['other_doc_id']}"
        if version.get("other_uri"):
            text += f" ({version['other_uri']})"
    return text


def _override(version: dict[str, Any]) -> str:
    """Who overrode it, and why."""
    author = (version.get("override") or {}).get("author", "unknown")
    return f"an override of {author} ({version['reason']})"


def _reason(row: dict[str, Any]) -> str:
    if row["score"] is None:
        return str(row["reason"])
    threshold = "" if row["threshold"] is None else f", threshold {row['threshold']:.4g}"
    return f"{row['reason']} ({row['score']:.4g}{threshold})"


def why(options: Namespace, printer: Printer) -> int:
    """`ingot why`: the last decision about a document in the newest version, or in the one named."""
    store = open_store(open_settings())
    ids, files = lineage.find_documents(store, options.query)
    wanted = manifest.find(store, options.corpus) if options.corpus else None
    answers: list[dict[str, Any]] = []
    quarantined = [row for row in files if row["outcome"] == "quarantined"]
    for row in files:
        if row["outcome"] == "quarantined" or row["state"] != "open":
            printer.line(f"{row['uri']} ({row['source']}) is {row['state']}: {_outcome(row)}")
    for doc_id in ids[:_MANY]:
        for version in lineage.latest_decisions(store, doc_id, wanted):
            printer.line(f"{doc_id} in {version['corpus']}@{version['version']}: {explain(version)}")
            answers.append({"doc_id": doc_id, **version})
    if len(ids) > _MANY:
        printer.line(f"... and {len(ids) - _MANY} more documents; ask for one by its id or its place")
    if not answers and not quarantined:
        raise NotFoundError(
            f"no decision about {options.query!r} in {options.corpus or 'any corpus'}; see `ingot trace`"
        )
    told = [{name: row[name] for name in ("source", "uri", "reason")} for row in quarantined]
    printer.result({"answers": answers, "quarantined": told, "ids": ids})
    return 0


def verify(options: Namespace, printer: Printer) -> int:
    """`ingot verify`: exit code 5 and the name of the first thing that is wrong."""
    from ingot import verify as verification

    store = open_store(open_settings())
    with progress_bars(quiet=printer.as_json) as report:
        result = verification.verify(store, witness=options.head, on_progress=report)
    printer.line(
        f"intact: {result.ledger_records} ledger records, {result.corpus_versions} corpus versions, "
        f"{result.objects:,} objects, {result.bytes:,} bytes"
    )
    for note in result.notes:
        printer.line(f"note: {note}")
    printer.result(result.__dict__)
    return 0


def ledger(options: Namespace, printer: Printer) -> int:
    """`ingot ledger [head]`."""
    store = open_store(open_settings())
    entries = records.read(store)
    if options.what == "head":
        sequence, digest = records.head(store)
        printer.line(f"{sequence}:{digest}")
        printer.result({"sequence": sequence, "sha256": digest, "head": f"{sequence}:{digest}"})
        return 0
    rows = [[e.sequence, e.time, e.verb, e.subject, e.actor.id, e.actor.kind] for e in entries]
    printer.table(rows, ["record", "time", "verb", "subject", "by", "kind"])
    printer.result({"records": [entry.__dict__ | {"actor": entry.actor.__dict__} for entry in entries]})
    return 0


def report(options: Namespace, printer: Printer) -> int:
    """`ingot report --with-text`: where the restricted report lies; that it was opened is recorded."""
    if options.cluster:
        from interface.clusters import cluster_report

        return cluster_report(options, printer)
    settings = open_settings()
    store = open_store(settings)
    version = model_versions.resolve(store, options.model)
    gated = [e for e in records.read(store) if e.verb == "gated" and e.subject == version.subject]
    if not gated:
        raise NotFoundError(f"{version.subject} has no evaluation yet; run `ingot evaluate`")
    digest = gated[-1].evidence["evaluation"]
    path = store.local_path(f"reports/{digest}.html")
    records.append(
        store, actor=Actor.current(settings.environ), verb="read_text", subject=version.subject,
        subject_digest=version.evidence["checkpoint"], evidence={"evaluation": digest}, attempt=uuid.uuid4().hex,
    )  # fmt: skip
    printer.line(str(path))
    printer.result({"path": str(path)})
    return 0


def schema(options: Namespace, printer: Printer) -> int:
    """`ingot schema recipe`: always JSON."""
    from ingot.config import recipe_json_schema

    print(json.dumps(recipe_json_schema(), indent=1))
    return 0
