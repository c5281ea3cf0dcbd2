"""A full disk, told with what was needed and what is free."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingot.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether a disk, or a user's share of it, had no room."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return os.strerror(errno.ENOSPC) in str(error)  # safetensors and tokenizers say it in words only


@contextmanager
def told_when_full(place: Path, what: str, num_bytes: int | None = None) -> Iterator[None]:
    """A full disk inside becomes a StorageError that names what needed how many bytes, and how many are free.

    num_bytes is what is written at most; None when nobody knows. What is free is counted when the body has cleaned up.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        needs = "needs more room" if num_bytes is None else f"needs {num_bytes:,} bytes"
        raise StorageError(
            f"the disk of {place} is full: {what} {needs}, {_free_bytes(place):,} are free; free space and run again, "
            "finished work is kept"
        ) from error


def _free_bytes(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
