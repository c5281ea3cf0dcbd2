"""A copy of the store in a folder, taken while runs go on: the half of `ingot backup` that is about the store.

What is copied is decided by listings, in an order that makes the copy whole whatever is written meanwhile:

    1. features and spans        caches; an object made from failed rows has its mark from before it is there
    2. the ledger                cut at its head of this moment
    3. manifests                 a published record is written after its manifest, so none is missing
    4. every other record        checkpoints, tokens, evaluations, acquisitions: each written after what it names
    5. all the rest, and marks   so whatever a record of 2 to 4 names is there by now, and is listed

`backup.json` is written last and names every file with size and SHA-256: without it there is no backup, and a
killed one is taken up again by the same command. Objects are content-addressed, so a second backup into the
same folder copies only what is new. Costs one pass over what is new; the copy is read once more to hash it.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ingot import ledger, verify
from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, digest_of, sha256_file
from ingot.errors import BusyError, DataError, IntegrityError, NotFoundError
from ingot.storage import Store

INDEX = "backup.json"
STORE_FOLDER = "store"
DATABASES_FOLDER, ARTIFACTS_FOLDER, RUN_FOLDER = "databases", "mlflow-artifacts", "run"
FORMAT = 1
_AREAS = (STORE_FOLDER, DATABASES_FOLDER, ARTIFACTS_FOLDER, RUN_FOLDER)
"""Where files of a backup lie; beside them nothing is ever removed."""
_LOCK = ".ingot-backup.lock"
_MARKER = b"This folder is written by `ingot backup`; what its backup.json does not name is removed from it.\n"
"""Content of the lock file: without it, or a valid index, a folder that holds anything is somebody else's."""
_CACHES = ("features/", "spans/")
_MARK = ".failed.json"
# Named by the SHA-256 of their bytes.
_NAMED_BY_CONTENT = ("shards/", "decisions/")
# Written again under the same key: read each time. Everything else keeps its bytes for ever.
_CHANGING = ("checkpoints/", "tokenizers/", "reports/", "ledger/")
_NO_BACKUP = ("doctor/",)

Report = Callable[[str, int, int], None]


class BackupFile(BaseModel):
    """One file of a backup, by its path in the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    sha256: str

    @field_validator("name")
    @classmethod
    def _inside(cls, name: str) -> str:
        if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"{name!r} leads out of the folder")
        return name


class Index(BaseModel):
    """What `backup.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    time: str
    store: str
    """Where the store was."""
    ledger_head: str
    """`<sequence>:<sha256>` of the last ledger record in it; keep it elsewhere to prove that a backup is whole."""
    notes: tuple[str, ...] = ()
    """What is not in it, and what to do about it."""
    files: tuple[BackupFile, ...]
    digest: str = ""
    """SHA-256 over the other fields."""

    def own_digest(self) -> str:
        """What `digest` must be."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))


class Copied(BaseModel):
    """The store's half of a backup."""

    files: dict[str, BackupFile]
    ledger_head: str
    num_copied: int
    bytes_copied: int


def read_index(folder: Path) -> Index | None:
    """The index of a backup; None when the folder holds none. IntegrityError when a byte of it was changed."""
    try:
        data = (folder / INDEX).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        index = Index.model_validate_json(data)
    except ValidationError:
        index = None
    if index is None or index.digest != index.own_digest():
        raise IntegrityError(f"{folder / INDEX} is damaged; use another backup, or delete it and run `ingot backup`")
    return index


def write_index(folder: Path, index: Index) -> None:
    """Finish a backup; then remove from the folder what the store no longer holds (the index first: a kill in
    between leaves files nobody names, which the next backup removes)."""
    whole = index.model_copy(update={"digest": index.own_digest()})
    crashpoint("backup.index.before")
    Store(str(folder)).put_bytes(INDEX, canonical_json(whole.model_dump(mode="json")), overwrite=True)
    crashpoint("backup.index.after")
    named = {file.name for file in index.files}
    for area in _AREAS:
        for path in [*sorted((folder / area).rglob("*"), reverse=True), folder / area]:
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path != folder / area and path.relative_to(folder).as_posix() not in named:
                path.unlink()


@contextmanager
def opened(folder: Path) -> Iterator[Index | None]:
    """Hold the backup folder for as long as the block lasts; gives the index of the backup in it, None for none.

    Raises DataError for a folder that holds something else and is left as it is, BusyError when another backup is
    at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_ours(folder):
        raise DataError(f"{folder} holds other files than a backup; name an empty or absent folder")
    folder.chmod(0o700)  # raw documents and both servers' databases lie here
    with open(os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another `ingot backup` is at work in {folder}; try again when it is done") from None
        if lock.read().encode() != _MARKER:
            lock.seek(0)
            lock.truncate()
            lock.write(_MARKER.decode())
            lock.flush()
            os.fsync(lock.fileno())
        for unfinished in (folder / ".tmp", folder / STORE_FOLDER / ".tmp"):
            shutil.rmtree(unfinished, ignore_errors=True)
        yield read_index(folder)


def _is_ours(folder: Path) -> bool:
    """Whether a backup was begun here, or nothing is here (a kill can leave an empty lock file alone)."""
    if all(path.name == _LOCK for path in folder.iterdir()):
        return True
    try:
        if (folder / _LOCK).read_bytes() == _MARKER:
            return True
    except OSError:
        pass
    return read_index(folder) is not None


def copy_store(store: Store, folder: Path, previous: Index | None, report: Report) -> Copied:
    """Copy what is new in the store to `folder/store`.

    Raises IntegrityError when the store has lost or changed what the earlier backup or its own records name, and
    NotFoundError for an empty store, which is mostly a wrong one: the earlier backup is left as it is.
    """
    return _Copy(store, folder, previous, report).run()


def list_keys(store: Store) -> tuple[list[str], str]:
    """The keys to copy, and the ledger's head: what is there and what each record names (see the module)."""
    caches = [key for key in store.list("") if key.startswith(_CACHES) and not key.endswith(_MARK)]
    entries = ledger.read(store)
    head = f"{entries[-1].sequence}:{entries[-1].sha256}" if entries else "0:"
    chosen = [ledger.key_of(entry.sequence) for entry in entries]
    chosen += store.list("corpora/") + store.list("held/")
    seen = {*chosen, *caches}
    first = ("ledger/", "corpora/", "held/", *_CACHES, *_NO_BACKUP)
    records = [key for key in store.list("") if key.endswith(".json") and not key.startswith(first)]
    seen |= set(records)
    rest = [
        key
        for key in store.list("")
        if key not in seen
        and (key.endswith(_MARK) or not key.endswith(".json"))
        and (key.endswith(_MARK) or not key.startswith(first))
    ]
    finished = {key.rsplit("/", 1)[0] for key in records if key.endswith("/manifest.json")}
    # Files of a checkpoint without a manifest are an attempt that is going on or was killed: nothing yet.
    rest = [key for key in rest if not key.startswith("checkpoints/") or key.rsplit("/", 1)[0] in finished]
    return chosen + records + rest + caches, head


class _Copy:
    def __init__(self, store: Store, folder: Path, previous: Index | None, report: Report) -> None:
        self.store = store
        self.target = Store(str(folder / STORE_FOLDER))
        self.known = _store_files(previous) if previous else {}
        self.previous = previous
        self.report = report
        self.files: dict[str, BackupFile] = {}
        self.num_copied = self.bytes_copied = 0
        self.expected: dict[str, str] = {}
        """SHA-256 of the files of a checkpoint, as its manifest says."""

    def run(self) -> Copied:
        keys, head = list_keys(self.store)
        if not keys:
            raise NotFoundError(
                f"the store {self.store.root} is empty: there is nothing to back up; check INGOT_HOME and INGOT_STORE"
            )
        self._refuse_another_store(keys)
        changed = []
        for number, key in enumerate(keys, start=1):
            if self._is_done(key):
                self.files[key] = self.known[key]
            elif key in self.known:
                changed.append(key)  # last: until the new index is there, the old one names the old bytes
            else:
                self._copy(key)
            self.report("backup", number, len(keys))
        for key in changed:
            self._copy(key)
        self._check_complete()
        return Copied(files=self.files, ledger_head=head, num_copied=self.num_copied, bytes_copied=self.bytes_copied)

    def _refuse_another_store(self, keys: list[str]) -> None:
        """The ledger and the salt of a store never change: what differs is another store, or a damaged one."""
        listed = set(keys)
        for key in self.known:
            if (key.startswith(("ledger/", "corpora/")) or key == "store.json") and key not in listed:
                raise IntegrityError(
                    f"the store {self.store.root} has no {key}, which this backup holds; keep the backup, see "
                    "`ingot verify`, and name another folder for another store"
                )

    def _is_done(self, key: str) -> bool:
        found = self.known.get(key)
        if found is None or self.target.size(key) != found.size:
            return False
        if key.startswith("checkpoints/") and not key.endswith(".json"):
            return self._of_manifest(key) == found.sha256
        if key.startswith(_CHANGING) or key == "store.json":
            try:
                return self._sha256_now(key) == found.sha256
            except NotFoundError:
                return False
        # A cache made from failed rows may have been made again under its key.
        return not (key.startswith(_CACHES) and f"{key.removesuffix('.parquet')}{_MARK}" in self.known)

    def _sha256_now(self, key: str) -> str:
        with _local(self.store, key) as path:
            return sha256_file(path)

    def _of_manifest(self, key: str) -> str | None:
        folder = key.rsplit("/", 1)[0]
        if key not in self.expected:
            try:
                record = self.store.read_record(f"{folder}/manifest.json")
            except NotFoundError:
                return None
            self.expected |= {f"{folder}/{file['name']}": file["sha256"] for file in record["files"]}
        return self.expected.get(key)

    def _copy(self, key: str) -> None:
        old = self.known.get(key)
        try:
            with _local(self.store, key) as path:
                sha256 = sha256_file(path)
                self._refuse_rewritten(key, old, sha256)
                if not self._lies_there(key, path.stat().st_size, sha256):
                    crashpoint("backup.object.before", key)
                    self.target.put_file(key, path, overwrite=True)
                    crashpoint("backup.object.after", key)
                    self.num_copied += 1
                    self.bytes_copied += path.stat().st_size
        except NotFoundError:
            return  # retired while we copied; whether a record misses it is asked at the end
        copy = self.target.local_path(key)
        if sha256_file(copy) != sha256:
            raise IntegrityError(f"{copy} has other bytes than {key} in the store; check the disk and run again")
        self.files[key] = BackupFile(name=f"{STORE_FOLDER}/{key}", size=copy.stat().st_size, sha256=sha256)

    def _refuse_rewritten(self, key: str, old: BackupFile | None, sha256: str) -> None:
        if old is not None and old.sha256 != sha256 and (key.startswith("ledger/") or key == "store.json"):
            raise IntegrityError(
                f"{key} is not what this backup holds: the store was rewritten, or it is another one; keep the backup "
                "and name another folder"
            )
        wanted = self._of_manifest(key) if key.startswith("checkpoints/") and not key.endswith(".json") else None
        if key.startswith(_NAMED_BY_CONTENT):
            wanted = key.rsplit("/", 1)[1].partition(".")[0]
        if wanted is not None and wanted != sha256:
            raise IntegrityError(f"{key} has other bytes than recorded; see `ingot verify`, then back up again")

    def _lies_there(self, key: str, size: int, sha256: str) -> bool:
        """A killed backup left it: whole, because the last step of a put is the rename."""
        return self.target.size(key) == size and sha256_file(self.target.local_path(key)) == sha256

    def _check_complete(self) -> None:
        """Every object that a copied record names is in the copy; checkpoints retired meanwhile are left out whole."""
        view = _Listed(self.target, self.files)
        for key in verify.named_keys(view):
            if key in self.files:
                continue
            folder = key.rsplit("/", 1)[0]
            if not key.startswith("checkpoints/") or self.store.exists(f"{folder}/manifest.json"):
                raise IntegrityError(f"{key} is named by a record and is not in {self.store.root}; see `ingot verify`")
            for gone in [name for name in self.files if name.startswith(f"{folder}/")]:
                del self.files[gone]
        for entry in ledger.read(view):
            key = f"{entry.details.get('checkpoint_key')}/manifest.json"
            if entry.verb == "registered" and key not in self.files:
                raise IntegrityError(f"{key}, named by ledger record {entry.sequence}, is gone; see `ingot verify`")


class _Listed(Store):
    """A backup's copy of a store, without what earlier backups left beside it."""

    def __init__(self, target: Store, keys: Mapping[str, BackupFile]) -> None:
        super().__init__(target.root)
        self._keys = keys

    def list(self, prefix: str) -> list[str]:
        """The keys of this backup below a prefix."""
        return [key for key in super().list(prefix) if key in self._keys]


def _store_files(index: Index) -> dict[str, BackupFile]:
    start = f"{STORE_FOLDER}/"
    return {file.name.removeprefix(start): file for file in index.files if file.name.startswith(start)}


@contextmanager
def _local(store: Store, key: str) -> Iterator[Path]:
    """A local file with the object's bytes; a remote one is read anew and leaves nothing behind."""
    if store.is_local:
        yield store.local_path(key)
        return
    with store.scratch() as folder:
        yield store.with_scratch(folder).local_path(key)
