"""Both servers on PostgreSQL, by settings alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments import databases
from ingot.errors import ServiceError
from ingot.settings import Settings
from tests.stack.conftest import make_settings
from tests.stack.postgres import PASSWORD, Postgres, running

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def on_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    plain = make_settings(tmp_path_factory.mktemp("postgres") / "home")
    return with_variables(
        plain, INGOT_PREFECT_DATABASE=postgres.url("prefect"), INGOT_MLFLOW_DATABASE=postgres.url("mlflow"),
        INGOT_SECRET_DATABASE=PASSWORD, INGOT_DATA_WORKERS="2",
    )  # fmt: skip


def with_variables(settings: Settings, **values: str) -> Settings:
    return replace(settings, environ={**settings.environ, **values})


def test_what_is_missing_is_told_with_the_command_that_makes_it(postgres: Postgres, on_postgres: Settings) -> None:
    with pytest.raises(ServiceError, match="prefect does not exist; create it with: createdb .*ingot prefect"):
        databases.check_all(on_postgres)
    for name in ("prefect", "mlflow"):
        postgres.client("createdb", name)
    with pytest.raises(ServiceError, match="refused ingot; give its password in INGOT_SECRET_DATABASE") as refused:
        databases.check(with_variables(on_postgres, INGOT_SECRET_DATABASE="wrong-word"), "prefect")
    assert "wrong-word" not in str(refused.value)
    databases.check_all(on_postgres)
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
