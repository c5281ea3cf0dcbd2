"""One cluster with its texts and what differs in them: a page with text, for the store's reports/ alone (CONTRACTS 13).

The texts are those that a shard holds or would hold: after edits, so that what a recipe redacts is redacted here.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from datasets_pipeline.edits import apply_spans, merge_spans
from datasets_pipeline.insight.clusters import Member
from datasets_pipeline.insight.stored_features import open_rows, snapshots_of
from ingot.count_pictures import difference_html
from ingot.errors import NotFoundError
from ingot.lineage import decision_rows
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.pictures import html_page, preformatted_html, table_html
from ingot.storage import Store

MAX_COMPARED = 20
"""Members whose text is shown; those that are least like the representative are left out and counted."""
_MAX_CHARACTERS = 20_000


def cluster_page(store: Store, name: str, manifest: Manifest, members: Sequence[Member]) -> str:
    """The representative's text, and each member's with what it lacks struck through and what it has more marked."""
    shown = members[: MAX_COMPARED + 1]
    texts = edited_texts(store, name, manifest, [member.doc_id for member in shown])
    leader, *others = shown
    rows = [
        [f"{m.source}: {m.uri}", m.language, m.bytes, m.jaccard, m.reason or "kept", m.doc_id] for m in members[:200]
    ]
    table = table_html(["place", "language", "bytes", "Jaccard", "outcome", "id"], rows, digits=4)
    sections: list[tuple[str, str | list[str]]] = [
        ("Members", [table, f"{len(members)} documents; the first one is kept."]),
        (f"Kept: {leader.source}: {leader.uri}", preformatted_html(_bounded(texts[leader.doc_id]))),
    ]
    for member in others:
        heading = f"{member.source}: {member.uri} ({member.jaccard:.4f}, {member.reason})"
        sections.append((heading, difference_html(texts[leader.doc_id], texts[member.doc_id])))
    if len(members) > len(shown):
        sections.append(("And more", f"{len(members) - len(shown):,} members, less like the first, are not shown."))
    return html_page(f"Cluster of {leader.doc_id} in {name}", sections)


def edited_texts(store: Store, name: str, manifest: Manifest, doc_ids: Iterable[str]) -> dict[str, str]:
    """The text of documents after their edits, by id. NotFoundError when one is not in the store any more."""
    wanted = {bytes.fromhex(doc_id) for doc_id in doc_ids}
    values = pa.array(sorted(wanted), pa.binary(16))
    found: dict[bytes, str] = {}
    for snapshot in snapshots_of(name, manifest):
        for unit in open_rows(store, snapshot):
            if len(found) == len(wanted):
                break
            key = f"documents/{unit}.parquet"
            ids = read_table(store, key, columns=["doc_id"])["doc_id"]
            rows = pc.indices_nonzero(pc.is_in(ids, value_set=values))
            if len(rows):
                texts = read_table(store, key, columns=["text"])["text"].take(rows).to_pylist()
                found |= dict(zip(ids.take(rows).to_pylist(), texts, strict=True))
    missing = wanted - found.keys()
    if missing:
        raise NotFoundError(f"the text of document {min(missing).hex()} is not in the store any more")
    return {doc_id.hex(): _edited(store, manifest, doc_id, text) for doc_id, text in found.items()}


def _edited(store: Store, manifest: Manifest, doc_id: bytes, text: str) -> str:
    rows = decision_rows(store, manifest.identity, doc_id)
    return apply_spans(text, merge_spans([row["spans"] for row in rows if row["outcome"] == "edited"]))


def _bounded(text: str) -> str:
    hidden = len(text) - _MAX_CHARACTERS
    return text if hidden <= 0 else f"{text[:_MAX_CHARACTERS]} [… {hidden:,} more characters …]"
