"""`ingot what-if`: what other rules would do to the newest version, from what is stored."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from ingot import manifest
from interface.context import open_settings, open_store
from interface.output import Printer, write_file
from interface.runs import open_order

_MANY = 15


def what_if(options: Namespace, printer: Printer) -> int:
    """`ingot what-if`."""
    from datasets_pipeline.insight import check_pictures, what_if_page
    from datasets_pipeline.insight import what_if as asking

    order = open_order(options)
    store = open_store(open_settings())
    name, found = manifest.read_named(store, options.corpus or order.recipe.corpus)
    answer = asking.what_if(store, order.recipe, name, found)
    for line in what_if_page.summary(answer):
        printer.line(line)
    printer.heading("Rules")
    printer.table(what_if_page.rule_rows(answer), what_if_page.RULE_HEADER)
    for group in ("source", "language"):
        rows = what_if_page.group_rows(answer, group)
        printer.heading(f"By {group}")
        printer.table(rows[:_MANY], [group, *what_if_page.GROUP_HEADER])
        if len(rows) > _MANY:
            printer.line(f"  ... and {len(rows) - _MANY} more")
    for title, key in (("Would go", "goes"), ("Would be let in", "comes")):
        if answer.examples[key]:
            printer.heading(f"{title}, for example")
            printer.table([[e["doc_id"], f"{e['source']}:{e['uri']}", f"{e['rule']}: {e['reason']}", e["score"]]
                           for e in answer.examples[key][:_MANY]])  # fmt: skip
    told = {}
    if options.html:
        path = Path(options.html).expanduser()
        write_file(path, what_if_page.what_if_page(answer).encode())
        printer.line(f"page written to {path}; open it in any browser, it needs no network")
        told["html"] = str(path)
    values = {key: value for key, value in asdict(answer).items() if key != "checks"}
    checks = {rule: [check_pictures.as_json(c) for c in of_rule] for rule, of_rule in answer.checks.items()}
    printer.result({**values, "needs_reading": answer.needs_reading, "checks": checks, **told})
    return 0
