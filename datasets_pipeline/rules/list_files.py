"""Lists that rules read from local files: one entry a line, `#` begins a comment, UTF-8.

What stands in a file is part of a version's identity by its digest, where it stands is not (a `uri` is a place).
"""

import os
from functools import lru_cache
from pathlib import Path

from ingot.digests import sha256_hex
from ingot.errors import RecipeError
from ingot.settings import expand_place

MAX_FILE_BYTES = 256 << 20


def entries(uri: str) -> tuple[str, ...]:
    """The entries of a list, in lower case, in the order of the file; RecipeError when it cannot be read."""
    return _read(*_state(uri))[0]


def digest(uri: str) -> str:
    """SHA-256 of a list's entries, sorted: comments and order change nothing."""
    return _read(*_state(uri))[1]


def _state(uri: str) -> tuple[str, int, int]:
    path = Path(expand_place(uri, os.environ).removeprefix("file://")).expanduser()
    try:
        stat = path.stat()
    except OSError as error:
        raise RecipeError(f"list {uri} cannot be read ({type(error).__name__}); give a local file's path") from None
    if not path.is_file() or stat.st_size > MAX_FILE_BYTES:
        raise RecipeError(f"list {uri} is no file of at most {MAX_FILE_BYTES >> 20} MB; give one entry a line")
    return str(path), stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=16)
def _read(path: str, mtime_ns: int, size: int) -> tuple[tuple[str, ...], str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RecipeError(f"list {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    found = [line.split("#", 1)[0].strip().lower() for line in lines]
    words = tuple(word for word in found if word)
    return words, sha256_hex("\n".join(sorted(set(words))).encode())
