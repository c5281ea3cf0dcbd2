"""Finding rules, sources, stages, suites and graders by the name a recipe gives them.

A name is a module: ours first (`datasets_pipeline/rules/<name>.py`), then the organisation's own in
its workspace (`$INGOT_WORKSPACE/rules/<name>.py`), whose file digest is part of the fingerprint.
"""

import importlib
import importlib.util
import os
import re
import sys
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ingot.digests import sha256_file
from ingot.errors import RecipeError

FOLDERS: dict[str, str] = {
    "rule": "datasets_pipeline.rules",
    "source": "datasets_pipeline.sources",
    "stage": "training.stages",
    "suite": "evaluation.suites",
    "grader": "evaluation.graders",
}
# Modules in these folders that are not a name of a recipe.
_SUPPORT = {"base", "verdicts", "files"}


def names(kind: str) -> list[str]:
    """The names of a kind that a recipe may use, sorted."""
    found = {path.stem for path in _package_folder(kind).glob("*.py")}
    workspace = _workspace_folder(kind)
    if workspace is not None:
        found |= {path.stem for path in workspace.glob("*.py")}
    return sorted(name for name in found if not name.startswith("_") and _is_public(kind, name))


def _is_public(kind: str, name: str) -> bool:
    if name in _SUPPORT:
        return False
    path = _package_folder(kind) / f"{name}.py"
    if not path.is_file():
        return True
    marker = {"rule": "class Config", "source": "class Config", "stage": "class Config"}.get(kind, "def ")
    return marker in path.read_text()


def load(kind: str, name: str) -> ModuleType:
    """The module behind a name; RecipeError with the nearest known name when there is none."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not (_is_ours(kind, name) or _is_own(kind, name)):
        known = names(kind)
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(f"{kind} {name!r} is unknown; {hint}known: {', '.join(known)}")
    if (_package_folder(kind) / f"{name}.py").is_file():
        return importlib.import_module(f"{FOLDERS[kind]}.{name}")
    return _load_file(kind, name)


@lru_cache(maxsize=1024)
def _is_ours(kind: str, name: str) -> bool:
    """Whether a name is one of ours; asked for each unit of work, so a module is looked at once."""
    return (_package_folder(kind) / f"{name}.py").is_file() and _is_public(kind, name)


def _is_own(kind: str, name: str) -> bool:
    """Whether a file of the workspace stands behind a name."""
    workspace = _workspace_folder(kind)
    return workspace is not None and (workspace / f"{name}.py").is_file() and _is_public(kind, name)


def own_versions(kind: str, name: str) -> dict[str, str]:
    """For a fingerprint: the digest of the workspace's file behind a name; nothing for a name of ours."""
    digest = own_digest(kind, name)
    return {f"{kind}.{name}": digest} if digest else {}


def own_digest(kind: str, name: str) -> str | None:
    """SHA-256 of the workspace file behind a name; None for a name of ours."""
    workspace = _workspace_folder(kind)
    if (_package_folder(kind) / f"{name}.py").is_file() or workspace is None:
        return None
    return sha256_file(workspace / f"{name}.py")


def _load_file(kind: str, name: str) -> ModuleType:
    module_name = f"ingot_workspace.{kind}.{name}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    folder = _workspace_folder(kind)
    assert folder is not None
    spec = importlib.util.spec_from_file_location(module_name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise RecipeError(f"{kind} {name!r} of the workspace cannot be loaded: {error}; mend its file") from error
    return module


@lru_cache(maxsize=16)
def _package_folder(kind: str) -> Path:
    return Path(__file__).resolve().parent.parent / FOLDERS[kind].replace(".", "/")


def _workspace_folder(kind: str) -> Path | None:
    workspace = os.environ.get("INGOT_WORKSPACE")
    folder = Path(workspace) / f"{kind}s" if workspace else None
    return folder if folder is not None and folder.is_dir() else None
