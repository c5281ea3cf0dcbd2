"""Settings: where and how Ingot runs. Read from `INGOT_*` variables; never hashed, never change a result."""

import os
import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ingot.errors import RecipeError

KNOWN_VARIABLES: dict[str, str] = {
    "INGOT_HOME": "folder of the local stack, logs, scratch and the default store (default ~/.ingot)",
    "INGOT_STORE": "the store's root, a local path or s3://bucket/prefix (default $INGOT_HOME/store)",
    "INGOT_WORKSPACE": "folder of your own recipes, rules, sources and graders",
    "INGOT_WORKERS": "Dask worker processes for data work; 0 runs in this process (default: cores, at most 8)",
    "INGOT_SCHEDULER": "address of an existing Dask scheduler, used instead of local workers",
    "INGOT_RANKS": "training processes of a stage (default 1)",
    "INGOT_TRAIN_THREADS": "CPU threads of a training rank (default: cores / ranks)",
    "INGOT_UNIT_BYTES": "bytes of files one worker takes at a time (default 32 MiB)",
    "INGOT_SOURCE_ROOTS": "folders, separated by ':', that sources may read from (default: any)",
    "INGOT_WEB_ALLOW_PRIVATE": "host:port, with commas between, that web sources may read on a private network "
    "(default: none)",
    "INGOT_JAIL": "walls around the parsers of documents: auto (bubblewrap or namespaces), or limits_only, where a "
    "malicious document that takes over its parser reaches your files and network",
    "INGOT_DOCLING_MODELS": "folder of docling's models, for sources with `pdf_engine: docling`",
    "INGOT_ACTOR": "name recorded in the ledger instead of the operating system's user",
    "INGOT_S3_ENDPOINT": "endpoint of an S3 store that is not AWS, e.g. http://127.0.0.1:9000",
    "INGOT_TIMEZONE": "time zone of the nightly schedule (default UTC)",
    "INGOT_RECIPE": "recipe of the nightly schedule (default recipes/demo.yaml)",
    "INGOT_PRICE_PER_HOUR": "what an hour of this machine costs, for plans, in any currency (default: not told)",
    "INGOT_PRICE_PER_KWH": "what a kWh costs, for plans, in the same currency (default: not told)",
    "INGOT_GPUS": "GPU slots of this machine that stages share (default: what nvidia-smi lists)",
    "INGOT_DATA_WORKERS": "Prefect workers of the data pool on this machine (default 1)",
    "INGOT_PREFECT_DATABASE": "PostgreSQL of the Prefect server, postgresql://USER@HOST:PORT/NAME (default: SQLite)",
    "INGOT_MLFLOW_DATABASE": "PostgreSQL of the MLflow server, postgresql://USER@HOST:PORT/NAME (default: SQLite)",
    "INGOT_NOTIFY": "where news go: a webhook https://... or smtp://HOST:PORT?from=A&to=B",
    "INGOT_NOTIFY_STALE_DAYS": "days without a new corpus version after which that is news (default 7)",
    "INGOT_ALLOWED_SIGNERS": "file of who may approve with an SSH key (default: allowed_signers of the workspace)",
    "INGOT_WHEELHOUSE": "folder of wheels to install from, with no index (read by make)",
    "INGOT_CRASH_AT": "kill the process at a named crash point (tests)",
    "INGOT_CRASH_LOG": "file that lists the crash points reached (tests)",
    "INGOT_TEST_MOTO": "moto_server program that stands in for S3 (tests)",
    "INGOT_MLFLOW_URI": "MLflow server to use instead of the local stack's",
    "INGOT_PREFECT_URI": "Prefect API to use instead of the local stack's",
}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Settings:
    """Places and sizes of this installation; `Settings.from_environment()` reads them."""

    home: Path
    store: str
    workspace: Path | None
    workers: int
    scheduler: str | None
    ranks: int
    train_threads: int
    gpus: int | None
    """GPU slots of this machine; None: what CUDA_VISIBLE_DEVICES or nvidia-smi lists."""
    unit_bytes: int
    source_roots: tuple[Path, ...] | None
    """Folders that sources may read; None means any."""
    jail: str
    """How the parsers of documents are shut in: auto, bubblewrap, namespaces or limits_only."""
    timezone: str
    data_workers: int
    """Prefect workers of the data pool that `ingot up` starts here."""
    environ: Mapping[str, str] = field(repr=False)

    @property
    def scratch(self) -> Path:
        """Local folder for temporary files and caches of remote objects."""
        return self.home / "scratch"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read and check the settings; raises RecipeError for an unknown or malformed variable."""
        values = dict(os.environ if environ is None else environ)
        for name in sorted(values):
            if name.startswith("INGOT_") and name not in KNOWN_VARIABLES and not name.startswith("INGOT_SECRET_"):
                near = get_close_matches(name, KNOWN_VARIABLES, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise RecipeError(f"setting {name} is unknown; {hint}known: {', '.join(sorted(KNOWN_VARIABLES))}")
        home = Path(values.get("INGOT_HOME") or Path.home() / ".ingot").expanduser().absolute()
        cores = len(os.sched_getaffinity(0))
        ranks = _integer(values, "INGOT_RANKS", 1, minimum=1)
        roots = values.get("INGOT_SOURCE_ROOTS")
        workspace = values.get("INGOT_WORKSPACE")
        return cls(
            home=home,
            store=values.get("INGOT_STORE") or str(home / "store"),
            workspace=Path(workspace).expanduser().absolute() if workspace else None,
            workers=_integer(values, "INGOT_WORKERS", min(cores, 8), minimum=0),
            scheduler=values.get("INGOT_SCHEDULER") or None,
            ranks=ranks,
            train_threads=_integer(values, "INGOT_TRAIN_THREADS", max(1, cores // ranks), minimum=1),
            gpus=_integer(values, "INGOT_GPUS", 0, minimum=0) if values.get("INGOT_GPUS") else None,
            unit_bytes=_integer(values, "INGOT_UNIT_BYTES", 32 << 20, minimum=1),
            source_roots=tuple(Path(p).expanduser().resolve() for p in roots.split(":") if p) if roots else None,
            jail=values.get("INGOT_JAIL") or "auto",
            timezone=values.get("INGOT_TIMEZONE") or "UTC",
            data_workers=_integer(values, "INGOT_DATA_WORKERS", 1, minimum=1),
            environ=values,
        )


def _integer(values: Mapping[str, str], name: str, default: int, *, minimum: int) -> int:
    text = values.get(name)
    if not text:
        return default
    try:
        number = int(text.replace("_", ""))
    except ValueError:
        raise RecipeError(f"setting {name} is {text!r}; give a whole number") from None
    if number < minimum:
        raise RecipeError(f"setting {name} is {number}; the smallest value is {minimum}")
    return number


def expand_place(uri: str, environ: Mapping[str, str]) -> str:
    """Fill `${NAME}` in a source's uri from the environment; `${SITE_PACKAGES}` is this Python's.

    A place is never hashed, so the same recipe works where the documents lie elsewhere.
    Raises RecipeError naming a variable that is not set.
    """
    rest = _VARIABLE.sub("", uri)
    if "${" in rest:
        raise RecipeError(f"uri {uri!r} has a '${{' without a name and '}}'; write ${{NAME}}")
    return _VARIABLE.sub(lambda match: _place(match.group(1), uri, environ), uri)


def _place(name: str, uri: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None and name == "SITE_PACKAGES":
        value = sysconfig.get_paths()["purelib"]
    if value is None:
        raise RecipeError(f"uri {uri!r} names ${{{name}}}, which is not set; set {name} or write the path")
    return value
