"""A disk of any size, in memory, that a test may fill; only root may mount one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted disk whose size may be changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, num_bytes: int) -> None:
        """Make it larger, or smaller down to what is used."""
        done = _mount("-o", f"remount,size={num_bytes}", str(self.folder))
        assert done.returncode == 0, done.stderr

    def protect(self, is_protected: bool) -> None:
        """Make it read-only, as a failing disk becomes, or writable again."""
        done = _mount("-o", f"remount,{'ro' if is_protected else 'rw'}", str(self.folder))
        assert done.returncode == 0, done.stderr


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[SmallDisk]:
    """A disk at a folder that is made; skips where it cannot be mounted."""
    folder.mkdir(parents=True)
    done = _mount("-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *words], capture_output=True, text=True)
