"""A store from a backup: the half of `ingot restore` that is about the store.

Every file is compared with its digest in `backup.json` before it is put; records come after what they name and
the ledger last, so a restore that was killed is no store that looks whole. The same command takes it up again.
"""

from collections.abc import Callable
from pathlib import Path

from ingot.backup import INDEX, STORE_FOLDER, BackupFile, Index, read_index
from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, sha256_file
from ingot.errors import DataError, IntegrityError, NotFoundError
from ingot.storage import Store

MARKER = "restore.json"
"""In a home that is being filled: which backup, and into which store."""


def open_backup(folder: Path) -> Index:
    """The index of a finished backup; NotFoundError for a folder without one."""
    index = read_index(folder)
    if index is None:
        raise NotFoundError(
            f"{folder} holds no finished backup ({INDEX} is missing); run `ingot backup` again, or name its folder"
        )
    return index


def claim(home: Path, store: Store, index: Index) -> Store:
    """Make an empty home, or take up the restore of this very backup that was stopped in it; gives the home's store.

    Raises DataError when home or store hold something else: nothing is ever written over.
    """
    wanted = {"backup": index.digest, "store": store.root}
    room = Store(str(home))
    if home.exists() and any(home.iterdir()):
        if not room.exists(MARKER) or room.read_json(MARKER) != wanted:
            raise DataError(f"{home} is not empty; name an absent or empty folder after --into")
        return room
    if store.list(""):
        raise DataError(f"the store {store.root} is not empty; empty it, or set INGOT_STORE to another place")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    room.put_bytes(MARKER, canonical_json(wanted))
    return room


def checked(folder: Path, file: BackupFile) -> Path:
    """A file of the backup, when it is what the index says; IntegrityError naming it otherwise."""
    path = folder / file.name
    if not path.is_file() or path.is_symlink():
        raise IntegrityError(f"{path} is missing from the backup; use another backup")
    if path.stat().st_size != file.size or sha256_file(path) != file.sha256:
        raise IntegrityError(f"{path} has other bytes than {INDEX} says; use another backup")
    return path


def restore_store(folder: Path, index: Index, store: Store, report: Callable[[str, int, int], None]) -> int:
    """Put every object of the backup into the store; returns their bytes."""
    start = f"{STORE_FOLDER}/"
    files = sorted((file for file in index.files if file.name.startswith(start)), key=_order)
    for number, file in enumerate(files, start=1):
        key = file.name.removeprefix(start)
        path = checked(folder, file)
        if store.size(key) != file.size:  # there when the restore was stopped; `verify` reads every byte again
            crashpoint("restore.object.before", key)
            store.put_file(key, path)
        report("restore", number, len(files))
    return sum(file.size for file in files)


def _order(file: BackupFile) -> tuple[int, str]:
    area = file.name.removeprefix(f"{STORE_FOLDER}/").split("/")[0]
    last = {"corpora": 2, "held": 2, "ledger": 3}
    return last.get(area, 1 if file.name.endswith(".json") else 0), file.name
