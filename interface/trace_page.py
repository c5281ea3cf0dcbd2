"""Where a model or a document comes from, as one page that needs no network: pictures, tables, no document text.

Made from the store alone. The model's page is also the card of an audit pack.
"""

from typing import Any

from datasets_pipeline.card import waterfall
from ingot import adopted, manifest, model_versions
from ingot.cleaned import COLUMNS as CLEANED_COLUMNS
from ingot.cleaned import cleaned_rows
from ingot.ledger import Entry
from ingot.lineage import DocumentTrace
from ingot.manifest import Manifest
from ingot.model_card import code_words, interval, minute, moves, share_rows, standing
from ingot.model_versions import ModelVersion
from ingot.pictures import WIDE, Box, Markup, html_page, lineage_svg, number, table_html, waterfall_svg
from ingot.storage import Store
from interface.answers import explain, read_words

_MANY = 40


def model_page(store: Store, version: ModelVersion, card: dict[str, Any], entries: list[Entry]) -> str:
    """A model version from its sources to the champion, with everything its card holds."""
    found = {
        f"{c['corpus']}@{c['version']}": manifest.read(store, c["corpus"], c["version"]) for c in card["corpora"]
    }
    name = f"{card['model']}/{card['version']}"
    aliases = model_versions.aliases_of(store, version, entries)
    sections: list[tuple[str, Any]] = [
        ("In short", [*_verdict_words(card), table_html(["", ""], _facts(card, aliases))]),
        *_from_outside(card),
        ("From the sources to the model", _model_lineage(version, card)),
        ("Gate", _gate(card)),
        ("Decided by", moves(card) or "Nobody has approved or promoted it."),
        ("Corpora", _corpora(card)),
        ("Sources", _shares("source", card["sources"])),
        *_cleaned(card),
        ("Licences", _shares("licence", card["licences"])),
        *((f"Why documents of {corpus} were dropped", _dropped(corpus, item)) for corpus, item in found.items()),
        ("Ledger", _ledger(card)),
        ("Digests", table_html(["of", "SHA-256"], [[what, digest] for what, digest in card["digests"].items()])),
    ]
    return html_page(f"Where model {name} comes from", sections, wide=True)


def _verdict_words(card: dict[str, Any]) -> list[str]:
    verdict = card["verdict"]
    return [standing(card), f"Gate: {verdict['verdict']}. {verdict['reason']}" if verdict else "Not evaluated yet."]


def _facts(card: dict[str, Any], aliases: list[str]) -> list[list[object]]:
    standing_at = f" ({', '.join(aliases)})" if aliases else ""
    facts = [
        ["model", f"{card['model']}/{card['version']}{standing_at}"],
        ["registered", minute(card["registered"])],
        ["asked for by", card["requested_by"] or "not recorded"],
        ["parameters", number(card["parameters"])],
        ["tokens seen in training", number(card["tokens_seen"])],
        ["base model", card["base_model"]],
        ["recipe", f"{card['recipe']['name']} {card['recipe']['digest']}"],
        ["code", code_words(card["code"])],
    ]
    return [list(fact) for fact in facts]


def _from_outside(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """A section for a model that began with an adopted one."""
    found = card.get("adopted")
    return [("From outside", table_html(["", ""], [list(line) for line in adopted.lines(found)]))] if found else []


def _model_lineage(version: ModelVersion, card: dict[str, Any]) -> Markup:
    """Sources, corpus, tokens, checkpoint, model, verdict, champion, from left to right."""
    digests, verdict = card["digests"], card["verdict"]
    sources = [
        Box(f"source {s['name']}", s["name"], (f"{s['documents']:,} documents", f"{number(s['tokens'])} tokens"))
        for s in card["sources"]
    ]
    corpora = [
        Box(f"corpus {i}", f"{c['corpus']}@{c['version']}", (f"{c['documents']:,} documents", c["root_digest"][:12]))
        for i, c in enumerate(card["corpora"])
    ]
    tokens = sum(c["tokens"] or 0 for c in card["corpora"])
    step = int(version.checkpoint_key.rsplit("/", 1)[1])
    layers = [
        sources,
        corpora,
        [Box("tokens", f"{tokens:,} tokens", ("tokenizer", (digests["tokenizer"] or "")[:12]))],
        [Box("checkpoint", f"step {step:,}", ("checkpoint", digests["checkpoint"][:12]))],
        [Box("model", f"{card['model']}/{card['version']}", (f"{number(card['parameters'])} weights",
                                                            f"record {version.registered.sequence}"))],
    ]  # fmt: skip
    edges = [
        (f"source {name}", f"corpus {i}")
        for i, corpus in enumerate(card["corpora"])
        for name in corpus["sources"]
        if any(source.key == f"source {name}" for source in sources)
    ]
    edges += [*((corpus.key, "tokens") for corpus in corpora), ("tokens", "checkpoint"), ("checkpoint", "model")]
    if (base := card.get("adopted")) is not None:
        layers[2].append(Box("adopted", base["name"], (f"licence {base['licence']}", "its data: not known to us")))
        edges.append(("adopted", "checkpoint"))
    if verdict:
        bits = f"{number(verdict['bits_per_byte'])} bits/B"
        layers.append([Box("verdict", f"gate: {verdict['verdict']}", (bits, f"record {verdict['ledger']}"))])
        edges.append(("model", "verdict"))
    last = next((m for m in reversed(card["moves"]) if m["verb"] in ("promoted", "rolled_back")), None)
    if last:
        title = "champion" if last["this_version"] else "was champion"
        layers.append([Box("champion", title, (f"by {last['by']}", f"record {last['ledger']}"))])
        edges.append(("verdict" if verdict else "model", "champion"))
    return lineage_svg(layers, edges, title=f"Lineage of {card['model']}/{card['version']}", width=WIDE)


def _gate(card: dict[str, Any]) -> list[str]:
    verdict = card["verdict"]
    if verdict is None:
        return ["Not evaluated yet; `ingot evaluate` does it."]
    rows: list[list[object]] = []
    if verdict["difference"] is not None:
        rows.append(
            [f"{card['model']}/{verdict['champion']}, the champion then", verdict["champion_bits_per_byte"],
             f"{verdict['difference']:+.4f}", interval(verdict["low"], verdict["high"]), ""]
        )  # fmt: skip
    rows += [
        [b["baseline"], b["bits_per_byte"], f"{b['difference']:+.4f}", interval(b["low"], b["high"]), b["beats"]]
        for b in verdict["baselines"]
    ]
    level = f"{verdict['level']:.0%} interval" if verdict["level"] is not None else "interval"
    own = number(verdict["candidate_bits_per_byte"])
    header = ["compared with", "bits per byte", "this model minus it", level, "better than it"]
    return [
        f"{verdict['verdict']}: {verdict['reason']}",
        table_html(header, rows, caption=f"This model: {own} bits per byte of held-out text, lower is better."),
        f"Measured on {number(verdict['num_documents'])} documents held out of training, "
        f"{number(verdict['num_bytes'])} bytes, {minute(verdict['time'])}. Verdict {verdict['digest']}, "
        f"evaluation {verdict['evaluation']}, ledger record {verdict['ledger']}.",
    ]


def _shares(what: str, shares: list[dict[str, Any]]) -> Markup:
    return table_html([what, "documents", "tokens", "share of tokens"], share_rows(shares, _MANY))


def _corpora(card: dict[str, Any]) -> Markup:
    rows = [
        [f"{c['corpus']}@{c['version']}", c["documents"], c["heldout"], c["dropped"], c["tokens"],
         "not recorded" if c["tokens_read"] is None else c["tokens_read"],
         "" if c["epochs"] is None else f"{c['epochs']:.2f}", c["classification"], c["content_digest"]]  # fmt: skip
        for c in card["corpora"]
    ]
    header = ["corpus", "kept", "held out", "dropped", "tokens", "tokens read", "epochs", "strictest class",
              "content digest"]  # fmt: skip
    return table_html(header, rows)


def _cleaned(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """A section for a model whose corpus was cleaned against evaluation files."""
    found = card.get("cleaned_against")
    return [("Cleaned against", table_html(CLEANED_COLUMNS, cleaned_rows(found)))] if found else []


def _dropped(corpus: str, found: Manifest) -> Markup:
    return waterfall_svg(waterfall(found), title=f"Documents of {corpus}")


def _ledger(card: dict[str, Any]) -> Markup:
    rows = [
        [str(e["sequence"]), minute(e["time"]), e["verb"], e["by"], f"{e['kind']}, {e['established_by']}", e["sha256"]]
        for e in card["ledger"]
    ]
    return table_html(["record", "time", "what", "by", "who that is", "SHA-256 of the record"], rows)


def document_page(query: str, traces: list[DocumentTrace], files: list[dict[str, Any]]) -> str:
    """One or more documents: where they stand, what was decided in every version, which models saw them."""
    sections: list[tuple[str, Any]] = []
    if files:
        rows = [[row["source"], row["uri"], row["state"], row["outcome"], row["reason"] or ""] for row in files]
        sections.append(("Files read", table_html(["source", "file", "state", "outcome", "reason"], rows[:_MANY])))
    for trace in traces:
        sections.append((f"Document {trace.doc_id}", _document(trace)))
    return html_page(f"Where document {query} went", sections, wide=True)


def _document(trace: DocumentTrace) -> list[str]:
    places = [
        [p["source"], p["uri"], f"{p['start']} to {p['end']}", p["licence"] or "not stated", p["state"],
         minute(p["first_seen"])]
        for p in trace.occurrences[:_MANY]
    ]  # fmt: skip
    decisions: list[list[object]] = []
    for version in trace.versions:
        name = f"{version['corpus']}@{version['version']}"
        decisions.append([name, version["outcome"], explain(version)])
        for verdict in version["verdicts"]:
            if verdict["outcome"] == "edited":
                decisions.append(["", "edited", f"by {verdict['rule']}, {len(verdict['spans'])} spans"])
            elif verdict["rule"] != version["rule"]:
                decisions.append(["", "also", f"{verdict['rule']}: {verdict['reason']}"])
    models = [
        [f"{m['model']}/{m['version']}", m["role"] + read_words(m), ", ".join(m["corpora"]) or m["corpus"],
         "champion" if m["champion"] else ""]
        for m in trace.models
    ]  # fmt: skip
    return [
        _document_lineage(trace),
        table_html(["source", "place", "bytes", "licence", "state", "first seen"], places),
        table_html(["corpus version", "outcome", "why"], decisions) if decisions else "In no corpus version.",
        table_html(["model", "what it did with it", "corpus", ""], models) if models else "No model saw it.",
    ]


def _document_lineage(trace: DocumentTrace) -> Markup:
    """Places, document, corpus versions, models."""
    places = [Box(f"place {i}", p["uri"], (p["source"], p["state"])) for i, p in enumerate(trace.occurrences)]
    document = Box("document", trace.doc_id[:16], ("document",))
    versions = [
        Box(f"{v['corpus']}@{v['version']}", f"{v['corpus']}@{v['version']}", (v["outcome"], v["reason"] or ""))
        for v in trace.versions
    ]
    models = [
        Box(f"model {m['model']}/{m['version']}", f"{m['model']}/{m['version']}",
            (m["role"], *(("champion",) if m["champion"] else ())))
        for m in trace.models
    ]  # fmt: skip
    edges = [(place.key, "document") for place in places] + [("document", box.key) for box in versions]
    known = {box.key for box in versions}
    edges += [
        (corpus, box.key)
        for m, box in zip(trace.models, models, strict=True)
        for corpus in m["corpora"] or [m["corpus"]]
        if corpus in known
    ]
    layers = [layer for layer in (places, [document], versions, models) if layer]
    return lineage_svg(layers, edges, title=f"Document {trace.doc_id}", width=WIDE)
