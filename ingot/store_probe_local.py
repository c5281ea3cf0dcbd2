"""The powers of a local folder, asked one by one in a folder of the probe's own."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ingot.store_probe import Probe, count_winners, median_milliseconds, race_probe

_NOTED_FREE_BYTES = 2 << 30
_NETWORKED = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "beegfs")
_IN_MEMORY = ("tmpfs", "ramfs")


def probe_local(root: Path) -> Iterator[Probe]:
    """Every power in turn; when nothing can be written, that is the only answer.

    A root that does not exist yet is asked at the nearest folder above it.
    """
    above = root.absolute()
    while not above.exists():
        above = above.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=".ingot-doctor-", dir=above))
    except OSError as error:
        yield Probe("write", False, f"{above}: {error.strerror}", "nothing can be stored there; check its permissions")
        return
    try:
        yield Probe("write", True, f"a folder was made in {above}")
        for ask in (_sync, _rename, _link, _race, _private, _case, _list_after_put):
            yield _asked(ask, folder)
        yield _filesystem(above)
        yield _free(above)
        yield _latency(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield Probe("delete", not folder.exists(), "the probe's folder is gone" if not folder.exists() else "files stayed",
                f"`ingot gc` and erasure could not free anything; remove {folder} by hand")  # fmt: skip


def _asked(ask: Callable[[Path], Probe], folder: Path) -> Probe:
    try:
        return ask(folder)
    except OSError as error:
        name, follows = _NEEDS[ask]
        return Probe(name, False, f"refused: {error.strerror}", follows)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> Probe:
    _write(folder / "sync", b"x")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Probe("flush to disk", True, "fsync of a file and of its folder")


def _rename(folder: Path) -> Probe:
    _write(folder / "old", b"old")
    _write(folder / "new", b"new")
    os.replace(folder / "new", folder / "old")
    done = (folder / "old").read_bytes() == b"new" and not (folder / "new").exists()
    return Probe("rename over a file", done, "one file took the other's name" if done else "both are there",
                 _NEEDS[_rename][1])  # fmt: skip


def _link(folder: Path) -> Probe:
    _write(folder / "first", b"first")
    _write(folder / "second", b"second")
    os.link(folder / "first", folder / "once")
    try:
        os.link(folder / "second", folder / "once")
        refused = False
    except FileExistsError:
        refused = True
    done = refused and (folder / "once").read_bytes() == b"first"
    return Probe("put if absent", done, f"a taken name was {'refused' if done else 'overwritten'}", _NEEDS[_link][1])


def _race(folder: Path) -> Probe:
    def take(number: int) -> bool:
        _write(folder / f"racer-{number}", b"x")
        try:
            os.link(folder / f"racer-{number}", folder / "race")
        except FileExistsError:
            return False
        return True

    return race_probe(count_winners(take))


def _private(folder: Path) -> Probe:
    (folder / "private").mkdir(mode=0o700)
    mode = stat.S_IMODE((folder / "private").stat().st_mode)
    return Probe("private folders", mode & 0o077 == 0, f"mode {mode:04o} for 0700",
                 "documents that may hold personal data could be read by others; mount it with permissions",
                 needed=False)  # fmt: skip


def _case(folder: Path) -> Probe:
    _write(folder / "name", b"lower")
    distinct = not (folder / "NAME").exists()
    return Probe("upper and lower case", distinct, "are different names" if distinct else "are one name",
                 "two corpora whose names differ by case only would be one", needed=False)  # fmt: skip


def _list_after_put(folder: Path) -> Probe:
    _write(folder / "listed", b"x")
    seen = "listed" in os.listdir(folder)
    return Probe("list after put", seen, "listed at once" if seen else "not listed", _NEEDS[_list_after_put][1])


def _filesystem(folder: Path) -> Probe:
    kind, place = _mount_of(folder)
    follows = ""
    if kind.startswith(_NETWORKED):
        follows = "on a network: all machines must mount it with the same cache settings, and none may lie about fsync"
    if kind in _IN_MEMORY:
        follows = "in memory: everything is gone after a restart"
    return Probe("file system", not follows, f"{kind} at {place}", follows, needed=False)


def _mount_of(folder: Path) -> tuple[str, str]:
    best = ("unknown", "/")
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return best
    path = str(folder.resolve())
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best[1]):  # the last one of a place lies on top
            best = (kind, place)
    return best


def _free(folder: Path) -> Probe:
    free = shutil.disk_usage(folder).free
    return Probe("free space", free >= _NOTED_FREE_BYTES, f"{free / (1 << 30):,.1f} GiB",
                 "a full disk stops a run; it goes on where it was after space is freed", needed=False)  # fmt: skip


def _latency(folder: Path) -> Probe:
    put = median_milliseconds(lambda: _write(folder / "time", b"x" * 1000))
    return Probe("latency", put < 100, f"a flushed write takes {put:,.1f} ms (median, 1 kB)",
                 "runs with many small objects take long", needed=False)  # fmt: skip


_NEEDS: dict[Callable[[Path], Probe], tuple[str, str]] = {
    _sync: ("flush to disk", "what was published could be gone after a power cut"),
    _rename: ("rename over a file", "a reader could see half an object"),
    _link: ("put if absent", "two runs could both publish one version (FAT and some network mounts have no links)"),
    _race: ("race for one name", "two runs could both publish one version"),
    _private: ("private folders", "documents that may hold personal data could be read by others"),
    _case: ("upper and lower case", ""),
    _list_after_put: ("list after put", "the ledger and the newest version are found by listing"),
}
