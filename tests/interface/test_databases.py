"""PostgreSQL by settings alone: what the servers are given, and what is refused before they start."""

import json
from pathlib import Path

import pytest

from deployments import databases
from ingot.errors import RecipeError, ServiceError
from ingot.settings import Settings
from interface.cli import main

PREFECT_URL = "postgresql://ingot@db.example:5433/prefect"


def settings(home: Path, **values: str) -> Settings:
    return Settings.from_environment({"INGOT_HOME": str(home), **values})


def test_without_a_setting_both_servers_keep_sqlite_below_the_home(home: Path) -> None:
    assert databases.prefect_environment(settings(home)) == {}
    assert databases.mlflow_environment(settings(home)) == {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/mlflow/mlflow.db"
    }
    told = databases.check(settings(home), "prefect")
    assert told == f"SQLite {home}/prefect/prefect.db, made by the first `ingot up`"


def test_each_server_is_given_its_driver_and_the_password_apart_from_the_url(home: Path) -> None:
    given = settings(
        home, INGOT_PREFECT_DATABASE="postgresql://in%40got@127.0.0.1/a", INGOT_SECRET_DATABASE="se:cret",
        INGOT_MLFLOW_DATABASE="postgresql://ingot@[::1]:5433/b",
    )  # fmt: skip
    assert databases.prefect_environment(given) == {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://in%40got@127.0.0.1:5432/a",
        "PGPASSWORD": "se:cret",
    }
    assert databases.mlflow_environment(given) == {
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://ingot@[::1]:5433/b",
        "PGPASSWORD": "se:cret",
    }


def test_off_this_machine_the_connection_is_encrypted(home: Path) -> None:
    assert databases.prefect_environment(settings(home, INGOT_PREFECT_DATABASE=PREFECT_URL))["PGSSLMODE"] == "require"
    strict = settings(home, INGOT_PREFECT_DATABASE=PREFECT_URL, PGSSLMODE="verify-full")
    assert databases.prefect_environment(strict)["PGSSLMODE"] == "verify-full"
    with pytest.raises(RecipeError, match="PGSSLMODE=prefer would send data to db.example unencrypted"):
        databases.prefect_environment(settings(home, INGOT_PREFECT_DATABASE=PREFECT_URL, PGSSLMODE="prefer"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://ingot:hunter2@db/prefect", "holds a password.*INGOT_SECRET_DATABASE or ~/.pgpass"),
        ("postgresql://ingot:hunter2@db:port/prefect", "is not a URL"),
        ("mysql://ingot@db/prefect", "is not a PostgreSQL database"),
        ("postgresql://db/prefect", "is not a PostgreSQL database"),
        ("postgresql://ingot@db/prefect?password=hunter2", "is not a PostgreSQL database"),
        ("postgresql://ingot@db", "names no database"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(home: Path, url: str, told: str) -> None:
    with pytest.raises(RecipeError, match=f"INGOT_PREFECT_DATABASE {told}") as refused:
        databases.prefect_environment(settings(home, INGOT_PREFECT_DATABASE=url))
    assert "hunter2" not in str(refused.value)


def test_one_database_for_both_servers_is_refused(home: Path) -> None:
    both = settings(home, INGOT_PREFECT_DATABASE=PREFECT_URL, INGOT_MLFLOW_DATABASE=PREFECT_URL)
    with pytest.raises(RecipeError, match="make one database for each"):
        databases.check(both, "mlflow")


def test_a_server_that_does_not_answer_is_told_with_its_place(home: Path) -> None:
    given = settings(home, INGOT_PREFECT_DATABASE="postgresql://ingot@127.0.0.1:1/prefect")
    with pytest.raises(ServiceError, match=r"ingot@127\.0\.0\.1:1/prefect does not answer; start PostgreSQL there"):
        databases.check(given, "prefect")
    assert databases.trouble(given, "prefect")[0] is False
    assert databases.trouble(given, "mlflow") == (True, databases.check(given, "mlflow"))


def test_doctor_says_which_database_each_server_uses_and_where_news_go(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGOT_MLFLOW_DATABASE", "postgresql://ingot@127.0.0.1:1/mlflow")
    monkeypatch.setenv("INGOT_NOTIFY", "https://chat.example/hook/a-secret-path")
    assert main(["doctor", "--json"]) == 75
    printed = capsys.readouterr().out
    found = {check["name"]: check for check in json.loads(printed)["checks"]}
    assert found["prefect database"]["text"].startswith(f"SQLite {home}/prefect/prefect.db")
    assert found["prefect database"]["ok"] and not found["mlflow database"]["ok"]
    assert "127.0.0.1:1/mlflow does not answer" in found["mlflow database"]["text"]
    assert found["notify"] == {"name": "notify", "ok": True, "text": "news go to chat.example"}
    assert "a-secret-path" not in printed
