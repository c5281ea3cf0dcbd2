"""The directory of a git repository that may be hostile, read as text: where its objects lie, what its refs name.

Links are not followed, nothing is run, and what lies outside of the directory is refused.
"""

import os
import re
import stat
from pathlib import Path

from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError
from ingot.errors import DataError, NotFoundError, RecipeError

HASH = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")

MAX_REF_BYTES = 4096
_MAX_REFS_BYTES = 64 * MEBIBYTE
_MAX_SYMREFS = 5


def git_folder(place: str) -> Path:
    """The git directory of a working tree or a bare clone; DataError for one whose objects lie elsewhere."""
    root = files.local_root(place)
    if root is None:
        raise RecipeError(
            f"source git reads a repository on this machine, not {place.partition('://')[0]}://; clone it here "
            "(git clone --bare URL) and name the clone as uri"
        )
    if not root.is_dir():
        raise NotFoundError(f"repository {root} does not exist; check `uri`, or clone it there")
    inside = root / ".git"
    kind = _kind(inside)
    if kind in ("file", "link"):
        raise DataError(
            f"{inside} points to a git directory elsewhere (a linked working tree or a submodule); name the main "
            "repository as uri and the branch as `revision`"
        )
    folder = inside if kind == "folder" else root
    if _kind(folder / "HEAD") != "file" or _kind(folder / "objects") != "folder":
        raise DataError(f"{root} is no git repository; name the top folder of a working tree, or a bare clone")
    return folder


def check_objects(folder: Path) -> None:
    """Refuse object folders that lead out of the repository."""
    objects = folder / "objects"
    alternates = objects / "info" / "alternates"
    if os.path.lexists(alternates) or os.path.lexists(folder / "commondir"):
        raise DataError(
            f"the repository {folder} keeps objects in another one (objects/info/alternates or commondir), which is "
            "not followed; run `git repack -a -d` there and remove that file, or clone it without --shared"
        )
    for name in object_folders(folder):
        if not holds_files_only(objects / name):
            raise DataError(
                f"objects/{name} of the repository {folder} is or holds something that is no file, such as a link; "
                "copy the objects there, or clone it anew"
            )


def object_folders(folder: Path) -> list[str]:
    """Names of the folders that hold loose objects or packs, sorted."""
    names = os.listdir(folder / "objects")
    return sorted(name for name in names if name == "pack" or re.fullmatch(r"[0-9a-f]{2}", name))


def holds_files_only(folder: Path) -> bool:
    """Whether it is a folder of regular files, itself no link."""
    if _kind(folder) != "folder":
        return False
    with os.scandir(folder) as found:
        return all(child.is_file(follow_symlinks=False) for child in found)


def _kind(path: Path) -> str:
    """file, folder, link, other, or missing; a link is not followed."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "missing"
    known = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"))
    return next((name for is_kind, name in known if is_kind(mode)), "other")


def read_ref_file(folder: Path, name: str, num_bytes: int = MAX_REF_BYTES) -> str | None:
    """A small file of the git directory as text, None when there is none; links are not followed."""
    try:
        return files.read_below(folder, name, num_bytes).decode("utf-8", "replace").strip()
    except (OSError, ExtractionError):
        return None


def packed_refs(folder: Path) -> dict[str, str]:
    """{ref: hash} of `packed-refs`; empty without that file."""
    lines = (read_ref_file(folder, "packed-refs", _MAX_REFS_BYTES) or "").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^", ""))
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2 and HASH.match(pair[0])}


def shallow_commits(folder: Path) -> frozenset[str]:
    """The commits at which a shallow clone was cut."""
    lines = (read_ref_file(folder, "shallow", _MAX_REFS_BYTES) or "").split()
    return frozenset(line for line in lines if HASH.match(line))


def resolve_ref(folder: Path, packed: dict[str, str], name: str) -> str | None:
    """The hash behind a ref's name, None when there is no such ref."""
    return follow(folder, packed, read_ref_file(folder, name) or packed.get(name, ""))


def follow(folder: Path, packed: dict[str, str], stated: str) -> str | None:
    """The hash that a ref's content leads to, through a few symbolic refs; None when it leads nowhere."""
    for _ in range(_MAX_SYMREFS):
        if HASH.match(stated):
            return stated
        target = stated.removeprefix("ref:").strip() if stated.startswith("ref:") else ""
        if not target.startswith("refs/"):
            return None
        stated = read_ref_file(folder, target) or packed.get(target, "")
    return None
