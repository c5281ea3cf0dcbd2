"""The store: the one module that writes, reads and deletes durable files (CONTRACTS 8 and 9).

Objects go to a scratch file first and are put once, straight to their final key; a key that is
present with the same size is done. Only manifests and ledger records use put-if-absent, so that of
two writers exactly one wins. A local store writes, fsyncs, links or renames and fsyncs the folder;
an S3 store (`ingot.storage_s3`) uses single puts, with `If-None-Match: *` for put-if-absent.
"""

import copy
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, digest_of, sha256_hex
from ingot.disk_space import is_full, told_when_full
from ingot.errors import IntegrityError, NotFoundError, RecipeError, StorageError
from ingot.storage_local import LocalObjects
from ingot.storage_s3 import S3Objects
from ingot.stored import Found, Upload

RENEWED_AFTER = timedelta(hours=1)
"""An object that is found instead of written is renewed when it is older, so that housekeeping takes it for young."""

_TEMPORARY = ".tmp/"
# What put_if_absent adds to a record.
ENVELOPE = ("writer", "attempt", "record_sha256")


class Store:
    """Objects under one root, a local folder or `s3://bucket/prefix`.

    Keys are relative posix paths. Absolute keys and `..` are refused.
    """

    def __init__(self, root: str, *, scratch_root: Path | None = None) -> None:
        root = root.removeprefix("file://")
        self.is_local = "://" not in root
        if not self.is_local and not root.startswith("s3://"):
            raise RecipeError(
                f"a store at {root.partition('://')[0]}:// is not known; give a local path or s3://bucket/prefix"
            )
        self.root = root.rstrip("/") or "/"
        self._scratch_root = scratch_root or Path(tempfile.gettempdir())
        # Written into every put-if-absent record, so that a writer whose reply was lost knows its own.
        self._writer = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._backend: LocalObjects | S3Objects = LocalObjects(Path(root)) if self.is_local else S3Objects(root)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_open_store, (self.root, str(self._scratch_root)))

    # -- writing -----------------------------------------------------------------------------

    def put_bytes(self, key: str, data: bytes, *, overwrite: bool = False) -> None:
        """Put bytes under a content key; present with the same size means done."""
        _check_key(key)
        if not overwrite and self._is_done(key, len(data)):
            return
        self._backend.put(key, data)

    def put_file(self, key: str, path: Path, *, overwrite: bool = False) -> None:
        """Put a finished local file under a content key; present with the same size means done."""
        _check_key(key)
        if not overwrite and self._is_done(key, path.stat().st_size):
            return
        self._backend.put_file(key, path)

    def _is_done(self, key: str, num_bytes: int) -> bool:
        found = self._backend.stat(key)
        if found is None or found.bytes != num_bytes:
            return False
        return self._renewed(found)

    def _renewed(self, found: Found) -> bool:
        """Whether an object is as good as written now: housekeeping leaves young ones alone (CONTRACTS 9)."""
        if datetime.now(UTC) - found.modified > RENEWED_AFTER:
            try:
                self._backend.renew(found.key)
            except NotFoundError:
                return False
        return True

    def reuse(self, key: str, num_bytes: int | None = None) -> bool:
        """Whether an object is there, with this size when one is given, and may be named by a new record.

        Before it is named nobody may know of it, so its age begins anew: `ingot gc` takes only old ones.
        """
        _check_key(key)
        found = self._backend.stat(key)
        return found is not None and num_bytes in (None, found.bytes) and self._renewed(found)

    def put_if_absent(self, key: str, record: dict[str, Any]) -> bool:
        """Put a JSON record under a key nobody has taken; True when this writer holds the key.

        The record gets `writer`, `attempt` and `record_sha256` (of all the rest and the key, so that a
        record moved to another key is found). When the key is taken, or the reply was lost, it is read
        back: our own attempt means that we had won.
        """
        _check_key(key)
        attempt = uuid.uuid4().hex
        signed = {**record, "writer": self._writer, "attempt": attempt}
        body = canonical_json({**signed, "record_sha256": _record_sha256(key, signed)})
        crashpoint("store.put_if_absent.before", key)
        try:
            won = self._backend.put_if_absent(key, body) or self._holds(key, attempt)
        except StorageError:
            if self.is_local or not self._holds(key, attempt):
                raise
            won = True
        crashpoint("store.put_if_absent.after", key)
        return won

    def _holds(self, key: str, attempt: str) -> bool:
        try:
            record = self.read_json(key)
        except NotFoundError:
            return False
        return isinstance(record, dict) and record.get("attempt") == attempt

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is fine."""
        _check_key(key)
        self._backend.delete(key)

    def delete_folder(self, prefix: str) -> None:
        """Remove every object below a prefix, and this machine's copies of those that a run keeps in `.tmp/`."""
        _check_key(prefix)
        for found in list(self._backend.find(prefix)):
            self._backend.delete(found.key)
        if isinstance(self._backend, LocalObjects):
            shutil.rmtree(self._backend.path(prefix), ignore_errors=True)
        elif prefix.startswith(_TEMPORARY):
            shutil.rmtree(self._copies_of(prefix), ignore_errors=True)

    def delete_if_untouched(self, key: str, since: datetime) -> bool:
        """Remove an object unless somebody has written or renewed it since then; whether it was removed."""
        _check_key(key)
        return self._backend.delete_if_untouched(key, since)

    def abort_upload(self, upload: Upload) -> None:
        """Take back the parts of a multipart upload that nobody will end."""
        self._backend.abort_upload(upload)

    # -- reading -----------------------------------------------------------------------------

    def read_bytes(self, key: str) -> bytes:
        """The object's bytes; NotFoundError when there is none."""
        _check_key(key)
        return self._backend.read(key)

    def read_json(self, key: str) -> Any:
        """The object parsed as JSON; IntegrityError when it is not JSON."""
        data = self.read_bytes(key)
        try:
            return json.loads(data)
        except ValueError:
            raise IntegrityError(
                f"{key} is not JSON ({len(data)} bytes); restore it from a backup, then run `ingot verify`"
            ) from None

    def read_record(self, key: str) -> dict[str, Any]:
        """A record that `put_if_absent` wrote here; IntegrityError when a byte of it was changed."""
        data = self.read_bytes(key)
        try:
            record = json.loads(data)
            intact = (
                isinstance(record, dict)
                and canonical_json(record) == data
                and record.get("record_sha256") == _record_sha256(key, record)
            )
        except (ValueError, RecursionError):
            # Damaged JSON, or values that JSON cannot spell: NaN, half of a surrogate pair.
            intact = False
        if not intact:
            raise IntegrityError(f"{key} was changed after it was written; restore it from a backup")
        return {name: value for name, value in record.items() if name not in ENVELOPE}

    def local_path(self, key: str) -> Path:
        """A local file with the object's bytes, for memory mapping; a remote object is cached first."""
        _check_key(key)
        if isinstance(self._backend, LocalObjects):
            path = self._backend.path(key)
            if not path.is_file():
                raise NotFoundError(f"{key} is not in the store {self.root}")
            return path
        found = self._backend.stat(key)
        if found is None:
            raise NotFoundError(f"{key} is not in the store {self.root}")
        size = found.bytes
        # The tag: some keys are written again with other bytes of the same size (checkpoints after a kill).
        cached = self._copies_of(key) / sha256_hex(f"{self.root}/{key}:{size}:{found.tag}".encode())
        if not cached.is_file() or cached.stat().st_size != size:
            partial = cached.with_suffix(f".{uuid.uuid4().hex}")
            with told_when_full(self._scratch_root, key, size):
                try:
                    self._backend.download(key, partial)
                    if partial.stat().st_size != size:
                        raise StorageError(f"{key} changed or was cut while it was read ({size:,} bytes); run again")
                    os.replace(partial, cached)
                finally:
                    partial.unlink(missing_ok=True)
        return cached

    def _copies_of(self, key: str) -> Path:
        """Where copies of an object lie: for one that a run keeps in `.tmp/`, a folder that goes with the run's."""
        folder = self._cache_folder()
        if key.startswith(_TEMPORARY):
            name = "/".join(key.split("/", 2)[:2])
            folder = folder / f"tmp-{sha256_hex(f'{self.root}/{name}'.encode())[:32]}"
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _cache_folder(self) -> Path:
        """Copies of remote objects: ours alone, because they may hold personal data and are read as truth."""
        folder = self._scratch_root / f"objects-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise StorageError(f"{folder} is open to others; remove it, or set INGOT_HOME to a folder of your own")
        return folder

    def size(self, key: str) -> int | None:
        """The object's size in bytes; None when there is no such object."""
        _check_key(key)
        return self._backend.size(key)

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key."""
        return self.size(key) is not None

    def list(self, prefix: str) -> list[str]:
        """All keys below a prefix that ends with '/', sorted. For housekeeping; readers use manifests."""
        return sorted(self._backend.list(prefix.rstrip("/")))

    def find(self, prefix: str = "") -> Iterator[Found]:
        """Every object below a prefix with its age, `.tmp/` included. For housekeeping."""
        return self._backend.find(prefix.rstrip("/"))

    def uploads(self) -> Iterator[Upload]:
        """Multipart uploads that nobody has ended. For housekeeping."""
        return self._backend.list_uploads()

    def now(self) -> datetime:
        """The clock by which the objects of this store are dated."""
        return self._backend.now()

    @contextmanager
    def scratch(self, what: str = "scratch", num_bytes: int | None = None) -> Iterator[Path]:
        """A private folder on local disk, removed afterwards; StorageError when its disk is full.

        what is being made there and the bytes it takes at most are for that error; None when not known.
        """
        with told_when_full(self._scratch_root, what, num_bytes):
            folder = self._make_scratch()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _make_scratch(self) -> Path:
        try:
            self._scratch_root.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="ingot-", dir=self._scratch_root))
        except OSError as error:
            if is_full(error):
                raise
            raise StorageError(
                f"no scratch folder can be made in {self._scratch_root}: {error.strerror}; check its permissions, or "
                "set INGOT_HOME to another place"
            ) from error

    def with_scratch(self, folder: Path) -> "Store":
        """The same store with another scratch folder, and so without copies of remote objects."""
        other = copy.copy(self)
        other._scratch_root = folder
        return other


def _open_store(root: str, scratch_root: str) -> Store:
    return Store(root, scratch_root=Path(scratch_root))


def _record_sha256(key: str, record: dict[str, Any]) -> str:
    body = {name: value for name, value in record.items() if name != "record_sha256"}
    return digest_of({"key": key, "record": body})


def _check_key(key: str) -> None:
    parts = key.split("/")
    if not key or key.startswith("/") or "\\" in key or "\0" in key or any(p in ("", ".", "..") for p in parts):
        raise RecipeError(f"store key {key!r} is not a plain relative path; use names without '..', '//' or '\\'")
