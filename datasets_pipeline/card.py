"""The data card of a corpus version: counts, drop reasons and a waterfall. Numbers and ids, never text."""

from collections.abc import Sequence
from typing import Any

from datasets_pipeline.distributions import MEASURES
from datasets_pipeline.flags import FLAG_FROM, FLAG_SHARE, GROUPS, flags, sentence
from ingot import markdown
from ingot.cleaned import COLUMNS as CLEANED_COLUMNS
from ingot.cleaned import cleaned_against, cleaned_rows
from ingot.count_pictures import histogram_svg, shares_svg
from ingot.ledger import Entry
from ingot.manifest import Identity, Manifest, classification_of
from ingot.pictures import Markup, html_page, number, table_html, waterfall_svg
from ingot.refs import CorpusRef

_GROUPS = (("source", "Source"), ("language", "Language"), ("licence", "Licence"), ("media_type", "Media type"),
           ("classification", "Classification"))  # fmt: skip
_MAX_ROWS = 25
_MAX_BARS = 12


def _groups(identity: Identity) -> list[tuple[str, str]]:
    """The groups that a card shows: that of classes only where one is stated."""
    stated = classification_of(identity) != "not stated"
    return [(key, title) for key, title in _GROUPS if key != "classification" or stated]


def waterfall(manifest: Manifest) -> list[tuple[str, int]]:
    """(label, documents): what came in, each drop by its owning rule and reason, held out, kept."""
    identity = manifest.identity
    rows = [("documents", identity.accounting["documents"])]
    rows += [(f"{reason} ({rule})", num) for rule, reason, num in identity.statistics["waterfall"]]
    return [*rows, ("held out", identity.accounting["heldout"]), ("kept", identity.accounting["kept"])]


def waterfall_rows(manifest: Manifest) -> list[dict[str, Any]]:
    """The waterfall as table rows."""
    total = max(1, manifest.identity.accounting["documents"])
    return [{"step": label, "documents": num, "share": f"{num / total:.1%}"} for label, num in waterfall(manifest)]


def card_html(manifest: Manifest, corpus: CorpusRef, tokens: dict[str, dict[str, int]] | None = None) -> str:
    """The card as one self-contained page; tokens are `count_tokens` of it, once it was tokenized."""
    identity = manifest.identity
    facts: list[list[object]] = [
        ["version", corpus.name],
        ["documents kept", identity.accounting["kept"]],
        ["documents held out", identity.accounting["heldout"]],
        ["documents dropped", identity.accounting["dropped"]],
        ["strictest classification", classification_of(identity)],
        ["occurrences", identity.accounting["occurrences"]],
        ["bytes of training text", corpus.num_bytes],
        ["tokens of training text", sum(tokens["source"].values()) if tokens else "not tokenized yet"],
        ["shards", len(identity.shards)],
        ["content digest", identity.content_digest],
        ["root digest", identity.root_digest],
        ["snapshot digest", identity.snapshot_digest],
    ]
    sections: list[tuple[str, Any]] = [
        ("Version", table_html(["", ""], facts)),
        ("What happened to the documents", waterfall_svg(waterfall(manifest), title=f"Documents of {corpus.name}")),
        *_flagged(identity),
        *_waterfalls(identity),
    ]
    for key, title in _groups(identity):
        counts = tokens[key] if tokens else None
        sections.append((f"By {title.lower()}", _group_table(identity.statistics[key], title, counts)))
    rules = [[rule, *(values[key] for key in ("judged", "abstained", "dropped"))]
             for rule, values in identity.statistics["rules"].items()]  # fmt: skip
    edits = identity.statistics["edits"]
    spans = ", ".join(f"{kind} {number(num)}" for kind, num in edits["spans"].items()) or "none"
    sections += [
        ("Rules", table_html(["rule", "judged", "abstained", "dropped"], rules)),
        ("Edits", f"{number(edits['documents'])} documents were edited; spans by kind: {spans}."),
        *_decontamination(identity),
        *_distributions(identity),
        ("Sources read", _sources(manifest.provenance.get("sources", {}))),
    ]
    return html_page(f"Data card of {corpus.name}", sections)


def _decontamination(identity: Identity) -> list[tuple[str, Any]]:
    """One section when the version was cleaned against evaluation files; item numbers, never their text."""
    found = cleaned_against(identity)
    if not found:
        return []
    numbers = [[row["benchmark"], row["numbers"]] for row in found if row["numbers"]]
    content = [table_html(CLEANED_COLUMNS, cleaned_rows(found))]
    if numbers:
        content.append(table_html(["benchmark", "items seen, by number in its files"], numbers))
    return [("Cleaned against", content)]


def _flagged(identity: Identity) -> list[tuple[str, Any]]:
    found = flags(identity.statistics)
    if not found:
        return []
    told = f"Rules that drop more than {FLAG_SHARE:.0%} of a language or source with at least {FLAG_FROM} documents:"
    return [("Look at these first", [told, *(f"{sentence(flag)}." for flag in found)])]


def _waterfalls(identity: Identity) -> list[tuple[str, Any]]:
    """What happened to each language and each source: a picture, and the numbers below it."""
    sections: list[tuple[str, Any]] = []
    for group in GROUPS:
        drops = identity.statistics.get("waterfall_by", {}).get(group, {})
        rows = identity.statistics[group]
        largest = sorted(drops, key=lambda name: (-rows[name]["documents"], name))[:_MAX_BARS]
        if not largest:
            continue
        bars = [
            (name, [("kept", rows[name]["kept"]), ("held out", rows[name]["heldout"]), *_by_rule(drops[name])])
            for name in largest
        ]
        more = f"The {len(largest)} largest of {len(drops)}." if len(drops) > len(largest) else ""
        lines = [
            [name, reason, rule, num, f"{num / rows[name]['documents']:.1%}"]
            for name in largest
            for rule, reason, num in sorted(drops[name], key=lambda drop: -drop[2])[:_MAX_BARS]
        ]
        blocks: list[str] = [shares_svg(bars, title=f"What became of the documents of each {group}")]
        blocks += [more] if more else []
        blocks.append(table_html([group, "reason", "rule", "documents", "share"], lines))
        sections.append((f"Drops by {group}", blocks))
    return sections


def _by_rule(drops: list[list[Any]]) -> list[tuple[str, int]]:
    totals: dict[str, int] = {}
    for rule, _, num in drops:
        totals[rule] = totals.get(rule, 0) + num
    return list(totals.items())


def _distributions(identity: Identity) -> list[tuple[str, Any]]:
    stored = identity.statistics.get("distributions", {})
    pictures: list[Markup] = [
        histogram_svg(
            stored[measure.name]["edges"],
            {"all documents": stored[measure.name]["documents"], "kept": stored[measure.name]["kept"]},
            title=f"{measure.title[0].upper()}{measure.title[1:]}",
        )
        for measure in MEASURES
        if measure.name in stored
    ]
    return [("Distributions", pictures)] if pictures else []


def _group_table(rows: dict[str, dict[str, int]], title: str, tokens: dict[str, int] | None) -> str:
    ordered = sorted(rows.items(), key=lambda item: (-item[1]["kept_bytes"], item[0]))
    keys = ("documents", "kept", "heldout", "kept_bytes")
    shown: list[list[object]] = [[name, *(row[key] for key in keys)] for name, row in ordered[:_MAX_ROWS]]
    rest = ordered[_MAX_ROWS:]
    if rest:
        shown.append([f"{len(rest)} more", *(sum(row[key] for _, row in rest) for key in keys)])
    header = [title.lower(), "documents", "kept", "held out", "kept bytes"]
    if tokens is not None:
        header.append("tokens")
        for line, (name, _) in zip(shown, ordered[:_MAX_ROWS], strict=False):
            line.append(tokens.get(name, 0))
        if rest:
            shown[-1].append(sum(tokens.get(name, 0) for name, _ in rest))
    return table_html(header, shown)


def _sources(sources: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    for name, source in sources.items():
        files = source["files"]
        passed = ", ".join(f"{k.removeprefix('skipped_')} {n}" for k, n in files.items() if k.startswith("skipped_"))
        reasons = ", ".join(f"{reason} {num}" for reason, num in source["quarantined"].items()) or "none"
        counts = [files[key] for key in ("seen", "read", "unchanged", "quarantined")]
        rows.append([name, *counts, reasons, passed or "none"])
    header = ["source", "files seen", "read", "unchanged", "quarantined", "reasons", "passed over"]
    return table_html(header, rows)


def card_markdown(manifest: Manifest, corpus: CorpusRef) -> str:
    """The card for a Prefect artifact."""
    lines = [
        f"# {corpus.name}",
        "",
        f"{corpus.num_documents:,} documents kept, {corpus.num_heldout:,} held out, "
        f"{corpus.num_bytes:,} bytes of training text, content `{corpus.content_digest[:16]}`, "
        f"strictest classification: {markdown.plain(classification_of(manifest.identity))}.",
        "",
        *(f"**Look at this:** {markdown.plain(sentence(flag))}.\n" for flag in flags(manifest.identity.statistics)),
        "| step | documents | share |",
        "|---|---:|---:|",
    ]
    lines += [f"| {r['step']} | {r['documents']:,} | {r['share']} |" for r in waterfall_rows(manifest)]
    for key, title in _groups(manifest.identity):
        rows = sorted(manifest.identity.statistics[key].items(), key=lambda item: -item[1]["kept_bytes"])[:10]
        lines += ["", f"| {title} | documents | kept |", "|---|---:|---:|"]
        lines += [f"| {markdown.plain(name)} | {r['documents']:,} | {r['kept']:,} |" for name, r in rows]
    cleaned = cleaned_rows(cleaned_against(manifest.identity))
    if cleaned:
        lines += ["", "**Cleaned against**", *markdown.table(CLEANED_COLUMNS, cleaned)]
    return "\n".join(lines)


def description(
    manifest: Manifest, corpus: CorpusRef, published: Entry | None, models: Sequence[tuple[str, str]]
) -> str:
    """The card as the description of MLflow's page of a registered corpus version.

    published is its ledger record, None while a crash keeps it waiting; models are (name, address) of the
    versions that were trained on it.
    """

    def write(rows: int) -> list[str]:
        identity = manifest.identity
        lines = [
            f"**{corpus.name}**: {corpus.num_documents:,} documents kept, {corpus.num_heldout:,} held out, "
            f"{identity.accounting['dropped']:,} dropped; {corpus.num_bytes:,} bytes of training text; "
            f"strictest classification: {markdown.plain(classification_of(identity))}.",
            "",
            "**What happened to the documents**",
            *markdown.table(["step", "documents", "share"], _steps(waterfall_rows(manifest), 4 * rows)),
            "",
            "**Models trained on it**",
            "",
        ]
        lines += [f"- [{name}]({address})" for name, address in models[-rows:]] or ["None yet."]
        for key, title in _groups(identity):
            ordered = sorted(identity.statistics[key].items(), key=lambda item: (-item[1]["kept_bytes"], item[0]))
            cells = [[name, row["documents"], row["kept"], row["kept_bytes"]] for name, row in ordered[:rows]]
            lines += ["", f"**{title}s**"]
            lines += markdown.table([title.lower(), "documents", "kept", "kept bytes"], cells)
            if len(ordered) > rows:
                lines += ["", f"and {len(ordered) - rows} more"]
        record = f"record {published.sequence}, `{published.sha256}`" if published else "not written yet"
        digests = {"identity": corpus.identity_digest, "content": corpus.content_digest,
                   "root": corpus.root_digest, "snapshot": identity.snapshot_digest}  # fmt: skip
        lines += ["", "**Digests** (SHA-256)", "", *(f"- {what} `{digest}`" for what, digest in digests.items())]
        lines += ["", f"Ledger: {record}"]
        return [
            *lines,
            "",
            f"Runs that used it: `ingot runs --corpus {corpus.name}`, or search an experiment's runs for "
            f"`dataset.digest = '{corpus.root_digest[:32]}'`.",
        ]

    return markdown.fitting(write, "the manifest in the store has all of it.")


def _steps(rows: list[dict[str, Any]], most: int) -> list[list[object]]:
    """Waterfall rows for a table; when there are too many, the smallest reasons become one row that adds them up."""
    steps: list[list[object]] = [[row["step"], row["documents"], row["share"]] for row in rows]
    first, reasons, last = rows[0], rows[1:-2], steps[-2:]
    if len(reasons) <= most:
        return steps
    largest = sorted(reasons, key=lambda row: -row["documents"])[:most]
    shown: list[list[object]] = [[row["step"], row["documents"], row["share"]] for row in reasons if row in largest]
    rest = sum(row["documents"] for row in reasons) - sum(row["documents"] for row in largest)
    more = f"{len(reasons) - len(largest)} more reasons"
    return [steps[0], *shown, [more, rest, f"{rest / max(1, first['documents']):.1%}"], *last]
