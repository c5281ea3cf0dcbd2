"""The local side of the store: write beside, flush, then link or rename, and flush the folder.

No reader ever sees half an object, a power cut takes nothing that was acknowledged, and of two writers of one record
exactly one wins. What a killed writer leaves lies in `.tmp/`.
"""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ingot.disk_space import is_full, told_when_full
from ingot.errors import NotFoundError, StorageError
from ingot.stored import Found, Upload

# Folders that may hold raw personal data are readable by their owner only (CONTRACTS 8).
REPORTS = "reports/"
PRIVATE_PREFIXES = ("documents/", "spans/", "quarantine/", "reports/", "acquisition/", "images/")


class LocalObjects:
    """Objects below one folder; missing ones raise NotFoundError, all else StorageError."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._temporary = self._root / ".tmp"

    def path(self, key: str) -> Path:
        return self._root / key

    def put(self, key: str, data: bytes) -> None:
        with self._guard(key, len(data)):
            temporary = self._new_temporary(key)
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                self._rename(temporary, key)
            finally:
                temporary.unlink(missing_ok=True)

    def put_file(self, key: str, path: Path) -> None:
        with self._guard(key, path.stat().st_size):
            temporary = self._new_temporary(key)
            try:
                shutil.copyfile(path, temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
                self._rename(temporary, key)
            finally:
                temporary.unlink(missing_ok=True)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._guard(key, len(data)):
            temporary = self._new_temporary(key)
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                target = self.path(key)
                self._make_folder(target.parent)
                try:
                    # link(2) fails when the name exists: the only exclusive create that never shows
                    # a half-written file under the final name.
                    os.link(temporary, target)
                except FileExistsError:
                    return False
                _fsync_folder(target.parent)
                return True
            finally:
                temporary.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(f"{key} is not in the store {self._root}") from None
        except OSError as error:
            raise StorageError(f"{key} cannot be read: {error.strerror}; check the disk and its permissions") from error

    def stat(self, key: str) -> Found | None:
        """What is there under a key; None when there is nothing."""
        try:
            status = os.stat(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(status.st_mode):
            return None
        return Found(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), str(status.st_mtime_ns))

    def size(self, key: str) -> int | None:
        found = self.stat(key)
        return found.bytes if found else None

    def list(self, prefix: str) -> Iterator[str]:
        for folder, folders, files in os.walk(self._root / prefix):
            folders[:] = [name for name in folders if name != ".tmp"]
            for name in files:
                yield str((Path(folder) / name).relative_to(self._root))

    def find(self, prefix: str) -> Iterator[Found]:
        """Every object below a folder, `.tmp/` included."""
        for folder, _, files in os.walk(self._root / prefix):
            for name in files:
                found = self.stat(str((Path(folder) / name).relative_to(self._root)))
                if found is not None:
                    yield found

    def list_uploads(self) -> Iterator[Upload]:
        """None: what a killed writer left is a file in `.tmp/`."""
        return iter(())

    def abort_upload(self, upload: Upload) -> None:
        """There is none."""

    def now(self) -> datetime:
        """The clock that dates the files."""
        return datetime.now(UTC)

    def delete(self, key: str) -> None:
        try:
            self.path(key).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StorageError(
                f"{key} cannot be deleted: {error.strerror}; check the path and its permissions"
            ) from error

    def delete_if_untouched(self, key: str, since: datetime) -> bool:
        """Remove an object that nobody has written or renewed since then.

        It is moved away first: who renews it before that is seen, who does so after finds it gone and writes it again.
        """
        temporary = self._new_temporary(key)
        try:
            os.rename(self.path(key), temporary)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StorageError(f"{key} cannot be deleted: {error.strerror}; check its permissions") from error
        untouched = temporary.stat().st_mtime < since.timestamp()
        if not untouched:
            with suppress(FileExistsError):
                os.link(temporary, self.path(key))
        temporary.unlink()
        return untouched

    def renew(self, key: str) -> None:
        """Make an object as young as if it were written now."""
        try:
            os.utime(self.path(key))
        except FileNotFoundError:
            raise NotFoundError(f"{key} is not in the store {self._root}") from None
        except OSError as error:
            raise StorageError(f"{key} cannot be renewed: {error.strerror}; check its permissions") from error

    def _new_temporary(self, key: str) -> Path:
        self._make_folder(self._temporary)
        return self._temporary / f"{key.rsplit('/', 1)[-1][:80]}.{uuid.uuid4().hex}"

    def _rename(self, temporary: Path, key: str) -> None:
        target = self.path(key)
        self._make_folder(target.parent)
        if key.startswith(REPORTS):
            # A report is opened by its path and sent on from there, so that its folder does not guard it.
            os.chmod(temporary, 0o600)
        os.replace(temporary, target)
        _fsync_folder(target.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        relative = folder.relative_to(self._root).as_posix() + "/"
        private = relative.startswith(PRIVATE_PREFIXES) or relative == ".tmp/"
        self._make_folder(folder.parent) if folder != self._root else folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700 if private else 0o755)
        except FileExistsError:
            return
        _fsync_folder(folder.parent)

    @contextmanager
    def _guard(self, key: str, num_bytes: int) -> Iterator[None]:
        with told_when_full(self._root, key, num_bytes):
            try:
                yield
            except OSError as error:
                if isinstance(error, StorageError) or is_full(error):
                    raise
                raise StorageError(
                    f"{key} cannot be written under {self._root}: {error.strerror}; check the path and its permissions"
                ) from error


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
