"""What bubblewrap does, by the kernel's own calls, for machines that do not have it.

    python -m datasets_pipeline.jail.namespaces VIEW COMMAND...

Makes user, mount, network, process, IPC and host name namespaces, a root that holds only what VIEW names, gives up
every capability, and runs COMMAND there. Ends with the status of the command, or 128 plus the signal that ended it.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from datasets_pipeline.jail.view import SCRATCH_BYTES

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_LAST_CAPABILITY = 63
_NOBODY = 65534
# Flags of a mount that a remount by another user must repeat.
_KEPT = {os.ST_NOSUID: _MS_NOSUID, os.ST_NODEV: _MS_NODEV, os.ST_NOEXEC: _MS_NOEXEC}
_DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Shut this process in and run the command."""
    seen = json.loads(sys.argv[1])
    command = sys.argv[2:]
    uid, gid = os.getuid(), os.getgid()
    spaces = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS | _CLONE_NEWPID
    _check(_libc.unshare(spaces), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1")
    # The first process of the new process namespace: with its end everything in it ends.
    first = os.fork()
    if first:
        _end_like(first)
    _die_with_parent()
    _build_root(seen["folders"], [tuple(link) for link in seen["links"]])
    # Signals that would end any other process, such as that of the limit on processor time, do not end the first.
    second = os.fork()
    if second:
        _end_like(second)
    _give_up_capabilities()
    os.setsid()
    _die_with_parent()
    os.execve(command[0], command, seen["environment"])


def _end_like(child: int) -> NoReturn:
    """Wait for a child and end with its status."""
    for descriptor in (0, 1):  # else the other side would never see the end of the stream
        os.close(descriptor)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _die_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _build_root(folders: list[str], links: list[tuple[str, str]]) -> None:
    root = _mount_point(folders)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", str(root), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    (root / "tmp").mkdir()
    _mount("tmpfs", f"{root}/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={SCRATCH_BYTES},mode=1777")
    for folder in folders:
        target = Path(f"{root}{folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(folder):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        _mount(folder, str(target), None, _MS_BIND | _MS_REC)
        _make_read_only(str(target))
    for path, link_target in links:
        os.symlink(link_target, f"{root}{path}")
    (root / "dev").mkdir()
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", None, _MS_BIND)
    (root / "proc").mkdir()
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    (root / "old").mkdir()
    os.chdir(root)
    pivot_root = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    _check(_libc.syscall(pivot_root, b".", b"old"), "pivot_root")
    _check(_libc.umount2(b"/old", _MNT_DETACH), "umount")
    os.rmdir("/old")
    # All but the scratch folder: what is written there is memory of the machine without a limit.
    _mount("none", "/", None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir("/tmp")


def _mount_point(folders: list[str]) -> Path:
    """A folder for the new root to be mounted on while it is built: none that hides what goes into it."""
    for place in ("/mnt", "/srv", "/media", "/opt", "/tmp"):
        if os.path.isdir(place) and not any(folder.startswith(place + "/") for folder in folders):
            return Path(place)
    sys.stderr.write("no folder to build a root on\n")
    os._exit(125)


def _make_read_only(target: str) -> None:
    """This mount and those below it; each keeps the flags it came with, as the kernel demands."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in {point for point in points if point == target or point.startswith(target + "/")}:
        flags = os.statvfs(point).f_flag
        kept = sum(mount_flag for flag, mount_flag in _KEPT.items() if flags & flag)
        _mount("none", point, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | kept)


def _give_up_capabilities() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, nothing), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        sys.stderr.write(f"{what}: {os.strerror(number)}\n")
        os._exit(125)


if __name__ == "__main__":
    main()
