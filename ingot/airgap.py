"""The switches that keep libraries from calling home, in one place.

They are set before any library is imported, because several of them are read at import time.
A value the user has set is kept only when it also silences the library.
"""

import os

SWITCHES: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    # MLflow compares with the string "true"; DO_NOT_TRACK=1 does not silence it.
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # A package that is merely installed could read every validated record, and looking for one in all packages costs
    # each start a twentieth of a second.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    # A process without an API address must fail, not start a server of its own.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
}


def set_switches() -> None:
    """Set every switch in this process's environment, for it and for the children it starts."""
    os.environ.update(SWITCHES)
