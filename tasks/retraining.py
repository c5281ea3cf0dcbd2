"""The steps that only a retrain has: checking the form, plan and result artifacts, starting one for new data."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed, State

from ingot import ledger, manifest, model_versions, retraining, tracking
from ingot.config import Recipe
from ingot.errors import IngotError, NotFoundError, RecipeError, ServiceError
from ingot.model_versions import ModelVersion
from ingot.promotion import PROMOTABLE
from ingot.recipe_files import find_recipe, load_recipe
from ingot.refs import CorpusRef, VerdictRef
from ingot.registered import model_address
from ingot.retraining import Due, Judgement
from ingot.settings import Settings
from ingot.storage import Store
from tasks import policies
from tasks.gpus import check_gpus
from tasks.plan_page import plan_markdown, result_markdown
from tasks.planning import Plan, plan_retrain
from tasks.runtime import now, runtime

PROMOTE = "promote model/promote"
_TIMED = ("tokenize", "evaluate", "gate")
_REUSED_SECONDS = 2.0  # a step that finds its result in the store takes less; one that computes it takes more


@dataclass(frozen=True)
class RetrainRequest:
    """What was asked for, as the form gives it; empty strings and None mean not given."""

    recipe: str
    corpus: str = ""
    compare_with: str = ""
    tokens: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    requested_by: str = ""


@dataclass(frozen=True)
class RetrainOrder:
    """A checked request: every name found, every value accepted by the recipe."""

    recipe: Recipe
    file: str
    changes: dict[str, str]
    corpus: CorpusRef
    requested_by: str


@dataclass(frozen=True)
class Retrained:
    """What a retrain gave; no version and no verdict after a dry run."""

    plan: Plan
    version: ModelVersion | None = None
    verdict: VerdictRef | None = None


def check_request(store: Store, request: RetrainRequest) -> RetrainOrder:
    """Find what the request names; an IngotError whose message begins with the name of the refused field."""
    with _field("recipe"):
        file = str(find_recipe(request.recipe))
        recipe = load_recipe(file)
        if not recipe.train:
            raise RecipeError(f"{file} has no 'train' section; add '- stage: pretrain' with a model and tokens")
    changes: dict[str, str] = {}
    for field, path, value in _changed_values(request):
        with _field(field):
            if path in changes:
                raise RecipeError(f"{path} is given twice; keep one of the two")
            changes[path] = value
            recipe = load_recipe(file, changes)
    with _field("recipe"):
        check_gpus(recipe, Settings.from_environment())
    with _field("corpus"):
        name, number = manifest.find(store, request.corpus or recipe.corpus)
        corpus = manifest.ref_of(manifest.read(store, name, number), number)
    with _field("compare_with"):
        _check_champion(store, recipe, request.compare_with)
    requested_by = " ".join(request.requested_by.split())
    if recipe.approval == "four_eyes" and not requested_by:
        raise RecipeError("requested_by: is empty, and the recipe has approval: four_eyes; give your name")
    return RetrainOrder(recipe, file, changes, corpus, requested_by)


def one_line(error: IngotError) -> str:
    """`CODE: message` on one line, as the command line prints it."""
    return f"{error.code}: {' '.join(str(error).split())}"


def refused(error: IngotError) -> State[Retrained]:
    """The end of a run whose form was refused: Failed with one line, in the state and in the log.

    Raising it would put `Flow run encountered an exception` before the line. The engine of a worker logs the
    traceback of whatever a failed run holds; of this error it says nothing more than the line.
    """
    for name in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(lambda record: not record.exc_info or record.exc_info[1] is not error)
    return Failed(message=one_line(error), data=error)


def _changed_values(request: RetrainRequest) -> Iterator[tuple[str, str, str]]:
    """(field, path in the recipe, YAML value) of everything that replaces a value of the recipe."""
    if request.tokens is not None:
        yield "tokens", "train.0.tokens", str(request.tokens)
    if request.learning_rate is not None:
        yield "learning_rate", "train.0.learning_rate", f"{request.learning_rate:.12f}".rstrip("0")
    if request.seed is not None:
        yield "seed", "seed", str(request.seed)
    for line in request.overrides:
        path, separator, value = (part.strip() for part in line.partition("="))
        if not separator or not path:
            with _field("overrides"):
                raise RecipeError(f"{line!r} has no value; write path=value, e.g. train.0.tokens=200_000")
        yield "overrides", path, value


def _check_champion(store: Store, recipe: Recipe, name: str) -> None:
    """Refuse a model version that the gate would not compare with: it judges against the champion alone."""
    if not name:
        return
    entries = ledger.read(store)
    champion = model_versions.champion_version(entries, recipe.model_name)
    if champion is None:
        raise NotFoundError(
            f"model {recipe.model_name} has no champion yet; leave it empty: the first is set beside the baselines"
        )
    found = model_versions.resolve(store, name)
    if (found.name, found.version) != (recipe.model_name, champion):
        raise RecipeError(
            f"{name} is not the champion of this recipe's model, {recipe.model_name}/{champion} is; the gate judges "
            "against the champion alone, because a verdict against another could not carry a promotion: "
            f"leave it empty, or write {recipe.model_name}@champion"
        )


@contextmanager
def _field(name: str) -> Iterator[None]:
    """Put the field's name before what is wrong with it, once."""
    try:
        yield
    except IngotError as error:
        words = str(error).removeprefix("--set ").removeprefix(f"{name} ")
        raise type(error)(f"{name}: {words}") from None


@task(name="plan", cache_policy=NO_CACHE, **policies.DATA)
def make_plan(order: RetrainOrder) -> Plan:
    """Say what will be reused and what will run before anything does."""
    plan = plan_retrain(
        runtime().store,
        order.recipe,
        order.corpus,
        place=order.file,
        requested_by=order.requested_by,
        seconds=earlier_seconds(),
    )
    create_markdown_artifact(plan_markdown(plan), key="plan", description=f"{plan.model} on {plan.corpus}")
    return plan


def earlier_seconds() -> dict[str, float]:
    """What the tasks took when they last did their work, by name; empty where the server knows of none."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import TaskRunSort

    found = {}
    with get_client(sync_client=True) as client:
        for name in _TIMED:
            wanted = TaskRunFilter.model_validate(
                {"name": {"like_": f"{name}-"}, "state": {"type": {"any_": [StateType.COMPLETED]}}}
            )
            runs = client.read_task_runs(task_run_filter=wanted, sort=TaskRunSort.END_TIME_DESC, limit=20)
            seconds = [run.total_run_time.total_seconds() for run in runs]
            worked = [s for s in seconds if s >= _REUSED_SECONDS]
            if worked:
                found[name] = worked[0]
    return found


@task(name="show result", cache_policy=NO_CACHE, **policies.VIEW)
def show_result(plan: Plan, version: ModelVersion, verdict: VerdictRef, begun: datetime) -> None:
    """Pass or hold and why, with links to the run, the version and what comes next."""
    took = (now() - begun).total_seconds()
    text = result_markdown(plan, version, verdict, took=took, links=_links(version, verdict))
    create_markdown_artifact(text, key="result", description=f"{version.name}/{version.version}: {verdict.verdict}")


def _links(version: ModelVersion, verdict: VerdictRef) -> Mapping[str, str]:
    uri = runtime().tracking_uri
    addresses = {
        "MLflow: the training run": lambda: tracking.page_of_run(uri, version.checkpoint_fingerprint),
        f"MLflow: {version.name}/{version.version}": lambda: f"{uri}/{model_address(version.name, version.version)}",
    }
    if verdict.verdict in PROMOTABLE:
        addresses["Prefect: the form that approves it"] = lambda: _deployment_address(PROMOTE)
    links = {}
    for text, find in addresses.items():
        with suppress(ServiceError):  # a view that is away costs its link, not the page
            address = find()
            if address:
                links[text] = address
    return links


def _deployment_address(name: str) -> str:
    """The control room's page of a deployment; empty when it is not registered."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(name)
        except ObjectNotFound:
            return ""
    root = str(PREFECT_API_URL.value()).removesuffix("/api")
    return f"{root}/v2/deployments/deployment/{found.id}"


@task(name="judge", cache_policy=NO_CACHE, **policies.DATA)
def judge_new_data(corpus: str) -> Judgement:
    """Ask whether the newest version of a corpus should start a retrain now."""
    return retraining.judge(runtime().store, corpus, now())


@task(name="start retrain", cache_policy=NO_CACHE, **policies.DATA)
def start_retrain(due: Due, asked_by: str) -> str:
    """Start the deployment `retrain` for new data, once per corpus version; returns the run's id."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        # Not a subflow: it outlives the run that starts it.
        run = client.create_flow_run_from_deployment(
            client.read_deployment_by_name(retraining.DEPLOYMENT).id,
            parameters=retraining.run_parameters(due, asked_by),
            idempotency_key=retraining.idempotency_key(due),
        )
    retraining.record_started(runtime().store, due, flow_run_id=str(run.id), asked_by=asked_by, now=now())
    return str(run.id)
