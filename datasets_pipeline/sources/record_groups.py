"""Rows that belong together: repeated keys, and the groups that are one document.

The first row of a group, in the order the recipe asks for, states its facts. A row that may be used otherwise than the
first one is left out and told, because joining them would let one pass under the other's terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from datasets_pipeline.licence_order import strictest
from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument, Reject
from datasets_pipeline.sources.record_values import key_text, order_key

# What limits the use of a text; rows of one document must agree, because which is stricter is not known here.
_LIMITING = ("classification", "audience", "purpose")


@dataclass(frozen=True)
class Row:
    """One record with its range: bytes of the file, or row numbers."""

    start: int
    end: int
    record: Mapping[str, Any]


def without_clashes(
    drafts: list[tuple[ExtractedDocument, Row]], key: str, file: str, rejects: list[Reject]
) -> list[tuple[ExtractedDocument, Row]]:
    """The rows whose key is new, or repeated with the same text; the first of a key is the one that counts."""
    first: dict[str, ExtractedDocument] = {}
    kept: list[tuple[ExtractedDocument, Row]] = []
    for draft, row in drafts:
        name = key_text(row.record.get(key))
        if name is None:
            rejects.append(Reject(draft.start, draft.end, "bad_row", draft.uri, f"no key in column {key}"))
            continue
        before = first.setdefault(name, draft)
        if normalize_text(before.text) == normalize_text(draft.text):
            kept.append((draft, row))
        else:
            told = f"its key in column {key} stands at {before.start:,} already, with another text"
            rejects.append(Reject(draft.start, draft.end, "bad_row", draft.uri or file, told))
    return kept


def joined(
    drafts: list[tuple[ExtractedDocument, Row]], order_by: str | None, separator: str | None, rejects: list[Reject]
) -> list[ExtractedDocument]:
    """One document a group, in the order in which groups begin; separator None: an empty line."""
    groups: dict[str, list[tuple[ExtractedDocument, Row]]] = {}
    for draft, row in drafts:
        groups.setdefault(draft.uri or "", []).append((draft, row))
    between = "\n\n" if separator is None else separator
    return [_join(members, order_by, between, rejects) for members in groups.values()]


def _join(
    members: list[tuple[ExtractedDocument, Row]], order_by: str | None, separator: str, rejects: list[Reject]
) -> ExtractedDocument:
    if order_by:
        keys = order_key([row.record.get(order_by) for _, row in members])
        members = [member for _, member in sorted(zip(keys, members, strict=True), key=lambda pair: pair[0])]
    first = members[0][0]
    chosen: list[ExtractedDocument] = []
    for draft, _ in members:
        # None is a statement too: what the source or its folder says, which is looked up when a version is decided and
        # may be stricter than what the first row states.
        other = [f for f in _LIMITING if getattr(draft, f) != getattr(first, f)]
        other += ["licence"] if (draft.licence is None) != (first.licence is None) else []
        if other:
            told = f"its {' and '.join(other)} differs from its group's first row"
            rejects.append(Reject(draft.start, draft.end, "bad_row", draft.uri, told))
        elif not normalize_text(draft.text):
            rejects.append(Reject(draft.start, draft.end, "empty", draft.uri))
        else:
            chosen.append(draft)
    return _with_strictest_terms(
        replace(
            first,
            text=separator.join(normalize_text(draft.text) for draft in chosen),
            start=min(draft.start for draft in chosen or [first]),
            end=max(draft.end for draft in chosen or [first]),
            metadata={**first.metadata, "rows": len(chosen)},
        ),
        chosen,
    )


def _with_strictest_terms(document: ExtractedDocument, rows: list[ExtractedDocument]) -> ExtractedDocument:
    """Of several licences the strictest, of several last days the earliest."""
    licences = {row.licence: row.licence_evidence for row in rows if row.licence is not None}
    days = [row.retain_until for row in [document, *rows] if row.retain_until is not None]
    document = replace(document, retain_until=min(days, default=None))
    if not licences:
        return document
    worst = strictest([licence for licence in licences if licence is not None])
    return replace(document, licence=worst, licence_evidence=licences[worst])
