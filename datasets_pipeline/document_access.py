"""Classification, audience, owner, purpose and retention of occurrences, and of the documents they amount to.

For one occurrence: what the document states, else the first folder rule that matches, else the source's default.
For a document, which may stand in several places: the strictest class and the earliest end of retention, and for
rules every value that one of its places has, because each of them must be admitted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.classification_order import UNKNOWN, strictest_class
from datasets_pipeline.extract.stated import iso_date
from datasets_pipeline.sources.access import FolderRule, first_match, plain_words
from datasets_pipeline.sources.base import ACCESS_FACTS

VALUES_OF_PLACES = {
    "classification": "classifications",
    "audience": "audiences",
    "owner": "owners",
    "purpose": "purposes",
}
"""{fact: column with the list of values that a document's places have}, `unknown` for a place without one."""

RULE_COLUMNS = (*VALUES_OF_PLACES.values(), "retain_until")
"""What a rule may ask beside features."""


def plain_fact(name: str, stated: str | None) -> str | None:
    """A fact in the spelling that is compared and stored; None for blanks."""
    if stated is None:
        return None
    if name == "classification":
        return " ".join(stated.lower().split()) or None
    if name == "retain_until":
        return iso_date(stated) or stated.strip() or None
    return plain_words(stated) or None


def occurrence_facts(table: pa.Table, config: Any) -> dict[str, pa.ChunkedArray | pa.Array]:
    """The five facts of a source's occurrences, resolved; null where nothing is stated. config is a SourceConfig."""
    rules = _folder_rules(config.folders, table["uri"])
    return {name: _resolved(name, table[name], rules, getattr(config, name)) for name in ACCESS_FACTS}


def _folder_rules(folders: Sequence[FolderRule] | None, uris: pa.ChunkedArray) -> list[FolderRule | None] | None:
    if not folders:
        return None
    places = uris.to_pylist()
    known = {uri: first_match(folders, uri) for uri in set(places)}
    return [known[uri] for uri in places]


def _resolved(
    name: str, column: pa.ChunkedArray, rules: list[FolderRule | None] | None, default: str | None
) -> pa.ChunkedArray | pa.Array:
    if column.null_count < len(column):
        spelled = {value: plain_fact(name, value) for value in pc.unique(column).to_pylist()}
        column = pa.array([spelled[value] for value in column.to_pylist()], pa.string())
    if rules is not None:
        spelled = {rule: plain_fact(name, getattr(rule, name)) for rule in {rule for rule in rules if rule}}
        by_folder = pa.array([spelled[rule] if rule else None for rule in rules], pa.string())
        column = pc.coalesce(column, by_folder)
    if default is not None:
        column = pc.coalesce(column, pa.scalar(plain_fact(name, default), pa.string()))
    return column


def document_facts(
    occurrences: pa.Table, order: Sequence[bytes], ranks: Mapping[str, int]
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Columns of the documents, rows as in `order` (their ids): classification, retain_until, VALUES_OF_PLACES."""
    num = len(order)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    stated = [name for name in ACCESS_FACTS if occurrences[name].null_count < len(occurrences)]
    ids = occurrences["doc_id"].to_pylist() if stated else []
    for name, values_name in VALUES_OF_PLACES.items():
        if name not in stated:
            unknown = pa.repeat(pa.scalar(UNKNOWN, pa.string()), num)
            columns[values_name] = pa.ListArray.from_arrays(pa.array(range(num + 1), pa.int32()), unknown)
            if name == "classification":
                columns[name] = unknown
            continue
        values = _values_by_document(ids, occurrences[name], order)
        columns[values_name] = pa.array(values, pa.list_(pa.string()))
        if name == "classification":
            strictest = {key: strictest_class(key, ranks) for key in set(values)}
            columns[name] = pa.array([strictest[key] for key in values], pa.string())
    if "retain_until" in stated:
        ends = _values_by_document(ids, occurrences["retain_until"], order)
        columns["retain_until"] = pa.array([_earliest(days) for days in ends], pa.string())
    else:
        columns["retain_until"] = pa.nulls(num, pa.string())
    return columns


def _values_by_document(ids: Sequence[bytes], column: pa.ChunkedArray, order: Sequence[bytes]) -> list[tuple[str, ...]]:
    found: dict[bytes, set[str]] = {}
    for doc_id, value in zip(ids, column.to_pylist(), strict=True):
        found.setdefault(doc_id, set()).add(value or UNKNOWN)
    return [tuple(sorted(found[doc_id])) for doc_id in order]


def _earliest(days: Sequence[str]) -> str | None:
    """The earliest day; what is no day comes before all of them, because nobody knows when it was."""
    stated = [day for day in days if day != UNKNOWN]
    odd = [day for day in stated if iso_date(day) != day]
    return min(odd or stated, default=None)
