"""The numbers of a version, counted row by row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.classification_order import UNKNOWN, strictest_class
from datasets_pipeline.distributions import distributions
from datasets_pipeline.edits import Span
from datasets_pipeline.waterfalls import drops_by_group, sum_verdicts, verdicts_by_group, waterfalls
from ingot.config import Recipe
from ingot.errors import IntegrityError
from tests.curation.whole_corpus.judge import Judgement
from tests.curation.whole_corpus.outcomes import ANALYSIS_RULE, Outcome

GROUPS = ("source", "language", "licence", "media_type", "classification")


def accounting(occurrences: pa.Table, documents: pa.Table, outcome: Outcome) -> dict[str, int]:
    """Documents = kept + held out + dropped by each reason; IntegrityError when that does not hold."""
    counts = {
        "occurrences": len(occurrences),
        "documents": len(documents),
        "kept": outcome.split.count("train"),
        "heldout": outcome.split.count("heldout"),
        "dropped": outcome.split.count(None),
    }
    reasons = Counter(reason for reason, split in zip(outcome.reason, outcome.split, strict=True) if split is None)
    counts |= {f"dropped.{reason}": num for reason, num in sorted(reasons.items(), key=lambda item: str(item[0]))}
    total = counts["kept"] + counts["heldout"] + sum(reasons.values())
    if total != counts["documents"] or pc.sum(documents["num_occurrences"]).as_py() != counts["occurrences"]:
        raise IntegrityError(f"the books do not balance: {counts}; this is a fault of Ingot, please report it")
    return counts


def statistics(
    recipe: Recipe,
    documents: pa.Table,
    features: pa.Table,
    judgements: Sequence[Judgement],
    outcome: Outcome,
    edits: list[list[Span]],
    ranks: Mapping[str, int],
) -> dict[str, Any]:
    """Counts of the data card: per source, language, licence, medium and class what came in and what was kept.

    ranks are those of classifications; `access` has the strictest class in the version, held-out documents included.
    """
    sizes = features["num_bytes"].to_pylist()
    groups = {
        "source": documents["source"].to_pylist(),
        "language": features["language"].to_pylist(),
        "licence": documents["licence"].to_pylist(),
        "media_type": documents["media_type"].to_pylist(),
        "classification": documents["classification"].to_pylist(),
    }
    numbers: dict[str, Any] = {}
    for name, values in groups.items():
        table: dict[str, dict[str, int]] = {}
        for value, split, size in zip(values, outcome.split, sizes, strict=True):
            row = table.setdefault(value, dict.fromkeys(("documents", "bytes", "kept", "kept_bytes", "heldout"), 0))
            row["documents"] += 1
            row["bytes"] += size
            row["kept"] += split == "train"
            row["kept_bytes"] += size if split == "train" else 0
            row["heldout"] += split == "heldout"
        numbers[name] = dict(sorted(table.items()))
    inside = [name for name, split in zip(groups["classification"], outcome.split, strict=True) if split is not None]
    numbers["access"] = {"strictest": strictest_class(inside, ranks), "unclassified": inside.count(UNKNOWN)}
    waterfall: list[list[Any]] = []
    owners = Counter(
        (r or "", reason or "")
        for r, reason, s in zip(outcome.rule, outcome.reason, outcome.split, strict=True)
        if s is None
    )
    order = {ANALYSIS_RULE: -1, **{entry.id: i for i, entry in enumerate(recipe.rules)}}
    for (rule, reason), num in sorted(owners.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])):
        waterfall.append([rule, reason, num])
    numbers["waterfall"] = waterfall
    numbers["rules"] = {
        j.rule.id: {
            "judged": int(j.judged.sum()),
            "abstained": j.num_abstained,
            "dropped": int(pc.sum(pc.is_valid(j.verdicts.reason)).as_py() or 0),
            **({} if j.spans is None else {"spans": int(pc.sum(pc.list_value_length(j.spans)).as_py() or 0)}),
        }
        for j in judgements
    }
    fates = pa.table(
        {
            "language": features["language"],
            "source": documents["source"],
            "rule": pa.array(outcome.rule, pa.string()),
            "reason": pa.array(outcome.reason, pa.string()),
            "dropped": pa.array([split is None for split in outcome.split], pa.bool_()),
        }
    )
    numbers["waterfall_by"] = waterfalls([drops_by_group(fates)], order)
    numbers["verdicts_by"] = sum_verdicts([verdicts_by_group(fates, judgements)])
    numbers["distributions"] = distributions(features, np.array([split == "train" for split in outcome.split], bool))
    kinds = Counter(span["kind"] for spans in edits for span in spans)
    numbers["edits"] = {"documents": sum(bool(spans) for spans in edits), "spans": dict(sorted(kinds.items()))}
    return numbers
