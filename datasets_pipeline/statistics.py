"""The numbers of a corpus version: the books that must balance, and the counts of its data card.

Counted part by part of the documents, then summed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.classification_order import UNKNOWN, strictest_class
from datasets_pipeline.distributions import distributions, sum_distributions
from datasets_pipeline.edits import Span
from datasets_pipeline.judge import Judgement
from datasets_pipeline.outcomes import ANALYSIS_RULE, Outcome
from datasets_pipeline.waterfalls import drops_by_group, in_order, sum_verdicts, verdicts_by_group, waterfalls
from ingot import registry
from ingot.config import Recipe
from ingot.errors import IntegrityError

GROUPS = ("source", "language", "licence", "media_type", "classification")
_COUNTS = ("documents", "bytes", "kept", "kept_bytes", "heldout")


def accounting(num_occurrences: int, documents: pa.Table, outcome: Outcome) -> dict[str, int]:
    """Documents = kept + held out + dropped by each reason; IntegrityError when that does not hold."""
    splits = _counts(outcome.split)
    counts = {
        "occurrences": num_occurrences,
        "documents": len(documents),
        "kept": splits.get("train", 0),
        "heldout": splits.get("heldout", 0),
        "dropped": splits.get(None, 0),
    }
    reasons = _counts(outcome.reason.filter(pc.is_null(outcome.split)))
    counts |= {f"dropped.{reason}": num for reason, num in sorted(reasons.items(), key=lambda item: str(item[0]))}
    total = counts["kept"] + counts["heldout"] + sum(reasons.values())
    if total != counts["documents"] or (pc.sum(documents["num_occurrences"]).as_py() or 0) != counts["occurrences"]:
        raise IntegrityError(f"the books do not balance: {counts}; this is a fault of Ingot, please report it")
    return counts


def statistics(
    documents: pa.Table,
    features: pa.Table,
    judgements: Sequence[Judgement],
    outcome: Outcome,
    edits: Sequence[Sequence[Span]],
    ranks: Mapping[str, int],
) -> dict[str, Any]:
    """Counts of the data card of one part: per source, language, licence, medium and class what came, what was kept.

    edits: those of the edited documents. ranks are those of classifications; `access` has the strictest class in the
    version, held-out documents included. `waterfall_by` is counted by (rule, reason).
    """
    sizes = features["num_bytes"].to_numpy()
    train = pc.fill_null(pc.equal(outcome.split, "train"), False).to_numpy(zero_copy_only=False)
    heldout = pc.fill_null(pc.equal(outcome.split, "heldout"), False).to_numpy(zero_copy_only=False)
    numbers: dict[str, Any] = {}
    for name in GROUPS:
        column = features[name] if name == "language" else documents[name]
        numbers[name] = _group_counts(column.combine_chunks(), sizes, train, heldout)
    inside = _counts(documents["classification"].filter(pa.array(train | heldout)))
    strictest = strictest_class((str(name) for name in inside), ranks)
    numbers["access"] = {"strictest": strictest, "unclassified": inside.get(UNKNOWN, 0)}
    fates = pa.table(
        {
            "language": features["language"],
            "source": documents["source"],
            "rule": outcome.rule,
            "reason": outcome.reason,
            "dropped": pc.is_null(outcome.split),
        }
    )
    numbers["waterfall_by"] = drops_by_group(fates)
    numbers["verdicts_by"] = verdicts_by_group(fates, judgements)
    numbers["distributions"] = distributions(features, train)
    numbers["rules"] = {
        j.rule.id: {
            "judged": int(j.judged.sum()),
            "abstained": j.num_abstained,
            "dropped": int(pc.sum(pc.is_valid(j.verdicts.reason)).as_py() or 0),
            **({} if j.spans is None else {"spans": int(pc.sum(pc.list_value_length(j.spans)).as_py() or 0)}),
        }
        for j in judgements
    }
    numbers["reports"] = {j.rule.id: j.report for j in judgements if j.report is not None}
    kinds = Counter(span["kind"] for spans in edits for span in spans)
    numbers["edits"] = {"documents": sum(bool(spans) for spans in edits), "spans": dict(sorted(kinds.items()))}
    return numbers


def sum_accounting(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The books of all parts together."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    fixed = ("occurrences", "documents", "kept", "heldout", "dropped")
    return {name: total[name] for name in (*fixed, *sorted(name for name in total if name not in fixed))}


def sum_statistics(recipe: Recipe, parts: Sequence[Mapping[str, Any]], ranks: Mapping[str, int]) -> dict[str, Any]:
    """The numbers of all parts together, the waterfall in the order of the recipe's rules."""
    total: dict[str, Any] = {}
    for name in GROUPS:
        total[name] = _sum_tables([part[name] for part in parts])
    strictest = strictest_class((part["access"]["strictest"] for part in parts), ranks)
    unclassified = sum(part["access"]["unclassified"] for part in parts)
    total["access"] = {"strictest": strictest, "unclassified": unclassified}
    owners: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for part in parts:
        kinds.update(part["edits"]["spans"])
        for drops in part["waterfall_by"]["source"].values():
            owners.update(drops)
    order = {ANALYSIS_RULE: -1, **{entry.id: i for i, entry in enumerate(recipe.rules)}}
    total["waterfall"] = in_order(owners, order)
    total["waterfall_by"] = waterfalls([part["waterfall_by"] for part in parts], order)
    total["verdicts_by"] = sum_verdicts([part["verdicts_by"] for part in parts])
    total["distributions"] = sum_distributions([part["distributions"] for part in parts])
    by_rule = _sum_tables([part["rules"] for part in parts])
    total["rules"] = {entry.id: by_rule[entry.id] for entry in recipe.rules}
    reports = {
        entry.id: {
            "rule": entry.rule,
            "report": registry.load("rule", entry.rule).sum_reports([part["reports"][entry.id] for part in parts]),
        }
        for entry in recipe.rules
        if parts and entry.id in parts[0]["reports"]
    }
    if reports:
        total["reports"] = reports
    if recipe.overrides:
        total["overrides"] = {
            name: sum(part["overrides"][name] for part in parts) for name in ("kept", "dropped", "refused")
        }
    edited = sum(part["edits"]["documents"] for part in parts)
    total["edits"] = {"documents": edited, "spans": dict(sorted(kinds.items()))}
    return total


def _sum_tables(tables: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for table in tables:
        for value, counts in table.items():
            row = total.setdefault(value, dict.fromkeys(counts, 0))
            for name, num in counts.items():
                row[name] += num
    return dict(sorted(total.items()))


def _group_counts(
    column: pa.Array, sizes: np.ndarray, train: np.ndarray, heldout: np.ndarray
) -> dict[str, dict[str, int]]:
    encoded = column.dictionary_encode()
    code, num = encoded.indices.to_numpy(), len(encoded.dictionary)
    columns = {
        "documents": np.bincount(code, minlength=num),
        # In whole numbers: a sum of floats is exact to 9 PB only.
        "bytes": _sums(code, sizes, num),
        "kept": np.bincount(code[train], minlength=num),
        "kept_bytes": _sums(code[train], sizes[train], num),
        "heldout": np.bincount(code[heldout], minlength=num),
    }
    values = encoded.dictionary.to_pylist()
    rows = {value: {name: int(columns[name][i]) for name in _COUNTS} for i, value in enumerate(values)}
    return dict(sorted(rows.items()))


def _sums(code: np.ndarray, sizes: np.ndarray, num: int) -> np.ndarray:
    total = np.zeros(num, np.int64)
    np.add.at(total, code, sizes)
    return total


def _counts(column: pa.Array | pa.ChunkedArray) -> dict[str | None, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}
