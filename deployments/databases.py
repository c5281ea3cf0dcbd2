"""The databases of both servers: SQLite below INGOT_HOME, or PostgreSQL by two settings.

`INGOT_PREFECT_DATABASE` and `INGOT_MLFLOW_DATABASE` are `postgresql://USER@HOST:PORT/NAME`. The password is in
neither: it comes from INGOT_SECRET_DATABASE or from ~/.pgpass, and reaches the servers through their environment,
because command lines can be read by every user of the machine.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ingot.errors import IngotError, RecipeError, ServiceError
from ingot.settings import Settings

PREFECT, MLFLOW = "prefect", "mlflow"
SERVERS = (PREFECT, MLFLOW)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WEAK_SSL = ("disable", "allow", "prefer")
_OLDEST = 140_000
_SECONDS = 5


@dataclass(frozen=True)
class PostgresDatabase:
    """One database on a PostgreSQL server; without the password."""

    user: str
    host: str
    port: int
    name: str

    def url(self, scheme: str) -> str:
        """As SQLAlchemy wants it, for this driver."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.name, safe='')}"

    @property
    def options(self) -> list[str]:
        """How psql, createdb and pg_dump are told the place."""
        return ["--host", self.host, "--port", str(self.port), "--username", self.user]

    def __str__(self) -> str:
        return f"PostgreSQL {self.user}@{self.host}:{self.port}/{self.name}"


def postgres_of(settings: Settings, server: str) -> PostgresDatabase | None:
    """The PostgreSQL database of `prefect` or `mlflow`; None when it is SQLite. RecipeError for a wrong URL."""
    variable = f"INGOT_{server.upper()}_DATABASE"
    value = settings.environ.get(variable)
    if not value:
        return None
    form = "write postgresql://USER@HOST:PORT/NAME"
    try:
        parts = urlsplit(value)
        port = parts.port or 5432
    except ValueError:
        # The value is not shown: a password with odd characters is what makes a URL unreadable.
        raise RecipeError(f"setting {variable} is not a URL; {form}") from None
    if parts.password is not None:
        raise RecipeError(
            f"setting {variable} holds a password; {form} and give the password in INGOT_SECRET_DATABASE or ~/.pgpass"
        )
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres") or parts.query or not parts.hostname or not parts.username:
        raise RecipeError(f"setting {variable} is not a PostgreSQL database; {form}")
    if not name or "/" in name:
        raise RecipeError(f"setting {variable} names no database; {form}")
    return PostgresDatabase(unquote(parts.username), parts.hostname, port, name)


def sqlite_of(settings: Settings, server: str) -> Path:
    """Where a server keeps its SQLite database when no PostgreSQL is set."""
    return settings.home / server / f"{server}.db"


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Variables that give the Prefect server its database; nothing for its default."""
    database = postgres_of(settings, PREFECT)
    if database is None:
        return {}
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url("postgresql+asyncpg"),
        **connection_environment(settings, database),
    }


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """Variables that give the MLflow server its database."""
    database = postgres_of(settings, MLFLOW)
    if database is None:
        return {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{sqlite_of(settings, MLFLOW)}"}
    return {
        "MLFLOW_BACKEND_STORE_URI": database.url("postgresql+psycopg2"),
        **connection_environment(settings, database),
    }


def connection_environment(settings: Settings, database: PostgresDatabase) -> dict[str, str]:
    """Password and encryption, as libpq and asyncpg both read them; ~/.pgpass is read by both without our help.

    Raises RecipeError when the connection would leave this machine unencrypted.
    """
    secret = settings.environ.get("INGOT_SECRET_DATABASE")
    found = {"PGPASSWORD": secret} if secret else {}
    if database.host not in _LOOPBACK:
        mode = settings.environ.get("PGSSLMODE") or "require"
        if mode in _WEAK_SSL:
            raise RecipeError(
                f"PGSSLMODE={mode} would send data to {database.host} unencrypted; use verify-full with PGSSLROOTCERT"
            )
        found["PGSSLMODE"] = mode
    return found


def check(settings: Settings, server: str) -> str:
    """Say which database a server uses and prove that it can; ServiceError with the remedy when it cannot."""
    database = postgres_of(settings, server)
    if database is None:
        path = sqlite_of(settings, server)
        return f"SQLite {path}" if path.exists() else f"SQLite {path}, made by the first `ingot up`"
    if server == MLFLOW and database == postgres_of(settings, PREFECT):
        raise RecipeError(f"both servers are given {database}; make one database for each, their tables would clash")
    version = _ask(settings, server, database)
    return f"{database} answers, version {version // 10_000}"


def connect(settings: Settings, database: PostgresDatabase) -> Any:
    """A connection of our own, to be closed; ServiceError with the remedy when there is none to be had."""
    import psycopg2

    secure = connection_environment(settings, database)
    try:
        return psycopg2.connect(
            user=database.user, host=database.host, port=database.port, dbname=database.name,
            connect_timeout=_SECONDS, password=secure.get("PGPASSWORD"), sslmode=secure.get("PGSSLMODE"),
        )  # fmt: skip
    except psycopg2.OperationalError as error:
        raise ServiceError(_explained(database, str(error))) from None


def _ask(settings: Settings, server: str, database: PostgresDatabase) -> int:
    with closing(connect(settings, database)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        version = int(cursor.fetchone()[0])
        if version < _OLDEST:
            raise ServiceError(f"{database} is version {version // 10_000}; Prefect needs PostgreSQL 14 or newer")
        if server == PREFECT:
            _need_trigrams(cursor, database)
        return version


def _need_trigrams(cursor: Any, database: PostgresDatabase) -> None:
    """Prefect's migrations create the extension pg_trgm, which needs its files and the right to."""
    if _is_true(cursor, "SELECT count(*) > 0 FROM pg_extension WHERE extname = 'pg_trgm'"):
        return
    if not _is_true(cursor, "SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
        raise ServiceError(
            f"{database} lacks the extension pg_trgm, which Prefect needs; install postgresql-contrib there"
        )
    if not _is_true(cursor, "SELECT has_database_privilege(current_database(), 'CREATE')"):
        raise ServiceError(
            f"{database} may not create the extension pg_trgm, which Prefect needs; as its owner or a superuser run: "
            f"psql {database.name} -c 'CREATE EXTENSION pg_trgm'"
        )


def _is_true(cursor: Any, sql: str) -> bool:
    cursor.execute(sql)
    return bool(cursor.fetchone()[0])


def _explained(database: PostgresDatabase, words: str) -> str:
    if "database" in words and "does not exist" in words:
        command = " ".join(["createdb", *database.options, database.name])
        return f"{database} does not exist; create it with: {command}"
    if "password" in words or "authentication" in words or "role" in words:
        return (
            f"{database} refused {database.user}; give its password in INGOT_SECRET_DATABASE or ~/.pgpass (mode 0600), "
            "and see that the role exists"
        )
    if "SSL" in words:
        return f"{database} offers no encrypted connection ({words.strip().splitlines()[-1]}); switch ssl on there"
    return f"{database} does not answer; start PostgreSQL there, or correct host and port"


def trouble(settings: Settings, server: str) -> tuple[bool, str]:
    """For `ingot doctor`: whether a server's database answers, and which it is or what to do."""
    try:
        return True, check(settings, server)
    except IngotError as error:
        return False, str(error)
