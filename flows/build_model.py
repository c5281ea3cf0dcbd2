"""The road top to bottom: documents in, an evaluated candidate out. The project's one-page summary."""

from prefect import flow

from flows.curate_corpus import curate_corpus
from flows.evaluate_model import evaluate_model
from flows.train_model import train_model
from ingot.recipe_files import load_recipe
from ingot.refs import VerdictRef
from tasks.gpus import check_gpus
from tasks.heartbeat import watched
from tasks.runtime import runtime


@flow(name="build model", persist_result=False)
@watched
def build_model(recipe: str, overrides: dict[str, str] | None = None) -> VerdictRef:
    """Curate the recipe's sources, train on the new corpus version, evaluate, and ask the gate.

    Args:
        recipe: Path of a recipe file, or the name of a shipped one.
        overrides: Values to change, by path, e.g. {"train.0.tokens": "200_000"}.
    """
    check_gpus(load_recipe(recipe, overrides), runtime().settings)
    corpus = curate_corpus(recipe, overrides)
    candidate = train_model(recipe, corpus.name, overrides)
    return evaluate_model(recipe, candidate.subject.removeprefix("model "), overrides)
