"""What a person reads before approving a model: the verdict's numbers, and what changed in the data.

From the store alone: the gate's verdict, and the manifests of the two corpus versions. Counts and names of
sources, licences and drop reasons; no text, no ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingot import four_eyes, manifest, model_versions
from ingot.ledger import Entry
from ingot.manifest import Manifest
from ingot.markdown import plain
from ingot.model_versions import ModelVersion
from ingot.storage import Store

_MAX_ROWS = 12
_ACCOUNTS = (("documents kept", "kept"), ("documents held out", "heldout"), ("documents dropped", "dropped"))


@dataclass(frozen=True)
class Change:
    """One count of the champion's data and of the candidate's."""

    what: str
    before: int | None
    """None when there is no champion."""
    after: int


@dataclass(frozen=True)
class Evidence:
    """A candidate beside the champion, as the gate compared them."""

    candidate: ModelVersion
    champion: ModelVersion | None
    verdict: Mapping[str, Any]
    """The gate's record, with every number the verdict rests on."""
    changes: tuple[Change, ...]


def collect(store: Store, version: ModelVersion, gated: Entry) -> Evidence:
    """The evidence behind one gate record of a version."""
    number = gated.details.get("champion")
    champion = model_versions.resolve(store, f"{version.name}/{number}") if number else None
    verdict = store.read_record(f"evaluations/{gated.evidence['verdict']}.json")
    before = _corpus(store, champion) if champion else None
    changes = tuple(_changes(before, _corpus(store, version), champion, version))
    return Evidence(version, champion, verdict, changes)


def _corpus(store: Store, version: ModelVersion) -> Manifest:
    return manifest.read(store, *manifest.find(store, version.details["corpus"]))


def _changes(
    before: Manifest | None, after: Manifest, champion: ModelVersion | None, version: ModelVersion
) -> list[Change]:
    def both(what: str, old: Mapping[str, int], new: Mapping[str, int], name: str) -> Change:
        return Change(what, int(old.get(name, 0)) if before else None, int(new.get(name, 0)))

    old = before.identity.accounting if before else {}
    new = after.identity.accounting
    rows = [both(label, old, new, name) for label, name in _ACCOUNTS]
    tokens_before = int(champion.details["num_tokens"]) if champion else None
    rows.append(Change("training tokens", tokens_before, int(version.details["num_tokens"])))
    rows += _readings(champion, version)
    reasons = [name for name in {**new, **old} if name.startswith("dropped.")]
    groups = [("dropped as", [(name, name.partition(".")[2]) for name in reasons], old, new)]
    for group in ("source", "licence"):
        kept_before = _kept(before, group) if before else {}
        kept_after = _kept(after, group)
        names = [(name, name) for name in {**kept_after, **kept_before}]
        groups.append((f"documents of {group}", names, kept_before, kept_after))
    theirs, ours = _tokens_of_licences(champion), _tokens_of_licences(version)
    groups.append(("tokens of licence", [(name, name) for name in {**ours, **theirs}], theirs, ours))
    for group, names, counted, counts in groups:
        found = [both(f"{group} {label}", counted, counts, name) for name, label in names]
        found.sort(key=lambda row: (-abs(row.after - (row.before or 0)), -row.after, row.what))
        rows += found[:_MAX_ROWS]
        if found[_MAX_ROWS:]:
            rest = found[_MAX_ROWS:]
            rows.append(
                Change(
                    f"{group} {len(rest)} others", sum(row.before or 0 for row in rest) if before else None,
                    sum(row.after for row in rest),
                )
            )  # fmt: skip
    return rows


def _readings(champion: ModelVersion | None, version: ModelVersion) -> list[Change]:
    """Tokens read of each corpus version, where either model read more than one."""
    before, after = ({str(row["corpus"]): int(row["tokens_read"] or 0) for row in model.corpora} if model else {}
                     for model in (champion, version))  # fmt: skip
    if len(before) < 2 and len(after) < 2:
        return []
    return [
        Change(f"tokens read of {name}", before.get(name, 0) if champion else None, after.get(name, 0))
        for name in {**after, **before}
    ]


def _kept(corpus: Manifest, group: str) -> dict[str, int]:
    return {name: row["kept"] for name, row in corpus.identity.statistics.get(group, {}).items()}


def _tokens_of_licences(version: ModelVersion | None) -> dict[str, int]:
    return version.tokens_of("licence") if version else {}


def evidence_markdown(found: Evidence) -> str:
    """The evidence as two tables, for the form and for the page of the run."""
    return "\n".join([*_verdict_lines(found), "", *_change_lines(found), "", *_request_lines(found.candidate)])


def _verdict_lines(found: Evidence) -> list[str]:
    verdict, candidate, champion = found.verdict, found.candidate, found.champion
    name = f"{candidate.name}/{candidate.version}"
    lines = [
        f"## {name}: {verdict['verdict']}",
        "",
        plain(str(verdict["reason"])),
        "",
        "| held-out text | bits per byte | difference | interval | beaten |",
        "|---|---:|---:|---:|---|",
        f"| **candidate {name}** | **{_number(verdict.get('candidate_bits_per_byte'))}** | | | |",
    ]
    if champion is not None:
        low, high = verdict.get("low"), verdict.get("high")
        beaten = "" if low is None or high is None else "yes" if high < 0 else "no" if low > 0 else "unclear"
        lines.append(
            f"| champion {champion.name}/{champion.version} | {_number(verdict.get('champion_bits_per_byte'))} "
            f"| {_signed(verdict.get('difference'))} | {_interval(low, high)} | {beaten} |"
        )
    for item in verdict.get("baselines", ()):
        lines.append(
            f"| baseline {plain(item['baseline'])} | {_number(item['bits_per_byte'])} "
            f"| {_signed(item['difference'])} | {_interval(item.get('low'), item.get('high'))} | {item['beats']} |"
        )
    config = verdict.get("config", {})
    if config:
        lines += [
            "",
            f"Less is better; difference is candidate minus it. {verdict['num_documents']:,} documents compared, "
            f"{1 - config['alpha']:.0%} intervals; "
            f"{config['margin_bits_per_byte']:+.3f} against the champion is still accepted.",
        ]
    return lines


def _change_lines(found: Evidence) -> list[str]:
    after, champion = found.candidate.corpora_words, found.champion
    if champion is None:
        lines = [f"### The data: {after}", "", "| | count |", "|---|---:|"]
        return [*lines, *(f"| {plain(row.what)} | {row.after:,} |" for row in found.changes)]
    before = champion.corpora_words
    same = before == after
    title = f"The same data: {after}" if same else f"What changed in the data: {before} to {after}"
    lines = [f"### {title}", "", f"| | champion {before} | candidate {after} | change |", "|---|---:|---:|---:|"]
    for row in found.changes:
        before_count = row.before or 0
        change = f"{row.after - before_count:+,}" if row.after != before_count else "="
        lines.append(f"| {plain(row.what)} | {before_count:,} | {row.after:,} | {change} |")
    return lines


def _request_lines(version: ModelVersion) -> list[str]:
    asked = ", ".join(four_eyes.askers(version)) or "nobody on record"
    rule = " They may not approve it: the recipe asks for four eyes." if four_eyes.required(version) else ""
    return [f"Asked for by {plain(asked)}, registered {version.registered.time[:16].replace('T', ' ')} UTC.{rule}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
