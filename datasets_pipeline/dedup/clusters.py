"""Clusters of near-duplicates, and which of their members is kept.

A cluster is a connected component of verified edges. Its representative is the first of its members in
a total order that depends on the documents alone: source rank, stated date (newest first, where the
recipe says so), quality, length, doc_id. Two policies come before the order: a translation is not a
duplicate of its original, and an older version of a page is never kept beside a newer one.

In this module documents are numbered in ascending order of doc_id: 0 is the smallest.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.dedup.versions import version_ranks
from ingot.errors import DataError

#: What the order and the policies know of a document; rows in the caller's order of documents.
ORDER_SCHEMA = pa.schema(
    [
        pa.field("source_rank", pa.int64(), nullable=False),  # smaller is preferred
        pa.field("stated_date", pa.string()),  # ISO 8601, null when the source states none
        pa.field("family", pa.string()),  # the page across versions and languages; its source in the name
        pa.field("version", pa.string()),  # as the publisher writes it
        pa.field("language", pa.string()),  # ISO 639-1; null or "und" when unknown
        pa.field("quality", pa.float64()),  # larger is better; null is worst
        pa.field("length", pa.int64(), nullable=False),  # bytes of text; longer is preferred
    ]
)

KEPT, NEAR_DUPLICATE, OLDER_VERSION, DUPLICATE_AFTER_EDIT = 0, 1, 2, 3
#: Reason strings by code; a kept document has none.
REASONS = (None, "near_duplicate", "older_version", "duplicate_after_edit")


@dataclass(frozen=True)
class OrderColumns:
    """ORDER_SCHEMA as comparable numbers; int64 [n] unless said otherwise. -1 means unknown."""

    preference: np.ndarray  # 0 is the document that everything else would yield to; all different
    family: np.ndarray
    language: np.ndarray
    version: np.ndarray  # larger is newer

    def take(self, rows: np.ndarray) -> "OrderColumns":
        return OrderColumns(self.preference[rows], self.family[rows], self.language[rows], self.version[rows])


@dataclass(frozen=True)
class Choice:
    """Who yields to whom.

    representative int64 [n]: the document itself when kept, -1 when not eligible; reason int8 [n]: REASONS.
    """

    representative: np.ndarray
    reason: np.ndarray


def connected_components(num_documents: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int32 [n]: the smallest document of each document's component; a document alone is its own."""
    from datasets_pipeline.dedup import number_kernels

    parent = np.arange(num_documents, dtype=np.int32)
    number_kernels.join_roots(parent, left.astype(np.int64), right.astype(np.int64))
    return parent


def order_columns(order: pa.Table, *, prefer_newest: bool) -> OrderColumns:
    """Read a table of ORDER_SCHEMA (further columns are ignored), rows in ascending order of doc_id.

    Raises DataError when a column is missing or cannot be read as its type.
    """
    missing = [name for name in ORDER_SCHEMA.names if name not in order.column_names]
    if missing:
        raise DataError(f"dedup: the order table lacks {', '.join(missing)}; it needs {ORDER_SCHEMA.names}")
    try:
        order = order.select(ORDER_SCHEMA.names).cast(ORDER_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"dedup: the order table does not fit its schema: {error}; see ORDER_SCHEMA") from error
    quality = pc.fill_null(order["quality"], -np.inf).to_numpy()
    quality = np.where(np.isnan(quality), -np.inf, quality)
    date = _sorted_codes(order["stated_date"]) if prefer_newest else np.zeros(len(order), dtype=np.int64)
    best_first = np.lexsort(
        (np.arange(len(order)), -order["length"].to_numpy(), -quality, -date, order["source_rank"].to_numpy())
    )
    preference = np.empty(len(order), dtype=np.int64)
    preference[best_first] = np.arange(len(order))
    language = pc.if_else(pc.equal(order["language"], "und"), None, order["language"])
    return OrderColumns(
        preference=preference,
        family=_sorted_codes(order["family"]),
        language=_sorted_codes(language),
        version=_version_codes(order["version"]),
    )


def choose(
    cluster: np.ndarray,
    columns: OrderColumns,
    eligible: np.ndarray,
    *,
    keep_translations: bool,
    newest_version_only: bool,
) -> Choice:
    """Pick the representatives of all clusters at once; the one of a dropped document is always kept.

    With keep_translations, members of the representative's family in another language choose one of
    their own for each language. With newest_version_only, a document with a newer version (same family
    and language, whatever their similarity) is dropped first and yields to that version's representative.
    """
    num = len(cluster)
    representative = np.full(num, -1, dtype=np.int64)
    reason = np.full(num, KEPT, dtype=np.int8)
    newest = _newest_version(columns, eligible) if newest_version_only else np.arange(num)
    is_older = newest != np.arange(num)
    members = np.flatnonzero(eligible & ~is_older)
    first = _first_of_group(cluster[members], columns.preference[members])
    leader = members[first]
    language = columns.language[members]
    if keep_translations:
        known = (columns.family[members] >= 0) & (language >= 0) & (columns.language[leader] >= 0)
        same_page = known & (columns.family[members] == columns.family[leader])
        group = np.where(same_page & (language != columns.language[leader]), language, -1)
    else:
        group = np.full(len(members), -1, dtype=np.int64)
    part = _group_numbers(cluster[members], group)
    representative[members] = members[_first_of_group(part, columns.preference[members])]
    reason[members[representative[members] != members]] = NEAR_DUPLICATE
    older = np.flatnonzero(is_older)
    representative[older] = representative[newest[older]]
    reason[older] = OLDER_VERSION
    return Choice(representative, reason)


def _newest_version(columns: OrderColumns, eligible: np.ndarray) -> np.ndarray:
    """int64 [n]: the preferred document of the newest version of the same page and language, or itself."""
    newest = np.arange(len(eligible), dtype=np.int64)
    rows = np.flatnonzero(eligible & (columns.family >= 0) & (columns.version >= 0))
    page = _group_numbers(columns.family[rows], columns.language[rows])
    # The position in (newest version, preference): the first of a page is its newest.
    position = np.empty(len(rows), dtype=np.int64)
    position[np.lexsort((columns.preference[rows], -columns.version[rows]))] = np.arange(len(rows))
    best = rows[_first_of_group(page, position)]
    is_older = columns.version[rows] < columns.version[best]
    newest[rows[is_older]] = best[is_older]
    return newest


def _first_of_group(group: np.ndarray, position: np.ndarray) -> np.ndarray:
    """int64 [m]: for each row, the row of its group with the smallest position."""
    if len(group) == 0:
        return np.empty(0, dtype=np.int64)
    order = np.lexsort((position, group))
    opens = np.ones(len(group), dtype=bool)
    opens[1:] = group[order][1:] != group[order][:-1]
    first = np.empty(len(group), dtype=np.int64)
    first[order] = order[np.flatnonzero(opens)[np.cumsum(opens) - 1]]
    return first


def _group_numbers(major: np.ndarray, minor: np.ndarray) -> np.ndarray:
    """int64 [m]: equal exactly where both values are equal; minor is -1 or more."""
    width = int(minor.max(initial=-1)) + 2
    return major.astype(np.int64) * width + minor + 1


def _sorted_codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: position of each value among the sorted distinct values; -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    rank = {value: position for position, value in enumerate(sorted(values))}
    codes = np.array([rank[value] for value in values] + [-1], dtype=np.int64)
    return codes[pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)]


def _version_codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: larger for newer versions; -1 where unknown or not comparable."""
    encoded = column.combine_chunks().dictionary_encode()
    ranks = version_ranks([*encoded.dictionary.to_pylist(), None])
    indices = pc.fill_null(encoded.indices, len(encoded.dictionary))
    return ranks[indices.to_numpy(zero_copy_only=False)]
