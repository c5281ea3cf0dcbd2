"""`ingot gc | scrub`: what nothing names any more, and what has other bytes than were written."""

from argparse import Namespace
from dataclasses import asdict

from ingot.errors import IntegrityError, RecipeError
from ingot.garbage import Collected, collect, find_garbage
from ingot.ledger import Actor
from ingot.scrub import Scrubbed
from ingot.scrub import scrub as scrub_store
from interface.context import open_settings, open_store
from interface.output import Printer, progress_bars


def gc(options: Namespace, printer: Printer) -> int:
    """`ingot gc`: removes what nothing names and nobody touched for 48 hours."""
    store = open_store(open_settings())
    garbage = find_garbage(store)
    areas = garbage.by_area()
    printer.table([[area, count, size] for area, (count, size) in areas.items()], ("what", "objects", "bytes"))
    done = Collected(0, 0, 0, 0) if options.dry_run else collect(store, garbage, actor=Actor.current())
    number = len(garbage.objects) + len(garbage.uploads)
    young = f"; {garbage.num_young:,} unnamed objects are younger than 48 hours" if garbage.num_young else ""
    if options.dry_run:
        printer.line(f"{number:,} would be removed ({garbage.bytes:,} bytes){young}")
    else:
        kept = f"; {done.num_kept:,} were used again meanwhile and stay" if done.num_kept else ""
        printer.line(f"{done.objects + done.uploads:,} removed ({done.bytes:,} bytes){young}{kept}")
    printer.result(
        {
            "dry_run": options.dry_run,
            "areas": {area: {"objects": count, "bytes": size} for area, (count, size) in areas.items()},
            "keys": [found.key for found in garbage.objects],
            "uploads": [upload.key for upload in garbage.uploads],
            "bytes": garbage.bytes,
            "young": garbage.num_young,
            "removed": asdict(done),
        }
    )
    return 0


def scrub(options: Namespace, printer: Printer) -> int:
    """`ingot scrub`: exit code 5 and every damaged object, who needs it, and what to do."""
    if not 0 < options.sample <= 1:
        raise RecipeError(f"--sample {options.sample} is not a share of the objects; give more than 0, at most 1")
    store = open_store(open_settings())
    with progress_bars(quiet=printer.as_json) as report:
        found = scrub_store(
            store, actor=Actor.current(), share=options.sample, is_touching=not options.dry_run, on_progress=report
        )
    for damage in found.damages:
        printer.line(f"DAMAGED  {damage.key} {damage.problem}")
        for what, names in (("versions", damage.versions), ("models", damage.models)):
            if names:
                printer.line(f"         {what} that need it: {', '.join(names)}")
        printer.line(f"         {damage.done}; {damage.remedy}")
    printer.line(_summary(found))
    printer.result(
        {
            "objects": found.objects,
            "named": found.num_named,
            "bytes": found.bytes,
            "damages": [asdict(damage) for damage in found.damages],
        }
    )
    return IntegrityError.exit_code if found.damages else 0


def _summary(found: Scrubbed) -> str:
    sample = f" of {found.num_named:,}" if found.objects < found.num_named else ""
    return f"{found.objects:,}{sample} objects read ({found.bytes:,} bytes), {len(found.damages):,} damaged"
