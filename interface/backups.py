"""`ingot backup | restore`: the store and both servers' databases in a folder, and a home made from it."""

from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ingot import backup as backups
from ingot import restore as restoring
from ingot import verify as verification
from ingot.errors import DataError
from ingot.settings import Settings
from ingot.storage import Store
from interface.context import open_settings, open_store
from interface.output import Printer, progress_bars


def backup(options: Namespace, printer: Printer) -> int:
    """`ingot backup`: copies what is new since the last backup into this folder."""
    from deployments import backup_databases

    settings = open_settings()
    store = open_store(settings)
    folder = Path(options.folder).expanduser().absolute()
    _refuse_places_inside(folder, settings)
    now = datetime.now(UTC)
    with backups.opened(folder) as previous, progress_bars(quiet=printer.as_json) as report:
        copied = backups.copy_store(store, folder, previous, report)
        files, notes = backup_databases.dump(settings, folder, previous, now, report)
        index = backups.Index(
            time=now.isoformat(timespec="seconds"),
            store=store.root,
            ledger_head=copied.ledger_head,
            notes=tuple(notes),
            files=(*copied.files.values(), *files),
        )
        backups.write_index(folder, index)
    total = sum(file.size for file in index.files)
    printer.line(
        f"backed up {len(copied.files):,} objects to {folder}: {copied.num_copied:,} new "
        f"({copied.bytes_copied:,} bytes); the whole backup has {total:,} bytes"
    )
    for note in notes:
        printer.line(f"note: {note}")
    printer.line(f"ledger head {index.ledger_head}; keep it elsewhere")
    printer.result(
        {
            "folder": str(folder), "objects": len(copied.files), "copied": copied.num_copied,
            "bytes_copied": copied.bytes_copied, "bytes": total, "ledger_head": index.ledger_head, "notes": notes,
        }
    )  # fmt: skip
    return 0


def _refuse_places_inside(folder: Path, settings: Settings) -> None:
    places = [settings.home] + ([Path(settings.store).absolute()] if "://" not in settings.store else [])
    for place in places:
        if folder.resolve().is_relative_to(place.resolve()):
            raise DataError(f"{folder} lies inside {place}; a backup belongs on another disk")
        if place.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{place} lies inside {folder}; name a folder of its own")


def restore(options: Namespace, printer: Printer) -> int:
    """`ingot restore`: fills an empty home and checks every byte of it."""
    from deployments import backup_databases

    given = open_settings()
    folder = Path(options.folder).expanduser().absolute()
    home = Path(options.into).expanduser().absolute()
    place = given.environ.get("INGOT_STORE") or str(home / "store")
    settings = replace(given, home=home, store=place)
    store = Store(place, scratch_root=settings.scratch)
    index = restoring.open_backup(folder)
    room = restoring.claim(home, store, index)
    with progress_bars(quiet=printer.as_json) as report:
        size = restoring.restore_store(folder, index, store, report)
        notes = [*index.notes, *backup_databases.load(settings, folder, index, report)]
        witness = index.ledger_head if not index.ledger_head.startswith("0:") else None
        result = verification.verify(store, witness=witness, on_progress=report)
    room.delete(restoring.MARKER)
    printer.line(
        f"restored the backup of {index.time} into {home}: {result.objects:,} objects, {size:,} bytes, "
        f"{result.ledger_records} ledger records, all verified"
    )
    for note in notes:
        printer.line(f"note: {note}")
    outside = "" if place == str(home / "store") else f"INGOT_STORE={place} "
    printer.line(f"use it with: INGOT_HOME={home} {outside}ingot up")
    printer.result(
        {
            "home": str(home), "store": store.root, "objects": result.objects, "bytes": size,
            "ledger_records": result.ledger_records, "ledger_head": index.ledger_head, "notes": notes,
        }
    )  # fmt: skip
    return 0
