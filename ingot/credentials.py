"""Secrets by the name a recipe gives them (CONTRACTS 13): `credentials: warehouse`.

Looked up where the place behind it is contacted, and nowhere else: in what the run handed to this unit of work, in
INGOT_SECRET_WAREHOUSE, then in the file `secrets/warehouse` of INGOT_HOME, which nobody else may read. Workers start
without INGOT_SECRET_ variables; a run hands a unit the one secret its source names, over the pool's encrypted line.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ingot.errors import RecipeError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
"""What a credential may be called."""

_given: ContextVar[Mapping[str, str] | None] = ContextVar("given_secrets", default=None)


def secret(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret of that name. Raises RecipeError, which says where to put it, when there is none."""
    environ = os.environ if environ is None else environ
    found = (_given.get() or {}).get(name) or environ.get(variable(name)) or _from_file(name, environ)
    if not found:
        raise RecipeError(
            f"credential {name!r} is not set; put it into {variable(name)}, or into {_file(name, environ)} (mode 0600)"
        )
    return found


def to_hand_on(name: str | None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a unit of work needs to be given: the secret when it stands in the environment, which workers lack."""
    found = (os.environ if environ is None else environ).get(variable(name)) if name else None
    return {name: found} if name and found else {}


@contextmanager
def given(secrets: Mapping[str, str]) -> Iterator[None]:
    """Look secrets up here first, while a unit of work runs."""
    token = _given.set(secrets)
    try:
        yield
    finally:
        _given.reset(token)


def variable(name: str) -> str:
    """The environment variable of a credential."""
    return f"INGOT_SECRET_{name.upper().replace('-', '_')}"


def _file(name: str, environ: Mapping[str, str]) -> Path:
    home = Path(environ.get("INGOT_HOME") or Path.home() / ".ingot").expanduser().absolute()
    return home / "secrets" / name


def _from_file(name: str, environ: Mapping[str, str]) -> str:
    path = _file(name, environ)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RecipeError(f"credential {name!r}: {path} cannot be read ({type(error).__name__})") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise RecipeError(f"credential {name!r}: others may read {path}; chmod 600 it, or use {variable(name)}")
        return file.read(1 << 16).decode("utf-8", "replace").rstrip("\r\n")
