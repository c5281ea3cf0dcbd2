"""What happened to the documents of each language and each source.

A rule that fits one language and not another hides in the waterfall of the whole: Gopher quality with English stop
words dropped every German page of a glossary that was one tenth of a corpus.
"""

from collections import Counter
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


Drops = dict[str, dict[str, Counter[tuple[str, str]]]]
"""Per group and name the documents dropped, by (owning rule, reason)."""


def drops_by_group(fates: pa.Table) -> Drops:
    """What became of some documents; fates: one row each, with language, source, rule, reason and dropped (bool)."""
    dropped = fates.filter(fates["dropped"])
    found: Drops = {}
    for group in GROUPS:
        found[group] = {name: Counter() for name in pc.unique(fates[group]).to_pylist()}
        for row in dropped.group_by([group, "rule", "reason"]).aggregate([([], "count_all")]).to_pylist():
            found[group][row[group]][row["rule"] or "", row["reason"] or ""] += row["count_all"]
    return found


def waterfalls(parts: Sequence[Drops], order: Mapping[str, int]) -> dict[str, dict[str, Waterfall]]:
    """The drops of all parts together; order: position by rule, a rule that is not in it comes last."""
    found: dict[str, dict[str, Waterfall]] = {}
    for group in GROUPS:
        counts: dict[str, Counter[tuple[str, str]]] = {}
        for part in parts:
            for name, drops in part[group].items():
                counts.setdefault(name, Counter()).update(drops)
        found[group] = {name: in_order(counts[name], order) for name in sorted(counts)}
    return found


def in_order(drops: Mapping[tuple[str, str], int], order: Mapping[str, int]) -> Waterfall:
    """[rule, reason, documents] in the order of the rules."""
    ordered = sorted(drops.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0]))
    return [[rule, reason, num] for (rule, reason), num in ordered]


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


def sum_verdicts(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`verdicts_by_group` of all parts together."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for group in GROUPS:
        total: dict[str, dict[str, Any]] = {}
        for part in parts:
            for name, row in part[group].items():
                mine = total.setdefault(name, {"documents": 0, "dropped": Counter()})
                mine["documents"] += row["documents"]
                mine["dropped"].update(row["dropped"])
        found[group] = {
            name: {"documents": row["documents"], "dropped": dict(sorted(row["dropped"].items()))}
            for name, row in sorted(total.items())
        }
    return found


def _one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _numpy(values: pa.Array | pa.ChunkedArray) -> Bools:
    return _one(values).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
