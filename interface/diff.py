"""`ingot diff`: what differs between two corpus versions, and why."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from ingot import manifest
from interface.context import open_settings, open_store
from interface.output import Printer, write_file

_MANY = 15


def diff(options: Namespace, printer: Printer) -> int:
    """`ingot diff`."""
    from datasets_pipeline.insight import diff as comparing
    from datasets_pipeline.insight import diff_page

    store = open_store(open_settings())
    first, second = (manifest.read_named(store, name) for name in (options.first, options.second))
    answer = comparing.diff(store, first, second, max_examples=options.limit)
    for line in diff_page.summary(answer):
        printer.line(line)
    printer.table(diff_page.total_rows(answer), diff_page.TOTALS_HEADER)
    if answer.came or answer.went:
        printer.heading("Why")
        printer.table(diff_page.why_rows(answer), ["", "why", "documents"])
    changes = diff_page.change_rows(answer)
    if changes:
        printer.heading("What was changed")
        printer.table(changes[:_MANY], ["", answer.first, answer.second])
        if len(changes) > _MANY:
            printer.line(f"  ... and {len(changes) - _MANY} more")
    if answer.rules:
        printer.heading("Drops by rule")
        printer.table(diff_page.rule_rows(answer), ["rule: reason", *diff_page.TOTALS_HEADER[1:]])
    for group in ("source", "language"):
        moved = [row for row in diff_page.group_rows(answer, group) if row[2] or row[3]]
        if moved:
            printer.heading(f"By {group}")
            printer.table(moved[:_MANY], [group, *diff_page.GROUP_HEADER])
    if answer.examples:
        printer.heading("For example")
        printer.table([[e["what"], e["doc_id"], f"{e['source']}:{e['uri']}", e["why"]] for e in answer.examples])
    told = {}
    if options.html:
        path = Path(options.html).expanduser()
        write_file(path, diff_page.diff_page(answer).encode())
        printer.line(f"page written to {path}; open it in any browser, it needs no network")
        told["html"] = str(path)
    printer.result({**asdict(answer), **told})
    return 0
