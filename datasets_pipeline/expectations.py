"""What a version must hold to be published: enough documents, no source that shrank or grew out of all proportion,
and what else its recipe expects of rules, languages, duplicates, personal data and the last version's distributions.

A share that was not mounted or an export that broke half-way looks like a night on which everybody deleted their
pages. Asked of what came in, source by source, so a rule that drops more is not mistaken for a source that is gone,
and a small source's loss does not vanish beside a large one. Reads statistics alone: no text, no decisions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from datasets_pipeline.distributions import drift
from ingot.config import Expectations
from ingot.manifest import Identity

COMPARED_FROM = 100
"""Documents a source (or, for drift, both versions) must have to be compared: a handful may halve."""
_COPIES = ("dropped.near_duplicate", "dropped.duplicate_after_edit")

Last = tuple[str, Identity]
"""Name and identity of the last good version."""


def breaches(
    identity: Identity, last: Last | None, expectations: Expectations, looks: Mapping[str, Any]
) -> list[str]:
    """What speaks against publishing a version after the last good one, a sentence each; empty when nothing does.

    looks: what was found in each source, as a version's provenance has it under `sources`. A source that left the
    recipe was taken out by a person and is not asked about.
    """
    found = list(_size(identity, last, expectations))
    if last is not None:
        found += _sources(identity, last[1], expectations, looks)
    found += _rules(identity, last, expectations)
    found += _languages(identity, last, expectations)
    found += _duplicates(identity, last, expectations)
    if last is not None:
        found += _drift(identity, last, expectations)
    return found


def _size(identity: Identity, last: Last | None, expectations: Expectations) -> Iterator[str]:
    num = identity.accounting["kept"] + identity.accounting["heldout"]
    if num < expectations.min_documents:
        yield (
            f"{num:,} of {identity.accounting['documents']:,} documents are kept or held out "
            f"(expectations.min_documents is {expectations.min_documents:,})"
        )
    least = expectations.min_bytes
    if least is not None and (size := _kept_bytes(identity)) < least:
        told = _after(last, f"{_kept_bytes(last[1]):,}" if last else None)
        yield f"{size:,} bytes of text are kept{told} (expectations.min_bytes is {least:,})"
    yield from _tokens(identity, last, expectations)


def _tokens(identity: Identity, last: Last | None, expectations: Expectations) -> Iterator[str]:
    least, most, each = expectations.min_tokens, expectations.max_tokens, expectations.bytes_per_token
    if least is None and most is None:
        return
    now = round(_kept_bytes(identity) / each)
    if least is not None and now < least:
        broken = f"min_tokens is {least:,}"
    elif most is not None and now > most:
        broken = f"max_tokens is {most:,}"
    else:
        return
    told = _after(last, f"{round(_kept_bytes(last[1]) / each):,}" if last else None)
    yield f"about {now:,} tokens of text are kept{told}, at {each:g} bytes each (expectations.{broken})"


def _sources(
    identity: Identity, last: Identity, expectations: Expectations, looks: Mapping[str, Any]
) -> Iterator[str]:
    asked = {str(source["name"]) for source in identity.recipe["sources"]}
    now = identity.statistics["source"]
    for source, row in sorted(last.statistics["source"].items()):
        before, after = row["documents"], now.get(source, {"documents": 0})["documents"]
        # All of a source is never a change of its pages, however small it is. Its documents may stand in others too,
        # which then count them, so the files decide.
        files = looks.get(source, {}).get("files", {})
        is_empty = not after and not files.get("read", 0) and not files.get("unchanged", 0)
        if source not in asked or (before < COMPARED_FROM and not is_empty):
            continue
        if before - after > expectations.max_lost_share * before:
            yield (
                f"source {source} has {after:,} documents after {before:,} "
                f"(expectations.max_lost_share is {expectations.max_lost_share:g})"
            )
        elif after > expectations.max_growth * before:
            yield (
                f"source {source} has {after:,} documents after {before:,} "
                f"(expectations.max_growth is {expectations.max_growth:g})"
            )


def _rules(identity: Identity, last: Last | None, expectations: Expectations) -> Iterator[str]:
    now, before = identity.statistics["rules"], last[1].statistics["rules"] if last else {}
    for rule, most in sorted(expectations.max_drop_rate.items()):
        rate = _per_judged(now[rule], "dropped")
        if rate > most:
            told = _after(last, f"{_per_judged(before[rule], 'dropped'):.1%}" if rule in before else None)
            yield (
                f"rule {rule} drops {rate:.1%} of the documents it judges{told} "
                f"(expectations.max_drop_rate.{rule} is {most:g})"
            )
    for rule, most in sorted(expectations.max_hits_per_document.items()):
        rate = _per_judged(now[rule], "spans")
        if rate > most:
            known = "spans" in before.get(rule, {})
            told = _after(last, f"{_per_judged(before[rule], 'spans'):.3g}" if known else None)
            yield (
                f"rule {rule} finds {rate:.3g} places a document{told} "
                f"(expectations.max_hits_per_document.{rule} is {most:g})"
            )


def _languages(identity: Identity, last: Last | None, expectations: Expectations) -> Iterator[str]:
    now = _shares_kept(identity, "language")
    before = _shares_kept(last[1], "language") if last else {}
    for language, bounds in sorted(expectations.languages.items()):
        share = now.get(language, 0.0)
        broken = "min" if share < bounds.min else "max" if share > bounds.max else None
        if broken:
            told = _after(last, f"{before.get(language, 0.0):.1%}")
            yield (
                f"language {language} is {share:.1%} of the documents kept{told} "
                f"(expectations.languages.{language}.{broken} is {getattr(bounds, broken):g})"
            )


def _duplicates(identity: Identity, last: Last | None, expectations: Expectations) -> Iterator[str]:
    most = expectations.max_duplicate_rate
    if most is not None and (rate := duplicate_rate(identity)) > most:
        told = _after(last, f"{duplicate_rate(last[1]):.1%}" if last else None)
        yield f"{rate:.1%} of all places hold a copy{told} (expectations.max_duplicate_rate is {most:g})"


def _drift(identity: Identity, last: Last, expectations: Expectations) -> Iterator[str]:
    name, earlier = last
    if min(identity.accounting["kept"], earlier.accounting["kept"]) < COMPARED_FROM:
        return
    most = expectations.max_drift
    if most is not None:
        moved = drift(earlier.statistics.get("distributions", {}), identity.statistics["distributions"])
        for measure, index in sorted(moved.items(), key=lambda item: (-item[1], item[0])):
            if index > most:
                told = f"the distribution of {measure} moved by {index:.2f} (stability index) since {name}"
                yield f"{told} (expectations.max_drift is {most:g})"
    most = expectations.max_share_change
    if most is not None:
        for group in ("language", "source"):
            now, before = _shares_kept(identity, group), _shares_kept(earlier, group)
            for value in sorted({*now, *before}):
                share, was = now.get(value, 0.0), before.get(value, 0.0)
                if abs(share - was) > most:
                    yield (
                        f"{group} {value} is {share:.1%} of the documents kept after {was:.1%} in {name} "
                        f"(expectations.max_share_change is {most:g})"
                    )


def duplicate_rate(identity: Identity) -> float:
    """Share of all places whose text is a copy of another one's, exact, near, or equal after edits."""
    books = identity.accounting
    copies = books["occurrences"] - books["documents"] + sum(books.get(reason, 0) for reason in _COPIES)
    return copies / max(1, books["occurrences"])


def _per_judged(row: Mapping[str, int], what: str) -> float:
    return row.get(what, 0) / max(1, row["judged"])


def _shares_kept(identity: Identity, group: str) -> dict[str, float]:
    total = max(1, identity.accounting["kept"])
    return {name: row["kept"] / total for name, row in identity.statistics[group].items()}


def _kept_bytes(identity: Identity) -> int:
    return sum(row["kept_bytes"] for row in identity.statistics["source"].values())


def _after(last: Last | None, value: str | None) -> str:
    """From what: the last good version's number, where it has one."""
    return f" after {value} in {last[0]}" if last is not None and value is not None else ""
