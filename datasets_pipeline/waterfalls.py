"""What happened to the documents of each language and each source.

A rule that fits one language and not another hides in the waterfall of the whole: Gopher quality with English stop
words dropped every German page of a glossary that was one tenth of a corpus.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.flags import GROUPS
from datasets_pipeline.judge import Judgement
from datasets_pipeline.rules.verdicts import Bools

_NOT_ASKED_FOR = "language_not_kept"
"""What the recipe asks for by name is no surprise in the waterfall of a language."""

Waterfall = list[list[Any]]
"""[rule, reason, documents] of each drop by its owner, in the order in which the rules stand."""


def waterfalls(fates: pa.Table, order: Mapping[str, int]) -> dict[str, dict[str, Waterfall]]:
    """Per group and name the drops by owning rule and reason.

    fates: one row per document, with language, source, rule, reason and dropped (bool). order: position by rule; a
    rule that is not in it comes last.
    """
    dropped = fates.filter(fates["dropped"])
    found: dict[str, dict[str, Waterfall]] = {}
    for group in GROUPS:
        counts = dropped.group_by([group, "rule", "reason"]).aggregate([([], "count_all")]).to_pylist()
        tables: dict[str, Waterfall] = {name: [] for name in sorted(pc.unique(fates[group]).to_pylist())}
        for row in sorted(counts, key=lambda r: (order.get(r["rule"], len(order)), r["rule"], r["reason"] or "")):
            tables[row[group]].append([row["rule"], row["reason"] or "", row["count_all"]])
        found[group] = tables
    return found


def verdicts_by_group(fates: pa.Table, judgements: Sequence[Judgement]) -> dict[str, dict[str, dict[str, Any]]]:
    """Per group and name: documents, and how many of them each rule drops, whether it owns the drop or not.

    Documents in a language that the recipe does not keep are left out.
    """
    wanted = ~_numpy(pc.fill_null(pc.equal(fates["reason"], _NOT_ASKED_FOR), False))
    failed = {
        judgement.rule.id: _numpy(pc.is_valid(judgement.verdicts.reason)) & wanted for judgement in judgements
    }
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for group in GROUPS:
        encoded = _one(fates[group]).dictionary_encode()
        names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
        documents = np.bincount(codes[wanted], minlength=len(names))
        drops = {rule: np.bincount(codes[rows], minlength=len(names)) for rule, rows in failed.items()}
        found[group] = {
            name: {
                "documents": int(documents[i]),
                "dropped": {rule: int(counts[i]) for rule, counts in drops.items() if counts[i]},
            }
            for name, i in sorted((name, i) for i, name in enumerate(names))
        }
    return found


def _one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _numpy(values: pa.Array | pa.ChunkedArray) -> Bools:
    return _one(values).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
