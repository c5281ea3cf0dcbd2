"""MLflow's API in our words: where runs, curves and model versions are shown. The only module that imports it.

MLflow is a view. The truth is in manifests, ledger and metrics.jsonl; a run is keyed by our own id (tag
`ingot.run`) and no MLflow id is kept anywhere. What a run does over its life is in `ingot.tracked_run`,
model versions in `ingot.tracking_versions`, filling an empty MLflow in `ingot.tracking_rebuild`.

Importing MLflow's client takes 1.5 s and 150 MB, so it happens on the first call that needs it. Functions
that take a `client` let MLflow's errors through; those that take an address raise ServiceError.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ingot.errors import ServiceError
from ingot.heartbeats import Process
from ingot.tracking_records import DatasetInput, Point, RunRecord, as_param

if TYPE_CHECKING:
    from ingot.tracked_run import TrackedRun

RUN_TAG = "ingot.run"
HEARTBEAT_TAG = "ingot.heartbeat"
PROCESS_TAG = "ingot.process"
"""The process that feeds a run, as host:pid:start time: on its own machine it is known to be dead at once."""
LOGGED_TAG = "ingot.logged_steps"
ENDED_TAG = "ingot.ended"
HEARTBEAT_SECONDS = 15.0
DEAD_AFTER_SECONDS = 180.0
"""Twelve heartbeats: a machine under memory pressure may skip several without the run being dead."""
_TAG_CHARS = 7500  # MLflow's limit is 8000
_T = TypeVar("_T")


def connect(tracking_uri: str) -> Any:
    """An MLflow client for tracking and registry at this address, which gives up soon.

    MLflow's own patience is 7 tries and 120 s for each; here a dead server costs about a second and a
    hanging one 10 s, unless the environment says otherwise.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    # Else two lines with addresses go to stdout whenever a run ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow.tracking.client import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def find_run(client: Any, run_key: str) -> Any | None:
    """MLflow's run of our key, the oldest one should there be two; None when there is none."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    if not experiments:
        return None
    wanted = f"tags.`{RUN_TAG}` = '{run_key}'"
    found = client.search_runs(experiments, wanted, max_results=1, order_by=["attributes.start_time ASC"])
    return found[0] if found else None


def has_finished(tracking_uri: str, run_key: str) -> bool:
    """Whether MLflow shows this run as FINISHED; False also when MLflow does not answer."""

    def look(client: Any) -> bool:
        run = find_run(client, run_key)
        return run is not None and run.info.status == "FINISHED"

    try:
        return ask(tracking_uri, look)
    except ServiceError:
        return False


def open_run(
    tracking_uri: str,
    *,
    experiment: str,
    run_key: str,
    name: str,
    params: Mapping[str, str | int | float | bool] | None = None,
    tags: Mapping[str, str] | None = None,
    datasets: Iterable[DatasetInput] = (),
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> "TrackedRun":
    """A run to be used in a `with` block; one with this key is resumed, else one is made.

    At most 20 params, which must be equal on every attempt. Raises pydantic's ValidationError for
    values MLflow could not take, but never because the server is away.
    """
    # Built on this module, hence imported here: callers need only know `tracking`.
    from ingot.tracked_run import TrackedRun

    record = RunRecord(
        run_key=run_key,
        name=name,
        experiment=experiment,
        params=dict(params or {}),
        tags=dict(tags or {}),
        datasets=tuple(datasets),
    )
    return TrackedRun(tracking_uri, record, heartbeat_seconds=heartbeat_seconds)


def reap_dead_runs(tracking_uri: str, max_age_seconds: float = DEAD_AFTER_SECONDS) -> int:
    """End every RUNNING run of ours whose heartbeat is older than this as FAILED; returns how many.

    A run whose process was of this machine and is gone does not wait for that. The end time of each is its
    last heartbeat. Raises ServiceError when MLflow does not answer.
    """

    def reap(client: Any) -> int:
        oldest = now_ms() - round(max_age_seconds * 1000)
        reaped = 0
        for run in _all_runs(client, "attributes.status = 'RUNNING'"):
            tags = run.data.tags
            if RUN_TAG not in tags:
                continue
            beat = int(tags.get(HEARTBEAT_TAG) or run.info.start_time or 0)
            process = Process.parse(tags.get(PROCESS_TAG, ""))
            if beat < oldest or (process is not None and process.is_gone):
                terminate(client, run.info.run_id, "FAILED", "no heartbeat: the process was killed", beat)
                reaped += 1
        return reaped

    return ask(tracking_uri, reap)


def search_runs_by_dataset_digest(tracking_uri: str, digest: str) -> list[RunRecord]:
    """The runs, over all experiments, that read the dataset of this digest (full, or its first 32 digits).

    Raises ServiceError when MLflow does not answer.
    """

    def search(client: Any) -> list[RunRecord]:
        runs = _all_runs(client, f"dataset.digest = '{digest[:32]}'")
        names = {e.experiment_id: e.name for e in client.search_experiments()}
        return [
            RunRecord(
                run_key=run.data.tags[RUN_TAG],
                name=run.info.run_name,
                experiment=names[run.info.experiment_id],
                status=run.info.status,
                tags={k: v for k, v in run.data.tags.items() if k.startswith("ingot.")},
                start_time_ms=run.info.start_time,
                end_time_ms=run.info.end_time,
            )
            for run in runs
            if RUN_TAG in run.data.tags
        ]

    return ask(tracking_uri, search)


def ask(tracking_uri: str, call: Callable[[Any], _T]) -> _T:
    """Call with a client, for questions outside a run; ServiceError instead of MLflow's many errors."""
    try:
        return call(connect(tracking_uri))
    except Exception as error:
        raise ServiceError(
            f"MLflow at {tracking_uri} did not do what was asked ({type(error).__name__}: "
            f"{str(error)[:300]}); see `ingot status` and logs/mlflow.log"
        ) from error


def pages_of_flow_runs(tracking_uri: str, flow_run_ids: Iterable[str]) -> dict[str, str]:
    """Name and address of the pages of the runs that these Prefect flow runs fed.

    Raises ServiceError when MLflow does not answer.
    """

    def look(client: Any) -> dict[str, str]:
        found = {}
        for flow_run_id in flow_run_ids:
            for run in _all_runs(client, f"tags.`prefect.flow_run_id` = '{flow_run_id}'"):
                page = f"{tracking_uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
                found[str(run.info.run_name)] = page
        return found

    return ask(tracking_uri, look)


def page_of_run(tracking_uri: str, run_key: str) -> str:
    """Address of our run's page; empty when MLflow does not have it. Raises ServiceError when MLflow is away."""
    run = ask(tracking_uri, lambda client: find_run(client, run_key))
    return f"{tracking_uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" if run else ""


def open_remote(client: Any, record: RunRecord) -> tuple[str, dict[str, int], int | None]:
    """Run id, the last logged step of each curve, and the end of a run that had finished; creates what is missing.

    A finished run stays finished: who opens it again only looks whether everything is there.
    """
    from mlflow.entities import Param

    run = find_run(client, record.run_key)
    finished = run is not None and run.info.status == "FINISHED"
    now = str(now_ms())
    own = {**record.tags, RUN_TAG: record.run_key, HEARTBEAT_TAG: now, PROCESS_TAG: str(Process.current())}
    if run is None:
        run = client.create_run(
            _experiment_id(client, record.experiment), record.start_time_ms, tags=own, run_name=record.name
        )
    else:
        # Before the status: a run that says RUNNING and names a dead process would be ended by the reaper.
        log_tags(client, run.info.run_id, own)
        if not finished:
            client.update_run(run.info.run_id, status="RUNNING")
        if ENDED_TAG in run.data.tags:
            client.delete_tag(run.info.run_id, ENDED_TAG)
    run_id: str = run.info.run_id
    # A param cannot be changed; a resumed run that would is told so by MLflow, and only new ones are sent.
    params = [Param(k, as_param(v)[:6000]) for k, v in record.params.items() if k not in run.data.params]
    if params:
        client.log_batch(run_id, params=params, synchronous=True)
    if record.datasets:
        client.log_inputs(run_id, datasets=[_mlflow_dataset(d) for d in record.datasets])
    return run_id, json.loads(run.data.tags.get(LOGGED_TAG) or "{}"), run.info.end_time if finished else None


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            # Without this the UI opens our runs in its view for prompts and agents.
            return str(client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process made it meanwhile
            if found is None:
                raise
    return str(found.experiment_id)


def _mlflow_dataset(dataset: DatasetInput) -> Any:
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as MlflowInput

    shown = Dataset(
        name=dataset.name,
        digest=dataset.short_digest,
        source_type="ingot",
        source=json.dumps({"uri": dataset.source, "digest": dataset.digest}, sort_keys=True),
        profile=json.dumps(dict(dataset.profile), sort_keys=True),
    )
    # This tag is where MLflow's pages look for the context.
    return MlflowInput(shown, [InputTag("mlflow.data.context", dataset.context)])


def terminate(client: Any, run_id: str, status: str, reason: str, end_time_ms: int | None) -> None:
    """Set the final status, and why as a tag; None ends it now."""
    client.set_terminated(run_id, status, end_time_ms)
    if reason:
        client.set_tag(run_id, ENDED_TAG, reason)


def log_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Add or change tags, cut to MLflow's 8000 characters."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(k, str(v)[:8000]) for k, v in tags.items()], synchronous=True)


def _all_runs(client: Any, filter_string: str) -> list[Any]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: list[Any] = []
    token = None
    while experiments:
        page = client.search_runs(experiments, filter_string, max_results=500, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            break
    return runs


def log_points(client: Any, run_id: str, batch: Iterable[Point], logged: Mapping[str, int]) -> dict[str, int]:
    """Send at most 1000 points that are newer than the last `logged` step of their curve; returns the new last steps.

    One request. Should it be cut in the middle, the same points are sent again, and MLflow keeps one
    row for equal (key, step, time, value).
    """
    from mlflow.entities import Metric, RunTag

    last = dict(logged)
    metrics = []
    for point in batch:
        if point.step > last.get(point.key, -1):
            last[point.key] = point.step
            metrics.append(Metric(point.key, point.value, point.time_ms, point.step))
    if metrics:
        known = json.dumps(last, sort_keys=True)
        tags = [RunTag(LOGGED_TAG, known)] if len(known) <= _TAG_CHARS else []
        client.log_batch(run_id, metrics=metrics, tags=tags, synchronous=True)
    return last


def now_ms() -> int:
    """Epoch milliseconds, as MLflow counts time."""
    return round(time.time() * 1000)
