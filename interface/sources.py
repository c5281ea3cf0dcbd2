"""`ingot sources` and `ingot quarantine`: what was read from where, and what could not be, from the store alone."""

from argparse import Namespace
from collections import Counter
from dataclasses import asdict

from datasets_pipeline import looks
from datasets_pipeline.looks import Look
from datasets_pipeline.sources.base import REASONS
from ingot.errors import RecipeError
from ingot.storage import Store
from interface.context import open_settings, open_store
from interface.output import Printer


def sources(options: Namespace, printer: Printer) -> int:
    """`ingot sources`: every source with its counts and the time of its last success."""
    store = open_store(open_settings())
    found = looks.last_looks(store)
    documents = {look.source: looks.num_documents(store, look) for look in found}
    rows = [
        [look.source, look.kind, *(f"{num:,}" for num in _numbers(look, documents[look.source])), look.time]
        for look in found
    ]
    if rows:
        columns = [
            "source",
            "kind",
            "files",
            "documents",
            "quarantined",
            "parts refused",
            "passed over",
            "new",
            "changed",
            "gone",
            "last success (UTC)",
        ]
        printer.table(rows, columns)
    else:
        printer.line("no source was read yet; `ingot curate RECIPE` reads those of a recipe")
    printer.result({"sources": [{**asdict(look), "documents": documents[look.source]} for look in found]})
    return 0


def _numbers(look: Look, num_documents: int) -> list[int]:
    """Parts refused: rows, members and attachments of files that are read. Passed over: links, pipes and the like."""
    counts = look.counts
    passed = sum(num for name, num in counts.items() if name.startswith("skipped_"))
    rejected = counts.get("rejected_rows", 0)
    seen = [counts["seen"], num_documents, counts["quarantined"], rejected, passed]
    return [*seen, counts["new"], counts["superseded"], counts["gone"]]


def quarantine(options: Namespace, printer: Printer) -> int:
    """`ingot quarantine list | retry`: what is not read and why; `retry` has the next run read it again."""
    if options.reason is not None and options.reason not in REASONS:
        raise RecipeError(f"reason {options.reason!r} is unknown; known: {', '.join(sorted(REASONS))}")
    store = open_store(open_settings())
    chosen = [looks.last_look(store, options.source)] if options.source else looks.last_looks(store)
    return (
        _retry(store, chosen, options, printer) if options.what == "retry" else _list(store, chosen, options, printer)
    )


def _list(store: Store, chosen: list[Look], options: Namespace, printer: Printer) -> int:
    found = [row for look in chosen for row in looks.quarantined(store, look) if options.reason in (None, row.reason)]
    for row in found[: options.limit]:
        part = "" if row.whole_file else f" [{row.start:,} to {row.end:,}], the rest is read"
        told = row.detail.removeprefix(f"{row.uri}: ") or REASONS.get(row.reason, "")
        place = row.uri.replace("\n", "\\n")
        printer.line(f"{row.source}: {place}{part}\n    {row.reason}: {told}")
    if len(found) > options.limit:
        printer.line(f"... and {len(found) - options.limit:,} more; --limit shows them, --reason chooses")
    reasons = Counter(row.reason for row in found)
    for reason, num in reasons.most_common():
        printer.line(f"  {num:>8,}  {reason}: {REASONS.get(reason, '')}")
    if not found:
        printer.line("nothing is quarantined")
    rows = [asdict(row) for row in found[: options.limit]]
    printer.result({"quarantined": rows, "total": len(found), "reasons": dict(reasons)})
    return 0


def _retry(store: Store, chosen: list[Look], options: Namespace, printer: Printer) -> int:
    asked = {look.source: looks.ask_again(store, look, options.reason) for look in chosen}
    for source, num in asked.items():
        printer.line(f"{source}: {num:,} files are read again in the next run")
    printer.result({"retry": asked})
    return 0
