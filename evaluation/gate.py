"""The gate: may a candidate replace the champion? One paired comparison on documents held out for both.

PASS          the candidate is not worse than the champion by more than the margin
FAIL          it is, or it has no finite measure
INCONCLUSIVE  the documents do not tell; says how many would
FIRST         there is no champion; the candidate is compared with the stated baselines instead

The gate decides on numbers alone and fails closed: a measure that is absent, not finite or does not
add up never passes. It promotes nothing; a person does.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from evaluation.statistics import bits_per_byte, documents_needed, holm, paired_bootstrap
from evaluation.verdicts import BaselineComparison, GateConfig, Verdict
from ingot.errors import GateError

__all__ = ["BaselineComparison", "GateConfig", "Verdict", "decide"]


def decide(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    *,
    config: GateConfig | None = None,
    seen_by_candidate: Collection[str] = (),
    seen_by_champion: Collection[str] = (),
) -> Verdict:
    """Judge two results of the same suite (`evaluation.suites.heldout.run`).

    A result lists the documents held out for its model. `seen_by_*` are doc_ids that this model's training
    text holds (or nearly holds), whatever its own result says; they are left out and counted. Raises
    GateError for a result that cannot be judged at all: fields absent, other suite, sums that do not add up,
    or a champion without finite numbers.
    """
    config = config or GateConfig()
    rows = _rows(candidate, "candidate")
    base: dict[str, Any] = {
        "suite": candidate["suite"],
        "suite_version": candidate["version"],
        "config": config,
    }
    unscored = [doc_id for doc_id, row in rows.items() if not _is_finite(row["nats"])]
    if unscored or not _is_finite(candidate["bits_per_byte"]):
        return Verdict(
            verdict="FAIL",
            num_documents=len(rows) - len(unscored),
            **base,
            reason=f"The candidate has no finite score for {len(unscored)} of {len(rows)} held-out documents"
            f"{f', first {unscored[0]}' if unscored else ''}; a model that cannot be measured does not pass.",
        )
    _check_sum(candidate, rows, "candidate")
    if champion is None:
        mine = {doc_id: row for doc_id, row in rows.items() if doc_id not in seen_by_candidate}
        base["num_seen_by_candidate"] = len(rows) - len(mine)
        return _first(candidate, mine, base, config)

    theirs = _rows(champion, "champion")
    if (candidate["suite"], candidate["version"]) != (champion["suite"], champion["version"]):
        raise GateError(
            f"candidate was measured by {candidate['suite']} {candidate['version']}, champion by "
            f"{champion['suite']} "
            f"{champion['version']}; evaluate the champion again with the same suite"
        )
    if not all(_is_finite(row["nats"]) for row in theirs.values()) or not _is_finite(champion["bits_per_byte"]):
        raise GateError("the champion's result has documents without a finite score; evaluate the champion again")
    _check_sum(champion, theirs, "champion")
    both = sorted(rows.keys() & theirs.keys())
    fair = [doc_id for doc_id in both if doc_id not in seen_by_candidate and doc_id not in seen_by_champion]
    same = [doc_id for doc_id in fair if rows[doc_id]["bytes"] == theirs[doc_id]["bytes"]]
    base |= {
        "num_only_candidate": len(rows) - len(both),
        "num_only_champion": len(theirs) - len(both),
        "num_seen_by_candidate": sum(doc_id in seen_by_candidate for doc_id in both),
        "num_seen_by_champion": sum(doc_id in seen_by_champion for doc_id in both),
        "num_scored_differently": len(fair) - len(same),
        "num_documents": len(same),
    }
    mine = {doc_id: rows[doc_id] for doc_id in same}
    base["baselines"] = _beside_baselines(candidate, mine, config)
    return _compare(mine, {doc_id: theirs[doc_id] for doc_id in same}, base, config)


def _compare(
    mine: Mapping[str, Mapping[str, Any]],
    theirs: Mapping[str, Mapping[str, Any]],
    base: dict[str, Any],
    config: GateConfig,
) -> Verdict:
    """The verdict on documents both were measured on."""
    count = len(mine)
    if not count:
        return Verdict(
            verdict="INCONCLUSIVE",
            num_needed=config.min_documents,
            **base,
            reason=f"No document is held out for both models; at least {config.min_documents} are needed.",
        )
    nats = [row["nats"] for row in mine.values()]
    other = [row["nats"] for row in theirs.values()]
    lengths = [row["bytes"] for row in mine.values()]
    paired = paired_bootstrap(nats, other, lengths, alpha=config.alpha, resamples=config.resamples, seed=config.seed)
    base |= {
        "num_bytes": sum(lengths),
        "candidate_bits_per_byte": bits_per_byte(nats, lengths),
        "champion_bits_per_byte": bits_per_byte(other, lengths),
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
        "p_value": paired.p_value,
    }
    margin = config.margin_bits_per_byte
    numbers = (
        f"difference {paired.difference:+.4f} bits per byte ({1 - config.alpha:.0%} interval "
        f"{paired.low:+.4f} to "
        f"{paired.high:+.4f}, margin {margin:+.4f}) on {count:,} documents held out for both"
    )
    estimate = documents_needed(
        nats, other, lengths, effect=abs(margin - paired.difference), alpha=config.alpha, power=config.power
    )
    if count < config.min_documents:
        needed = max(config.min_documents, estimate or 0)
        return Verdict(
            verdict="INCONCLUSIVE",
            num_needed=needed,
            **base,
            reason=f"Only {count:,} documents are held out for both models, {config.min_documents:,} are "
            "the least "
            f"that is judged; about {needed:,} would probably decide ({numbers}).",
        )
    if paired.high <= margin:
        claim = "is better than the champion" if paired.high < 0 else "is not worse than the champion beyond the margin"
        return Verdict(verdict="PASS", reason=f"The candidate {claim}: {numbers}.", **base)
    if paired.low > margin:
        claim = "is worse than the champion" if margin >= 0 else "does not improve on the champion as demanded"
        return Verdict(verdict="FAIL", reason=f"The candidate {claim}: {numbers}.", **base)
    # An interval that still holds the margin needs more documents than there are, whatever the estimate says.
    more = None if estimate is None else max(estimate, count + 1)
    hint = f"about {more:,} documents would probably decide" if more else "more documents are needed"
    return Verdict(
        verdict="INCONCLUSIVE",
        num_needed=more,
        reason=f"The documents do not tell: {numbers}; {hint}.",
        **base,
    )


def _first(
    candidate: Mapping[str, Any],
    mine: Mapping[str, Mapping[str, Any]],
    base: dict[str, Any],
    config: GateConfig,
) -> Verdict:
    """No champion: the baselines say what the candidate is worth."""
    if not mine:
        return Verdict(
            verdict="INCONCLUSIVE",
            num_documents=0,
            num_needed=config.min_documents,
            **base,
            reason=f"No held-out document is left to judge the candidate on; {config.min_documents} are needed.",
        )
    compared = _beside_baselines(candidate, mine, config)
    score = bits_per_byte([row["nats"] for row in mine.values()], [row["bytes"] for row in mine.values()])
    words = {"yes": "beats", "no": "does not beat", "unclear": "cannot be told from"}
    answers = [f"{words[item.beats]} {item.baseline} ({item.bits_per_byte:.3f})" for item in compared]
    few = f" Only {len(mine)} documents, fewer than {config.min_documents}: read it as a hint." * (
        len(mine) < config.min_documents
    )
    return Verdict(
        verdict="FIRST",
        num_documents=len(mine),
        num_bytes=sum(row["bytes"] for row in mine.values()),
        candidate_bits_per_byte=score,
        baselines=compared,
        **base,
        reason=f"There is no champion. At {score:.3f} bits per byte the candidate "
        f"{', '.join(answers) if answers else 'has no baseline beside it'}.{few}",
    )


def _beside_baselines(
    candidate: Mapping[str, Any], mine: Mapping[str, Mapping[str, Any]], config: GateConfig
) -> tuple[BaselineComparison, ...]:
    """Every baseline of the candidate's result on the documents in `mine`; one without a number per document
    only where these are all documents."""
    stated = candidate.get("baselines") or {}
    if not mine:
        return ()
    if len(mine) < len(candidate["documents"]):
        stated = {name: baseline for name, baseline in stated.items() if baseline.get("per_document")}
    nats, lengths = [row["nats"] for row in mine.values()], [row["bytes"] for row in mine.values()]
    score = bits_per_byte(nats, lengths)
    paired, values = {}, {}
    for name, baseline in stated.items():
        values[name] = baseline.get("bits_per_byte")
        if baseline.get("per_document"):
            own = [row.get("baseline_nats", {}).get(name) for row in mine.values()]
            if not all(map(_is_finite, own)):
                raise GateError(f"baseline {name!r} lacks a finite number for some documents; evaluate again")
            values[name] = bits_per_byte(own, lengths)
            paired[name] = paired_bootstrap(
                nats, own, lengths, alpha=config.alpha, resamples=config.resamples, seed=config.seed
            )
        elif not _is_finite(values[name]):
            raise GateError(f"baseline {name!r} has no finite bits_per_byte; evaluate again")
    corrected = holm({name: result.p_value for name, result in paired.items()})
    comparisons = []
    for name, value in values.items():
        result = paired.get(name)
        gap = score - value
        told = result is None or corrected[name] <= config.alpha
        comparisons.append(
            BaselineComparison(
                baseline=name,
                bits_per_byte=value,
                difference=gap,
                low=result.low if result else None,
                high=result.high if result else None,
                p_value=corrected.get(name),
                beats=("yes" if gap < 0 else "no") if told else "unclear",
            )
        )
    return tuple(comparisons)


def _rows(result: Mapping[str, Any], side: str) -> dict[str, Mapping[str, Any]]:
    """The rows of a result by doc_id, in order of doc_id."""
    missing = [name for name in ("suite", "version", "bits_per_byte", "documents") if name not in result]
    if missing:
        raise GateError(f"the {side}'s result lacks {', '.join(missing)}; evaluate the {side} again")
    rows: dict[str, Mapping[str, Any]] = {}
    for row in sorted(result["documents"], key=lambda row: str(row.get("doc_id"))):
        doc_id = row.get("doc_id")
        if not isinstance(doc_id, str) or "nats" not in row or not _is_count(row.get("bytes")) or doc_id in rows:
            raise GateError(
                f"the {side}'s result has a broken or repeated row for document {doc_id!r}; evaluate the {side} again"
            )
        rows[doc_id] = row
    return rows


def _check_sum(result: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], side: str) -> None:
    """The stated overall number must follow from the rows."""
    if not rows:
        return
    computed = bits_per_byte([row["nats"] for row in rows.values()], [row["bytes"] for row in rows.values()])
    if not math.isclose(computed, result["bits_per_byte"], rel_tol=1e-9, abs_tol=1e-12):
        raise GateError(
            f"the {side}'s result states {result['bits_per_byte']} bits per byte, its documents give "
            f"{computed}; "
            f"it was changed or mixed up: evaluate the {side} again"
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
