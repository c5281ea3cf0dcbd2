"""A corpus version in, a registered candidate out."""

from prefect import flow

from ingot.errors import RecipeError
from ingot.model_versions import ModelVersion
from ingot.recipe_files import load_recipe
from ingot.refs import CheckpointRef
from tasks.corpus import find_corpus
from tasks.gpus import check_gpus
from tasks.heartbeat import watched
from tasks.mixtures import stage_data
from tasks.runtime import runtime, worker_pool
from tasks.starts import begun, find_start, given_tokenizer
from tasks.training import register, show_model, tokenize, train_stage


@flow(name="train model", persist_result=False)
@watched
def train_model(recipe: str, corpus: str | None = None, overrides: dict[str, str] | None = None) -> ModelVersion:
    """Train a recipe's stages on a corpus version and register the result as candidate.

    Args:
        recipe: Path of a recipe file, or the name of a shipped one.
        corpus: Corpus version to train on, e.g. handbook@12; the recipe's newest when empty.
        overrides: Values to change, by path, e.g. {"train.0.tokens": "200_000"}.
    """
    what = load_recipe(recipe, overrides)
    if not what.train:
        raise RecipeError(f"recipe {recipe} has no 'train' section; add '- stage: pretrain' with a model and tokens")
    check_gpus(what, runtime().settings)
    start = find_start(runtime().store, what)
    what = begun(what, start)
    version = find_corpus(corpus or what.corpus)
    with worker_pool():
        tokens = tokenize(what, version, given_tokenizer(runtime().store, what, start))
        data = [stage_data(runtime().store, stage, what, tokens) for stage in what.train]
    checkpoint: CheckpointRef | None = start.checkpoint if start else None
    for stage, read in zip(what.train, data, strict=True):
        checkpoint = train_stage(stage, what, version, read, checkpoint)
    assert checkpoint is not None
    model = register(what, version, data[-1], checkpoint, start.name if start else None)
    show_model(version, data[-1], checkpoint, model, return_state=True)  # a view that fails stops nothing
    return model
