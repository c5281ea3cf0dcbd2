"""Both servers' databases, MLflow's artifacts and the notes of INGOT_HOME/run: the stack's half of a backup.

SQLite is copied through its online backup API, PostgreSQL through pg_dump, while the servers run. They are views
(CONTRACTS 14): where a database cannot be dumped or put back, a note says so and `ingot rebuild` fills it again.
The secret before the servers, what runs now and the logs are no part of a backup.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from deployments import databases
from deployments.databases import MLFLOW, PREFECT
from ingot.backup import ARTIFACTS_FOLDER, DATABASES_FOLDER, RUN_FOLDER, BackupFile, Index
from ingot.digests import sha256_file
from ingot.errors import DataError, IntegrityError
from ingot.restore import checked
from ingot.settings import Settings
from ingot.storage import Store

RUN_NOTES = ("ports.json", "recipe.json", "schedules.json", "notified.json")
"""What of INGOT_HOME/run a restored stack goes on with."""
_REBUILD = "after `ingot up`, `ingot rebuild` fills MLflow again from the store"
_DUMP_SECONDS = 3600

Report = Callable[[str, int, int], None]


def dump(
    settings: Settings, folder: Path, previous: Index | None, now: datetime, report: Report
) -> tuple[list[BackupFile], list[str]]:
    """Copy databases, artifacts and notes into a backup's folder; returns its files and what is missing, as notes."""
    target = Store(str(folder))
    files: list[BackupFile] = []
    notes: list[str] = []
    for number, server in enumerate((PREFECT, MLFLOW), start=1):
        # A name of its own for each backup: the index of the last one names the last dump until the new one is there.
        name = f"{DATABASES_FOLDER}/{now:%Y%m%dT%H%M%S.%fZ}/{server}"
        with target.scratch() as scratch:
            path, note = _dump_one(settings, server, scratch)
            if path is not None:
                files.append(_put(target, name + path.suffix, path))
            if note:
                notes.append(note)
        report("databases", number, 2)
    known = {file.name: file for file in previous.files} if previous else {}
    for name, path in _small_files(settings.home):
        old = known.get(name)
        if old is not None and target.size(name) == old.size and _sha256(path) == old.sha256:
            files.append(old)
            continue
        try:
            files.append(_put(target, name, path))
        except FileNotFoundError:
            continue  # deleted in the MLflow UI meanwhile
    return files, notes


def _small_files(home: Path) -> Iterator[tuple[str, Path]]:
    for note in RUN_NOTES:
        if (home / RUN_FOLDER / note).is_file():
            yield f"{RUN_FOLDER}/{note}", home / RUN_FOLDER / note
    root = home / MLFLOW / "artifacts"
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"{ARTIFACTS_FOLDER}/{path.relative_to(root).as_posix()}", path


def _put(target: Store, name: str, path: Path) -> BackupFile:
    target.put_file(name, path, overwrite=True)
    copy = target.local_path(name)
    return BackupFile(name=name, size=copy.stat().st_size, sha256=sha256_file(copy))


def _sha256(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except FileNotFoundError:
        return None


def _dump_one(settings: Settings, server: str, scratch: Path) -> tuple[Path | None, str]:
    """A file with the server's database, or None and a note."""
    if settings.environ.get(f"INGOT_{server.upper()}_URI"):
        return None, f"INGOT_{server.upper()}_URI names another's server: its database is not in this backup"
    database = databases.postgres_of(settings, server)
    if database is None:
        source = databases.sqlite_of(settings, server)
        if not source.is_file():
            return None, f"{source} does not exist, so {server} is not in this backup; check INGOT_HOME"
        copy_sqlite(source, scratch / f"{server}.db")
        return scratch / f"{server}.db", ""
    program = shutil.which("pg_dump")
    if program is None:
        return None, f"pg_dump is not installed, so {database} is not in this backup; {_REBUILD}"
    dumped = scratch / f"{server}.pgdump"
    words = _run(settings, database, [program, "--format=custom", "--no-owner", "--file", str(dumped)])
    if words:
        return None, f"pg_dump could not read {database}, so it is not in this backup ({words}); {_REBUILD}"
    return dumped, ""


def copy_sqlite(source: Path, copy: Path) -> None:
    """One consistent copy of a database that others write to; IntegrityError when it is damaged."""
    try:
        with closing(sqlite3.connect(source, timeout=60)) as live, closing(sqlite3.connect(copy)) as saved:
            live.backup(saved)  # in one step: in pieces it would begin again at each write of the server
            saved.execute("PRAGMA journal_mode = DELETE")
            answer = saved.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"{source} cannot be read ({error}); stop the stack, delete it, {_REBUILD}") from None
    if answer != "ok":
        raise IntegrityError(f"{source} is damaged ({answer}); stop the stack, delete it, {_REBUILD}")
    copy.chmod(0o600)


def _run(settings: Settings, database: databases.PostgresDatabase, command: list[str]) -> str:
    """Run a PostgreSQL program; empty when it succeeded, else the last thing it said."""
    environment = {**settings.environ, **databases.connection_environment(settings, database)}
    try:
        done = subprocess.run(
            [*command, "--no-password", *database.options, "--dbname", database.name],
            env=environment, capture_output=True, text=True, timeout=_DUMP_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it took longer than {_DUMP_SECONDS} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1][:200]


def load(settings: Settings, folder: Path, index: Index, report: Report) -> list[str]:
    """Put databases, artifacts and notes of a backup into the home of `settings`; returns what was not, as notes."""
    home = settings.home
    notes = []
    places = {ARTIFACTS_FOLDER: home / MLFLOW / "artifacts", RUN_FOLDER: home / RUN_FOLDER}
    files = [file for file in index.files if file.name.split("/")[0] in (DATABASES_FOLDER, *places)]
    # An index can be edited and sealed again: nothing but what `dump` writes gets near the secret of the pages.
    strange = [file for file in files if not _is_dumped(file.name)]
    notes += [f"{file.name} is not of `ingot backup` and was not put back" for file in strange]
    files = [file for file in files if file not in strange]
    for number, file in enumerate(files, start=1):
        path = checked(folder, file)
        area, _, rest = file.name.partition("/")
        if area == DATABASES_FOLDER:
            notes += _load_database(settings, path)
        else:
            _copy_private(path, places[area] / rest)
        report("databases", number, len(files))
    dumped = {Path(file.name).stem for file in files if file.name.startswith(f"{DATABASES_FOLDER}/")}
    return notes + [f"the backup holds no database of {server}; {_REBUILD}" for server in (PREFECT, MLFLOW)
                    if server not in dumped]  # fmt: skip


def _is_dumped(name: str) -> bool:
    """Whether `dump` gives a file of its folders such a name."""
    area, _, rest = name.partition("/")
    if area == RUN_FOLDER:
        return rest in RUN_NOTES
    return area != DATABASES_FOLDER or Path(rest).stem in (PREFECT, MLFLOW)


def _load_database(settings: Settings, path: Path) -> list[str]:
    server = path.stem
    database = databases.postgres_of(settings, server)
    if path.suffix == ".db" and database is None:
        _copy_private(path, databases.sqlite_of(settings, server))
        return []
    if path.suffix == ".db":
        return [f"{server} was on SQLite and is now on {database}: its database was not put there; {_REBUILD}"]
    if database is None:
        variable = f"INGOT_{server.upper()}_DATABASE"
        return [f"{server} was on PostgreSQL and {variable} is not set: it starts empty on SQLite; {_REBUILD}"]
    program = shutil.which("pg_restore")
    if program is None:
        return [f"pg_restore is not installed, so {database} was not filled; {_REBUILD}"]
    if _has_tables(settings, database):
        raise DataError(f"{database} is not empty; name an empty database in INGOT_{server.upper()}_DATABASE")
    command = [program, "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    words = _run(settings, database, command + [str(path)])
    return [f"pg_restore could not fill {database} ({words}); {_REBUILD}"] if words else []


def _has_tables(settings: Settings, database: databases.PostgresDatabase) -> bool:
    with closing(databases.connect(settings, database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        return bool(cursor.fetchone()[0])


def _copy_private(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = place.with_name(place.name + ".part")
    with open(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file, open(path, "rb") as source:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(place)
