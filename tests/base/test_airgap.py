"""No library below us calls home: the switches stand before any other import."""

import json
import os
import subprocess
import sys

import pytest

from ingot.airgap import SWITCHES


@pytest.mark.parametrize("package", ["ingot", "datasets_pipeline", "training", "evaluation", "tasks", "flows"])
def test_the_switches_stand_after_importing_a_root_package(package: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    # A value that does not silence the library is replaced: MLflow ignores DO_NOT_TRACK=1.
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}, os, json; print(json.dumps(dict(os.environ)))"],
        env={**clean, "DO_NOT_TRACK": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    environment = json.loads(done.stdout)
    assert {name: environment.get(name) for name in SWITCHES} == SWITCHES


def test_the_switches_are_those_that_were_measured() -> None:
    assert {
        "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    }.items() <= SWITCHES.items()  # fmt: skip
