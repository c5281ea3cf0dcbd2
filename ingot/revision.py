"""Which code wrote something: Ingot's version, and the git commit when it runs from a clone."""

import subprocess
from functools import lru_cache
from pathlib import Path

import ingot


@lru_cache(maxsize=1)
def code_revision() -> dict[str, str]:
    """{"version", "commit", "dirty"}; commit is empty outside a git clone."""
    root = Path(__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    dirty = bool(commit) and bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return {"version": ingot.__version__, "commit": commit, "dirty": str(dirty).lower()}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
