"""`ingot clusters`: the near-duplicates of a corpus version, by cluster; and a cluster's report with text."""

import uuid
from argparse import Namespace
from dataclasses import asdict

from ingot import ledger, manifest
from ingot.digests import digest_of, sha256_hex
from ingot.errors import NotFoundError
from ingot.ledger import Actor
from interface.context import open_settings, open_store
from interface.output import Printer

_MANY = 50


def clusters(options: Namespace, printer: Printer) -> int:
    """`ingot clusters VERSION [ID]`."""
    from datasets_pipeline.insight.clusters import cluster_of, list_clusters

    store = open_store(open_settings())
    name, found = manifest.read_named(store, options.corpus)
    if options.id:
        members = cluster_of(store, found.identity, options.id)
        printer.line(f"{len(members):,} documents in {name}; the first one is kept")
        rows = [[m.doc_id, f"{m.source}:{m.uri}", m.language, m.bytes, m.jaccard, m.reason or "kept"]
                for m in members[:_MANY]]  # fmt: skip
        printer.table(rows, ["id", "place", "language", "bytes", "Jaccard", "outcome"])
        if len(members) > _MANY:
            printer.line(f"  ... and {len(members) - _MANY} more")
        printer.line(f"with text: ingot report {name} --cluster {members[0].doc_id} --with-text")
        printer.result({"corpus": name, "members": [asdict(member) for member in members]})
        return 0
    known = sorted(found.identity.statistics.get("source", {}))
    if options.source and options.source not in known:
        raise NotFoundError(f"{name} has no source {options.source!r}; its sources: {', '.join(known)}")
    answer = list_clusters(store, found.identity, most=options.limit, source=options.source)
    where = f" with a member in {options.source}" if options.source else ""
    printer.line(
        f"{answer.num_clusters:,} clusters in {name}{where}; {answer.num_dropped:,} documents were dropped in favour "
        "of one that is like them"
    )
    rows = [
        [c.representative.doc_id, c.size, c.min_jaccard, c.mean_jaccard,
         ", ".join(f"{source} {num}" for source, num in c.sources.items()),
         f"{c.representative.source}:{c.representative.uri}"]
        for c in answer.largest
    ]  # fmt: skip
    printer.table(rows, ["kept", "size", "least alike", "mean", "sources", "place of the kept one"])
    if answer.num_clusters > len(answer.largest):
        printer.line(f"  ... and {answer.num_clusters - len(answer.largest):,} smaller ones")
    if answer.largest:
        printer.line(f"one of them: ingot clusters {name} {answer.largest[0].representative.doc_id}")
    printer.result({"corpus": name, **asdict(answer)})
    return 0


def cluster_report(options: Namespace, printer: Printer) -> int:
    """`ingot report VERSION --cluster ID --with-text`: written to the store's reports/; that it was is recorded."""
    from datasets_pipeline.insight.cluster_report import cluster_page
    from datasets_pipeline.insight.clusters import cluster_of

    settings = open_settings()
    store = open_store(settings)
    name, found = manifest.read_named(store, options.model)
    members = cluster_of(store, found.identity, options.cluster)
    page = cluster_page(store, name, found, members).encode()
    key = f"reports/cluster-{digest_of([found.identity_digest, members[0].doc_id])[:32]}.html"
    # The record first: a text that was shown and not recorded would be worse than the other way round.
    ledger.append(
        store, actor=Actor.current(settings.environ), verb="read_text", subject=name,
        subject_digest=found.identity_digest, evidence={"report": sha256_hex(page)}, attempt=uuid.uuid4().hex,
        details={"cluster": members[0].doc_id},
    )  # fmt: skip
    store.put_bytes(key, page, overwrite=True)
    path = store.local_path(key)
    printer.line(str(path))
    printer.result({"path": str(path)})
    return 0
