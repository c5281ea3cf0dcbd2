"""Both servers on PostgreSQL, by settings alone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments import backup_databases, databases, local_stack
from deployments.local_stack import StackState
from ingot.backup import Index
from ingot.errors import DataError, ServiceError
from ingot.settings import Settings
from tests import door
from tests.stack.conftest import make_settings
from tests.stack.postgres import PASSWORD, Postgres, running
from tests.stack.test_stack import start_run, wait_for_state

pytestmark = pytest.mark.stack
ENDED = ("COMPLETED", "FAILED", "CRASHED")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def on_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    plain = make_settings(tmp_path_factory.mktemp("postgres") / "home")
    door.prepare(plain.home)
    return with_variables(
        plain, INGOT_PREFECT_DATABASE=postgres.url("prefect"), INGOT_MLFLOW_DATABASE=postgres.url("mlflow"),
        INGOT_SECRET_DATABASE=PASSWORD, INGOT_DATA_WORKERS="2",
    )  # fmt: skip


def with_variables(settings: Settings, **values: str) -> Settings:
    return Settings.from_environment({**settings.environ, **values})


def test_what_is_missing_is_told_with_the_command_that_makes_it(postgres: Postgres, on_postgres: Settings) -> None:
    with pytest.raises(ServiceError, match="prefect does not exist; create it with: createdb .*ingot prefect"):
        databases.check(on_postgres, "prefect")
    for name in ("prefect", "mlflow"):
        postgres.client("createdb", name)
    with pytest.raises(ServiceError, match="refused ingot; give its password in INGOT_SECRET_DATABASE") as refused:
        databases.check(with_variables(on_postgres, INGOT_SECRET_DATABASE="wrong-word"), "prefect")
    assert "wrong-word" not in str(refused.value)
    assert [databases.trouble(on_postgres, server)[0] for server in databases.SERVERS] == [True, True]
    postgres.client("psql", "-c", "CREATE ROLE guest LOGIN PASSWORD 'guest'", "prefect")
    guest = with_variables(
        on_postgres, INGOT_PREFECT_DATABASE=postgres.url("prefect").replace("ingot@", "guest@"),
        INGOT_SECRET_DATABASE="guest",
    )  # fmt: skip
    with pytest.raises(ServiceError, match="psql prefect -c 'CREATE EXTENSION pg_trgm'"):
        databases.check(guest, "prefect")


def test_a_pgpass_file_is_enough(postgres: Postgres, on_postgres: Settings, tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = tmp_path / "pgpass"
    path.write_text(f"127.0.0.1:{postgres.port}:*:ingot:{PASSWORD}\n")
    path.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(path))
    told = databases.check(with_variables(on_postgres, INGOT_SECRET_DATABASE=""), "mlflow")
    assert "mlflow answers, version" in told


@pytest.fixture(scope="module")
def stack(on_postgres: Settings) -> Iterator[StackState]:
    """Stands on the databases that the first test made."""
    try:
        yield local_stack.up(on_postgres, start_seconds=240)
    finally:
        local_stack.down(on_postgres)


def test_two_workers_share_the_runs_and_outlive_a_database_that_was_killed(
    stack: StackState, on_postgres: Settings, postgres: Postgres, tmp_path: Path
) -> None:
    server = local_stack.prefect_server(on_postgres, stack)
    notes = tmp_path / "notes.txt"
    flow = server.post("/flows/", {"name": "meet"})
    place = {"work_pool_name": "data", "entrypoint": "tests.stack.tiny_flows.meet", "pull_steps": []}
    deployment = server.post("/deployments/", {"name": "meet", "flow_id": flow["id"], **place})["id"]
    workers = server.post("/work_pools/data/workers/filter", {})
    assert len([worker for worker in workers if worker["status"] == "ONLINE"]) == 2

    meeting = [start_run(server, deployment, path=str(notes), name=name, others=1) for name in ("first", "second")]
    assert [wait_for_state(server, run, *ENDED, seconds=150) for run in meeting] == ["COMPLETED", "COMPLETED"]
    assert sorted(notes.read_text().split()) == ["first", "second"], "a run was taken by both workers"

    postgres.stop("immediate")
    postgres.start()
    third = start_run(server, deployment, path=str(notes), name="third", others=0)
    assert wait_for_state(server, third, *ENDED, seconds=150) == "COMPLETED"
    assert sorted(notes.read_text().split()) == ["first", "second", "third"]
    assert int(postgres.client("psql", "-Atc", "SELECT count(*) FROM flow_run", "prefect")) == 3
    assert not (on_postgres.home / "prefect/prefect.db").exists()
    assert not (on_postgres.home / "mlflow/mlflow.db").exists()
    for process in local_stack.stack_processes(on_postgres):
        assert PASSWORD not in " ".join(process.cmdline())


def test_a_backup_holds_both_databases_and_fills_empty_ones(
    stack: StackState, on_postgres: Settings, postgres: Postgres, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    files, notes = backup_databases.dump(on_postgres, tmp_path / "kept", None, now, lambda *progress: None)
    assert notes == []
    index = Index(time="", store="", ledger_head="0:", files=tuple(files))
    with pytest.raises(DataError, match="is not empty; name an empty database in INGOT_PREFECT_DATABASE"):
        load(on_postgres, tmp_path, index, "new")
    for name in ("prefect2", "mlflow2"):
        postgres.client("createdb", name)
    other = with_variables(
        on_postgres, INGOT_PREFECT_DATABASE=postgres.url("prefect2"), INGOT_MLFLOW_DATABASE=postgres.url("mlflow2")
    )
    assert load(other, tmp_path, index, "new") == []
    assert int(postgres.client("psql", "-Atc", "SELECT count(*) FROM flow_run", "prefect2")) == 3
    assert int(postgres.client("psql", "-Atc", "SELECT count(*) FROM experiments", "mlflow2")) > 0
    on_sqlite = with_variables(on_postgres, INGOT_PREFECT_DATABASE="", INGOT_MLFLOW_DATABASE="")
    assert "starts empty on SQLite; after `ingot up`, `ingot rebuild`" in load(on_sqlite, tmp_path, index, "third")[0]


def load(settings: Settings, folder: Path, index: Index, home: str) -> list[str]:
    there = replace(settings, home=folder / home)
    return backup_databases.load(there, folder / "kept", index, lambda *progress: None)
