"""Rows of a real PostgreSQL: nights of changes, passwords that stay hidden, and a server that dies while it is read."""

import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.acquire import acquire, open_files
from datasets_pipeline.parallel import InProcessPool, open_pool
from datasets_pipeline.sources import databases, sql, sql_pages
from ingot import credentials
from ingot.config import NamedConfig
from ingot.errors import DataError, NotFoundError, RecipeError, StorageError
from ingot.parquet import read_table
from ingot.storage import Store
from tests.stack.postgres import PASSWORD, Postgres, running

NUM_ROWS = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running() as started:
        started.client("createdb", "helpdesk")
        write(started, "CREATE TABLE tickets (id uuid PRIMARY KEY, number int, title text, body text, at timestamptz, "
                       "cost numeric(9, 2), labels text[], facts jsonb, picture bytea)")  # fmt: skip
        # A uuid of the number: a key that is neither a number nor in the order of writing.
        write(started, "INSERT INTO tickets SELECT md5(n::text)::uuid, n, 'Ticket ' || n, 'Body of ' || n || ': größe',"
                       "timestamptz '2024-01-02 03:04:05+02', n / 4.0, array['a', 'b'], '{\"n\": [1]}', 'x' "
                       f"FROM generate_series(1, {NUM_ROWS}) AS n")  # fmt: skip
        yield started


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_SECRET_HELP_DESK", PASSWORD)


def write(server: Postgres, statement: str) -> None:
    server.client("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "helpdesk", "-c", statement)


def config_of(server: Postgres, **options: Any) -> sql.Config:
    given = {
        "name": "tickets", "uri": server.url("helpdesk"), "credentials": "help-desk", "table": "public.tickets",
        "key": "id", "changed_column": "at", "text_template": "# {title}\n\n{body}",
    }  # fmt: skip
    return sql.Config.model_validate({**given, **options})


def look(store: Store, config: sql.Config, pool: Any = None) -> tuple[dict[str, int], dict[str, str]]:
    named = NamedConfig(kind="source", name="sql", config=config)
    snapshot = acquire(store, named, pool or InProcessPool(), place=config.uri, unit_bytes=8 << 20, now="2026-01-01")
    documents: dict[str, str] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for file in open_files(store, snapshot):
        if file.unit not in tables:
            tables[file.unit] = read_table(store, f"documents/{file.unit}.parquet", columns=["uri", "text"]).to_pylist()
        rows = tables[file.unit][file.first_row : file.first_row + file.num_rows]
        documents |= {row["uri"]: row["text"] for row in rows}
    return snapshot.counts, documents


def test_nights_of_a_hundred_thousand_rows(server: Postgres, tmp_path: Path) -> None:
    store, config = Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch"), config_of(server)
    # Two workers, who have no secret in their environment.
    with open_pool(2, scratch=tmp_path / "pool") as pool:
        first, documents = look(store, config, pool)
    assert len(documents) == NUM_ROWS and first["read"] == first["seen"] > 70 and first["quarantined"] == 0
    second, again = look(store, config)
    assert second["opened"] == 0 and again == documents
    write(server, "UPDATE tickets SET body = 'Solved.', at = now() WHERE number IN (5, 50000)")
    write(server, "DELETE FROM tickets WHERE number BETWEEN 100 AND 109")
    write(server, "INSERT INTO tickets SELECT md5(n::text)::uuid, n, 'Late', 'Late ' || n, now() "
                  f"FROM generate_series({NUM_ROWS} + 1, {NUM_ROWS} + 5) AS n")  # fmt: skip
    third, now = look(store, config)
    gone, new = documents.keys() - now.keys(), now.keys() - documents.keys()
    changed = [uri for uri in documents.keys() & now.keys() if documents[uri] != now[uri]]
    assert (len(gone), len(new), len(changed)) == (10, 5, 2)
    assert third["opened"] <= 3 * (10 + 5 + 2) and third["unchanged"] >= third["seen"] - third["opened"]
    held = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*.json"))
    assert PASSWORD.encode() not in held and held


def test_values_are_written_in_one_way_whatever_the_server_prefers(server: Postgres) -> None:
    columns = ("at", "cost", "labels", "facts", "number")
    query = "SELECT * FROM public.tickets WHERE number = 6"
    config = config_of(server, table=None, query=query, metadata_columns=columns)
    write(server, "ALTER DATABASE helpdesk SET timezone = 'Asia/Tokyo'")
    write(server, "ALTER DATABASE helpdesk SET datestyle = 'German'")
    (entry,) = sql.list_files(config)
    (document,) = sql.extract_file(config, entry, sql.read_file(config, entry).data).documents
    assert document.metadata == {
        "at": "2024-01-02T01:04:05+00:00", "cost": "1.50", "labels": '["a", "b"]', "facts": '{"n": [1]}', "number": 6,
    }  # fmt: skip
    with pytest.raises(Exception, match="holds bytes"):
        sql.read_file(config_of(server, metadata_columns=("picture",)), entry)


def test_a_wrong_or_missing_password_is_told_and_never_shown(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("INGOT_SECRET_HELP_DESK", "wr0ng-w0rd")
    with pytest.raises(StorageError, match="refused the user or the password.*INGOT_SECRET_HELP_DESK") as refused:
        list(sql.list_files(config_of(server)))
    told = "".join(traceback.format_exception(refused.value)) + repr(pickle.dumps(refused.value)) + caplog.text
    assert "wr0ng-w0rd" not in told and refused.value.__context__ is None
    monkeypatch.delenv("INGOT_SECRET_HELP_DESK")
    with pytest.raises(RecipeError, match="put it into INGOT_SECRET_HELP_DESK, or into .*secrets/help-desk"):
        list(sql.list_files(config_of(server)))
    with pytest.raises(StorageError, match="refused"):
        list(sql.list_files(config_of(server, credentials=None)))


def test_a_password_in_a_file_that_others_may_not_read_is_taken(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("INGOT_SECRET_HELP_DESK")
    monkeypatch.setenv("INGOT_HOME", str(tmp_path))
    file = tmp_path / "secrets" / "help-desk"
    file.parent.mkdir()
    file.write_text(PASSWORD + "\n")
    file.chmod(0o644)
    with pytest.raises(RecipeError, match="others may read .*chmod 600"):
        list(sql.list_files(config_of(server)))
    file.chmod(0o600)
    assert len(list(sql.list_files(config_of(server)))) > 70


def test_nothing_is_written_whatever_the_query_says(server: Postgres) -> None:
    write(server, "CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM tickets RETURNING 1'")
    write(server, "CREATE SEQUENCE steps")
    for query in ("SELECT wipe() AS id, 'x' AS title, 'y' AS body",
                  "SELECT nextval('steps') AS id, 'x' AS title, 'y' AS body"):  # fmt: skip
        with pytest.raises(DataError, match="does not take the query"):
            list(sql.list_files(config_of(server, table=None, query=query, changed_column=None)))


def test_a_slow_statement_and_what_is_not_there_are_told_apart(server: Postgres) -> None:
    slow = "SELECT number AS id, title, body, pg_sleep(0.01)::text AS at FROM tickets"
    with pytest.raises(StorageError, match="longer than 0.5 s"):
        list(sql.list_files(config_of(server, table=None, query=slow, statement_timeout_seconds=0.5)))
    with pytest.raises(NotFoundError, match="no such table"):
        list(sql.list_files(config_of(server, table="public.nothing")))
    with pytest.raises(DataError, match="no column words"):
        list(sql.list_files(config_of(server, text_template="{words}")))
    with pytest.raises(DataError, match="is no database"):
        list(sql.list_files(config_of(server, uri=server.url("nowhere"))))


def test_a_server_killed_while_it_is_read_is_a_storage_error_and_the_next_run_completes(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch")
    config = config_of(server, table=None, query="SELECT * FROM tickets WHERE number <= 15000")
    rows, seen = sql_pages.rows, []

    def dying(*arguments: Any) -> Iterator[dict[str, Any]]:
        for row in rows(*arguments):
            seen.append(1)
            if len(seen) == 5_000:
                server.stop("immediate")
            yield row

    monkeypatch.setattr(sql_pages, "rows", dying)
    try:
        with pytest.raises(StorageError, match="failed|answer|reading"):
            look(store, config)
        with pytest.raises(StorageError, match="check that it runs"):
            look(store, config)
    finally:
        server.start()
    monkeypatch.setattr(sql_pages, "rows", rows)
    counts, documents = look(store, config)
    assert counts["quarantined"] == 0 and len(documents) == counts_of(server)


def counts_of(server: Postgres) -> int:
    return int(
        server.client("psql", "-At", "-d", "helpdesk", "-c", "SELECT count(*) FROM tickets WHERE number <= 15000")
    )


def test_a_unit_of_work_is_given_its_one_secret_and_nothing_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials.to_hand_on("help-desk") == {"help-desk": PASSWORD} and credentials.to_hand_on(None) == {}
    monkeypatch.delenv("INGOT_SECRET_HELP_DESK")
    with credentials.given({"help-desk": "handed"}):
        assert credentials.secret("help-desk") == "handed"
    with pytest.raises(RecipeError):
        credentials.secret("help-desk")
    assert databases.local_path("postgresql://h/d") is None
