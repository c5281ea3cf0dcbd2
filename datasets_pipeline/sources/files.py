"""Listing and reading the files of a place: a local folder, one local file, or an fsspec URL.

Local files are opened component by component without following a link, so that neither a link nor a
folder swapped between listing and reading leads out of the root; only regular files are read. What a
listing passes over (links, pipes, devices, other filesystems) is counted by reason.
"""

import errno
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from datasets_pipeline.sources.base import ExtractionError, FileContent, FileEntry, refuse_credentials
from datasets_pipeline.sources.globs import is_included
from ingot.errors import DataError, NotFoundError, RecipeError, StorageError

# Where bytes may come from by URL; http and git are sources of their own, with their own rules.
REMOTE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "webhdfs", "sftp", "ssh", "smb", "memory")
_CHANGED = ("LastModified", "mtime", "last_modified", "created")  # what filesystems call the time of change

# A file that vanished, may not be read or became something else is that file's fault, not the place's.
_FILE_FAULTS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR}


def list_tree(
    uri: str, include: Sequence[str], exclude: Sequence[str], skipped: Counter[str] | None = None
) -> Iterator[FileEntry]:
    """The files under a place that the globs select, sorted by relative path.

    skipped counts what is not a readable file, by reason: link, not_regular, other_filesystem,
    unreadable, invalid_name. Raises NotFoundError when the place does not exist, RecipeError for a URL
    of an unknown kind.
    """
    skipped = skipped if skipped is not None else Counter()
    root = local_root(uri)
    entries = _list_remote(uri) if root is None else _list_local(root, skipped)
    chosen: dict[str, FileEntry] = {}
    for entry in entries:
        if entry.uri in chosen:
            skipped["invalid_name"] += 1  # two names that differ only in bytes that are not UTF-8
        elif is_included(entry.uri, include, exclude):
            chosen[entry.uri] = entry
    yield from (chosen[relative] for relative in sorted(chosen))


def read_file(uri: str, entry: FileEntry, max_bytes: int) -> FileContent:
    """The bytes of a listed file. Raises ExtractionError too_large or unreadable, StorageError for the place."""
    root = local_root(uri)
    with _told_apart(entry, is_local=root is not None):
        data = _read_remote(uri, entry.uri, max_bytes + 1) if root is None else _read_local(root, entry, max_bytes + 1)
    if len(data) > max_bytes:
        raise ExtractionError(
            "too_large",
            f"{entry.uri}: larger than max_file_bytes ({max_bytes:,} bytes); raise the limit or split the file",
        )
    return FileContent(data)


class Ranges:
    """A file of a source opened for reading ranges of it; how many bytes it has, and those of [start, end)."""

    def __init__(self, entry: FileEntry, size: int, read: Callable[[int, int], bytes], *, is_local: bool) -> None:
        self.size = size
        self._entry, self._read, self._is_local = entry, read, is_local

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), fewer at the end of the file. Raises as read_file does."""
        with _told_apart(self._entry, is_local=self._is_local):
            return self._read(start, min(end, self.size)) if start < min(end, self.size) else b""


@contextmanager
def open_ranges(uri: str, entry: FileEntry) -> Iterator[Ranges]:
    """Open a listed file for reading ranges, as safely as read_file does; it raises what that raises."""
    root = local_root(uri)
    if root is None:
        with _told_apart(entry, is_local=False):
            filesystem, path = _remote_file(uri, entry.uri)
            size = int(filesystem.size(path) or 0)
        yield Ranges(entry, size, lambda start, end: bytes(filesystem.cat_file(path, start, end)), is_local=False)
        return
    with _told_apart(entry, is_local=True):
        descriptor = _open_local(root, entry)
    try:
        size = os.fstat(descriptor).st_size
        yield Ranges(entry, size, lambda start, end: _pread(descriptor, start, end), is_local=True)
    finally:
        os.close(descriptor)


@contextmanager
def _told_apart(entry: FileEntry, *, is_local: bool) -> Iterator[None]:
    """Faults of a file as ExtractionError unreadable, faults of its place as StorageError."""
    try:
        yield
    except (ExtractionError, RecipeError):
        raise
    except Exception as error:  # object stores raise what their client libraries please
        if isinstance(error, FileNotFoundError) or (is_local and getattr(error, "errno", 0) in _FILE_FAULTS):
            raise ExtractionError(
                "unreadable",
                f"{entry.uri}: cannot be read ({type(error).__name__}); check that it is there and readable",
            ) from error
        raise StorageError(
            f"reading {entry.uri} failed ({type(error).__name__}); check the disk or the service and its "
            "credentials, then start again"
        ) from error


def read_below(folder: Path, relative: str, num_bytes: int) -> bytes:
    """The first bytes of a regular file below a folder, following no link on the way.

    Raises OSError, and ExtractionError unreadable for a path that leaves the folder or is no regular file.
    """
    with os.fdopen(_open_regular(folder, relative), "rb") as file:
        return file.read(num_bytes)


def _open_regular(folder: Path, relative: str) -> int:
    parts = _safe_parts(relative)
    try:
        descriptor = _open_below(folder, [os.fsencode(part) for part in parts])
    except FileNotFoundError:
        raw = [unquote_to_bytes(part) for part in parts]  # see uri_of
        if any(part in (b"", b".", b"..") or b"/" in part or b"\x00" in part for part in raw):
            raise
        descriptor = _open_below(folder, raw)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ExtractionError("unreadable", f"{relative}: not a regular file any more; list the source again")
    return descriptor


def local_root(uri: str) -> Path | None:
    """The local path of a uri, None for a remote one. Raises RecipeError for a kind we do not read."""
    refuse_credentials(uri)
    if "://" not in uri:
        return Path(uri).expanduser()
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    if "::" in uri or parts.scheme not in REMOTE_SCHEMES:
        raise RecipeError(
            f"uri kind '{parts.scheme}' is not one a source reads; known: a local path, "
            f"file, {', '.join(REMOTE_SCHEMES)}"
        )
    return None


# --- local ---------------------------------------------------------------------------------------


def _list_local(root: Path, skipped: Counter[str]) -> Iterator[FileEntry]:
    try:
        status = os.stat(root)
    except FileNotFoundError as error:
        raise NotFoundError(f"source folder {root} does not exist; check `uri`, or mount it") from error
    except OSError as error:
        raise DataError(f"source folder {root} cannot be read ({type(error).__name__}); check its rights") from error
    if stat.S_ISREG(status.st_mode):
        yield FileEntry(uri_of(root.name), status.st_size, status.st_mtime_ns)
        return
    if not stat.S_ISDIR(status.st_mode):
        raise DataError(f"source uri {root} is neither a folder nor a file; name a folder")
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                children = list(found)
        except OSError as error:
            if not prefix:
                raise DataError(
                    f"source folder {root} cannot be read ({type(error).__name__}); check its rights"
                ) from error
            skipped[_why_not(error)] += 1
            continue
        for child in children:
            relative = prefix + child.name
            kind = _kind(child, status.st_dev)
            if kind == "folder":
                folders.append((relative + "/", Path(child.path)))
            elif kind == "file":
                try:
                    seen = child.stat(follow_symlinks=False)
                except OSError as error:
                    skipped[_why_not(error)] += 1
                    continue
                yield FileEntry(uri_of(relative), seen.st_size, seen.st_mtime_ns)
            else:
                skipped[kind] += 1


def _kind(child: os.DirEntry[str], device: int) -> str:
    """folder, file, or the reason why it is passed over."""
    try:
        if child.is_symlink():
            return "link"
        if child.is_dir(follow_symlinks=False):
            return "folder" if child.stat(follow_symlinks=False).st_dev == device else "other_filesystem"
        return "file" if child.is_file(follow_symlinks=False) else "not_regular"
    except OSError as error:
        return _why_not(error)


def _why_not(error: OSError) -> str:
    """What is deleted while a folder is listed is gone, as if it had been a moment earlier."""
    return "vanished" if isinstance(error, FileNotFoundError) else "unreadable"


def _read_local(root: Path, entry: FileEntry, num_bytes: int) -> bytes:
    with os.fdopen(_open_local(root, entry), "rb") as file:
        return file.read(num_bytes)


def _open_local(root: Path, entry: FileEntry) -> int:
    if root.is_file():
        root = root.resolve()
        return _open_regular(root.parent, root.name)
    return _open_regular(root, entry.uri)


def _pread(descriptor: int, start: int, end: int) -> bytes:
    pieces: list[bytes] = []
    while start < end and (piece := os.pread(descriptor, end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _open_below(anchor: Path, parts: list[bytes]) -> int:
    """Open a regular file below a folder, following no link on the way."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = below
        # O_NONBLOCK: a pipe put in the file's place must not make the reader wait for a writer.
        return os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _safe_parts(relative: str) -> list[str]:
    parts = relative.split("/")
    if any(part in ("", ".", "..") or "\x00" in part for part in parts):
        raise ExtractionError("unreadable", f"{relative}: not a path below the source's root; list the source again")
    return parts


def uri_of(name: str) -> str:
    """A path as text; one that is not UTF-8 has its bytes percent-encoded, because records are UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return quote_from_bytes(os.fsencode(name), safe="/ ")
    return name


# --- remote --------------------------------------------------------------------------------------


def _filesystem(uri: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise RecipeError(
            f"uri kind '{urlsplit(uri).scheme}' needs a package that is not installed: {error}"
        ) from error
    return filesystem, root.rstrip("/")


def _list_remote(uri: str) -> Iterator[FileEntry]:
    filesystem, root = _filesystem(uri)
    try:
        filesystem.invalidate_cache()  # a listing kept from last night would hide today's files
        found = filesystem.find(root, detail=True)
        exists = bool(found) or filesystem.exists(root)
    except FileNotFoundError:
        found, exists = {}, False
    except Exception as error:  # object stores raise what their client libraries please
        raise StorageError(
            f"listing {uri} failed ({type(error).__name__}); check the service and its credentials, then start again"
        ) from error
    if not exists:
        raise NotFoundError(f"source {uri} does not exist; check `uri` and the credentials")
    for path, information in found.items():
        relative = posixpath.basename(path) if path == root else path.removeprefix(root + "/")
        if information.get("type", "file") != "file" or relative.endswith("/") or relative.startswith("/"):
            continue
        etag = information.get("ETag") or information.get("etag")
        yield FileEntry(
            relative,
            int(information.get("size") or 0),
            next((_nanoseconds(information[key]) for key in _CHANGED if key in information), None),
            etag=str(etag).strip('"') if etag else None,
        )


def _read_remote(uri: str, relative: str, num_bytes: int) -> bytes:
    filesystem, path = _remote_file(uri, relative)
    with filesystem.open(path, "rb") as file:
        data: bytes = file.read(num_bytes)
    return data


def _remote_file(uri: str, relative: str) -> tuple[Any, str]:
    filesystem, root = _filesystem(uri)
    _safe_parts(relative)
    is_root = posixpath.basename(root) == relative and filesystem.isfile(root)
    return filesystem, root if is_root else f"{root}/{relative}"


def _nanoseconds(changed: Any) -> int | None:
    if isinstance(changed, datetime):
        return int(changed.timestamp()) * 1_000_000_000 + changed.microsecond * 1000
    return int(changed * 1_000_000_000) if isinstance(changed, int | float) else None
