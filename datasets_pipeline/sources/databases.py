"""One read-only transaction on a database, through SQLAlchemy: PostgreSQL and SQLite.

Errors of a database quote statements, parameters and addresses, so they are told by kind. Text of a table is hostile
like any other, but it is only carried here; it is read as documents in extract_file.
"""

import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from datasets_pipeline.sources.base import refuse_credentials
from ingot import credentials
from ingot.errors import DataError, IngotError, NotFoundError, RecipeError, StorageError

SCHEMES = ("postgresql", "postgresql+psycopg2", "sqlite")
# Options of a PostgreSQL address that say how to reach it; others may carry a secret, or undo the read-only session.
_POSTGRES_OPTIONS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs", "host", "port"}
_CONNECT_SECONDS = 10
_SQLITE_STEPS = 10_000  # virtual machine steps between two looks at the clock; about a millisecond

T = TypeVar("T")


def check_uri(uri: str) -> None:
    """Raise RecipeError for anything but the address of a PostgreSQL or SQLite database without a secret."""
    refuse_credentials(uri)
    parts = urlsplit(uri)
    if "://" not in uri or parts.scheme not in SCHEMES:
        raise RecipeError(
            f"uri kind {parts.scheme or 'path'!r} is not a database; write postgresql://USER@HOST/NAME or "
            "sqlite:////absolute/path"
        )
    if parts.scheme == "sqlite":
        if parts.query or parts.fragment or parts.netloc or not parts.path.startswith("//"):
            raise RecipeError("a SQLite database is sqlite:// and an absolute path: sqlite:////data/tickets.db")
        return
    options = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if options - _POSTGRES_OPTIONS:
        raise RecipeError(
            f"uri of a PostgreSQL database has the options {', '.join(sorted(options - _POSTGRES_OPTIONS))}; "
            f"known: {', '.join(sorted(_POSTGRES_OPTIONS))}"
        )
    if not parts.path.strip("/"):
        raise RecipeError("uri of a PostgreSQL database names none; write postgresql://USER@HOST/NAME")


def local_path(uri: str) -> Path | None:
    """The file of a SQLite database; None for a server. Raises RecipeError as check_uri does."""
    check_uri(uri)
    parts = urlsplit(uri)
    return Path(parts.path[1:]) if parts.scheme == "sqlite" else None


def read(uri: str, credential: str | None, timeout_seconds: float, work: Callable[[Any], T]) -> T:
    """What `work` returns for a connection in one read-only transaction that sees one state of the database.

    Raises StorageError when the database does not answer, or a statement takes longer than timeout_seconds;
    NotFoundError and DataError for a table or column that is not there. No message of the database is passed on.
    """
    import sqlalchemy

    place = _place(uri)
    failure: IngotError
    try:
        engine = _engine(uri, credential, timeout_seconds)
        try:
            with engine.connect() as connection, connection.begin():
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # the driver begins one for writes only
                return work(connection)
        finally:
            engine.dispose()
    except IngotError:
        raise
    except sqlalchemy.exc.DBAPIError as error:
        failure = _told(error.orig, type(error.orig).__name__, place, credential, timeout_seconds)
    except Exception as error:  # drivers raise what they please
        failure = _told(error, type(error).__name__, place, credential, timeout_seconds)
    raise failure  # outside of the handlers: a chained exception would carry the statement along


def _engine(uri: str, credential: str | None, timeout_seconds: float) -> Any:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    path = local_path(uri)
    if path is not None:
        return _sqlite_engine(path, timeout_seconds)
    url = sqlalchemy.engine.make_url(uri)
    if credential is not None:
        url = url.set(password=credentials.secret(credential))
    # One session setting for all: values must not look different because a server's defaults do.
    options = {
        "statement_timeout": str(int(timeout_seconds * 1000)),
        "default_transaction_read_only": "on",
        "timezone": "UTC",
        "datestyle": "ISO",
    }
    return sqlalchemy.create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "ingot",
            "client_encoding": "utf8",
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            # A server that vanished without a word is noticed.
            "keepalives_idle": 30,
            "tcp_user_timeout": int((timeout_seconds + 30) * 1000),
        },
    )


def _sqlite_engine(path: Path, timeout_seconds: float) -> Any:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    try:
        status = path.stat()
    except OSError as error:
        raise NotFoundError(
            f"database {path} is not there ({type(error).__name__}); check `uri`, or mount it"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"database {path} is not a file; name one")
    deadline = [float("inf")]

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, isolation_level=None, timeout=_CONNECT_SECONDS
        )
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.set_progress_handler(lambda: int(time.monotonic() > deadline[0]), _SQLITE_STEPS)
        # The schema of a hostile file must not call functions; damaged pages must be noticed.
        for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")  # type: ignore[untyped-decorator]
    def _start_clock(*_: Any) -> None:
        deadline[0] = time.monotonic() + timeout_seconds

    return engine


def _place(uri: str) -> str:
    """A database as errors name it."""
    parts = urlsplit(uri)
    name = parts.path.strip("/") if parts.scheme != "sqlite" else parts.path[1:]
    return f"database {name}" + (f" on {parts.hostname}" if parts.hostname else "")


# What a driver says, in its own words, by the code of PostgreSQL or a phrase; the words stay here.
_REFUSED = ("28P01", "28000", "password authentication failed", "no password supplied", "fe_sendauth")
_TOO_LONG = ("57014", "interrupted")
_NO_TABLE = ("42P01", "3F000", "no such table")
_NO_COLUMN = ("42703", "no such column")
_NO_QUERY = (
    "42601",
    "25006",
    "0A000",
    "syntax error",
    "readonly database",
    "one statement at a time",
    "incomplete input",
)
_NO_RIGHT = ("42501",)
_NO_DATABASE = ("3D000", "is not a database", "malformed", "does not exist")


def _told(error: Any, kind: str, place: str, credential: str | None, timeout_seconds: float) -> IngotError:
    """An error of the driver by kind."""
    code = getattr(error, "pgcode", None)
    words = str(error).lower() if code is None else ""

    def is_one(marks: tuple[str, ...]) -> bool:
        return code in marks if code is not None else any(mark in words for mark in marks)

    if is_one(_REFUSED):
        where = credentials.variable(credential) if credential else "a secret that `credentials:` names"
        return StorageError(f"{place} refused the user or the password; check the user in `uri` and {where}")
    if is_one(_TOO_LONG):
        return StorageError(
            f"{place}: a statement took longer than {timeout_seconds:g} s; raise statement_timeout_seconds, lower "
            "page_rows, or make an index on the key"
        )
    if is_one(_NO_TABLE):
        return NotFoundError(f"{place} has no such table; check `table` or `query`, and what this user may see")
    if is_one(_NO_COLUMN):
        return DataError(f"{place}: a column is not there; check the columns of the source and of `query`")
    if is_one(_NO_QUERY):
        return DataError(f"{place} does not take the query ({kind}); `query` is one SELECT that writes nothing")
    if is_one(_NO_RIGHT):
        return StorageError(f"{place}: this user may not read the table; grant SELECT on it")
    if is_one(_NO_DATABASE):
        return DataError(f"{place} is not there or is no database ({kind}); check `uri`")
    return StorageError(f"reading {place} failed ({kind}); check that it runs and is reached, then start again")
