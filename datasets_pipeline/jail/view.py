"""What a jailed parser sees: libraries and our code to read, a small folder of its own in memory, nothing else."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# The loader's cache, the links that Debian keeps programs behind, and what a converter is set up with.
_OPTIONAL = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/libreoffice")
_OUR_PACKAGES = ("ingot", "datasets_pipeline")

SCRATCH = "/tmp"
SCRATCH_BYTES = 512 << 20
"""A converter's scratch files; they lie in memory and are gone with the child."""


@dataclass(frozen=True)
class View:
    """folders: read-only, at their own paths. links: (path, target) of system folders that are links."""

    folders: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    environment: dict[str, str]


def view(more: tuple[str, ...] = ()) -> View:
    """The view of a child started by this process; more: folders to show besides."""
    links = tuple((path, os.readlink(path)) for path in _SYSTEM if os.path.islink(path))
    folders = [path for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    folders += [path for path in _OPTIONAL if os.path.exists(path)]
    # A virtual environment's python is a link into the one it was made from.
    folders += [sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))]
    folders += [*(str(_ROOT / package) for package in _OUR_PACKAGES), *more]
    workspace = os.environ.get("INGOT_WORKSPACE")
    if workspace and (own := Path(workspace).absolute() / "sources").is_dir():
        folders.append(str(own))
    models = os.environ.get("INGOT_DOCLING_MODELS")
    if models and os.path.isdir(models):
        folders.append(os.path.abspath(models))
    return View(_outermost(folders), links, _environment(workspace, models))


def _outermost(folders: list[str]) -> tuple[str, ...]:
    """Without those that lie below another one, in order."""
    chosen: list[str] = []
    for folder in sorted(set(folders)):
        if not any(folder == other or folder.startswith(other + "/") for other in chosen):
            chosen.append(folder)
    return tuple(chosen)


def _environment(workspace: str | None, models: str | None) -> dict[str, str]:
    """Built from nothing, so that no credential can be in it."""
    values = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        # One thread: the limits count processor time, and the other cores belong to other children.
        "OMP_NUM_THREADS": "1",
        "OMP_THREAD_LIMIT": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Allocators that reserve address space in advance would use up the limit on it.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "2",
    }
    places = {"INGOT_WORKSPACE": workspace, "INGOT_DOCLING_MODELS": models}
    return values | {name: os.path.abspath(place) for name, place in places.items() if place}
