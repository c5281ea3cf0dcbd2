"""`ingot doctor storage [URL]`: what a place can do, what follows from what it cannot, and whether Ingot uses it."""

from argparse import Namespace

from ingot.errors import StorageError
from ingot.store_probe import Diagnosis, probe, summary
from interface.context import open_settings
from interface.output import Printer


def doctor_storage(options: Namespace, printer: Printer) -> int:
    """Print every power of a place; exit code 75 when it may not hold a store."""
    found = probe(options.url or open_settings().store)
    printer.line(f"store {found.root}")
    for item in found.probes:
        follows = f"; {item.follows}" if item.follows and not item.ok else ""
        printer.line(f"  {item.mark:<4}  {item.name}: {item.found}{follows}")
    printer.line()
    printer.line(_verdict(found))
    printer.result(
        {
            "store": found.root,
            "mode": found.mode,
            "reason": summary(found.refusals),
            "probes": [
                {"name": item.name, "ok": item.ok, "needed": item.needed, "mark": item.mark, "found": item.found,
                 "follows": "" if item.ok else item.follows}
                for item in found.probes
            ],
        }
    )  # fmt: skip
    return 0 if found.mode == "many_writers" else StorageError.exit_code


def _verdict(found: Diagnosis) -> str:
    if found.mode == "many_writers":
        notes = any(probe.mark == "note" for probe in found.probes)
        return f"fit for a store with many writers{'; see the notes above' if notes else ''}"
    return (
        f"refused: {summary(found.refusals)}. There is no mode for a single writer, because nothing could tell a "
        "second one from the first; use another service or a local folder. Documents can be read from here as a source"
    )
