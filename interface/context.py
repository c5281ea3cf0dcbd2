"""What commands share: settings, the store, overrides, and a connection to the local stack."""

import logging
import os
from argparse import Namespace

from ingot.errors import RecipeError
from ingot.settings import Settings
from ingot.storage import Store
from interface.output import Printer


def open_settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment()


def open_store(settings: Settings) -> Store:
    """The store of this installation."""
    return Store(settings.store, scratch_root=settings.scratch)


def overrides(options: Namespace) -> dict[str, str]:
    """`--set path=value` as a mapping; RecipeError for one without '='."""
    result: dict[str, str] = {}
    for entry in options.set:
        path, separator, value = entry.partition("=")
        if not separator or not path:
            raise RecipeError(f"--set {entry!r} has no value; write --set train.0.tokens=200_000")
        result[path] = value
    return result


def connect(settings: Settings, printer: Printer, *, recipe: str | None = None) -> dict[str, str]:
    """Make this process talk to the local stack, starting it when it is down; returns the UI addresses.

    Must run before anything imports Prefect or MLflow, which read these variables once.
    """
    from deployments import local_stack
    from interface.stack import start_stack

    state = local_stack.status(settings)
    if not state.running:
        printer.line("starting the local stack (Prefect, MLflow, worker) ...")
        state = start_stack(settings, recipe)
    os.environ.update(local_stack.environment(state))
    # Progress bars tell people what happens, and an error is printed once; Prefect's lines go to its UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return {"prefect": str(state.prefect_ui_url), "mlflow": str(state.mlflow_url)}
