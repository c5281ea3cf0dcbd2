"""Fill an MLflow that is empty, or behind, from plain records. Safe to repeat."""

from collections.abc import Iterable

from ingot.errors import ServiceError
from ingot.tracked_run import TrackedRun
from ingot.tracking_records import RunRecord, VersionRecord, read_lines
from ingot.tracking_versions import register_model_version


def restore_run(tracking_uri: str, record: RunRecord) -> None:
    """Make this run in MLflow as the record says: params, tags, inputs, curves, files, status, times.

    What is there already is not doubled. Raises ServiceError when MLflow did not take all of it.
    """
    run = TrackedRun(tracking_uri, record)
    run.log_metric_lines([*record.metric_lines, *(read_lines(record.metrics_path) if record.metrics_path else [])])
    if record.status != "RUNNING":
        run.end(record.status, end_time_ms=record.end_time_ms)
    if run.failures or not run.is_complete:
        raise ServiceError(
            f"MLflow at {tracking_uri} did not take run {record.name}; see logs/mlflow.log and try again"
        )


def restore(tracking_uri: str, runs: Iterable[RunRecord], versions: Iterable[VersionRecord]) -> tuple[int, int]:
    """Restore runs first, then the model versions that name them; returns how many of each."""
    num_runs = num_versions = 0
    for record in runs:
        restore_run(tracking_uri, record)
        num_runs += 1
    for version in sorted(versions, key=lambda v: (v.name, v.version)):
        register_model_version(tracking_uri, version)
        num_versions += 1
    return num_runs, num_versions
