"""Sources in, a published corpus version out."""

from prefect import flow

from ingot.recipe_files import load_recipe
from ingot.refs import CorpusRef
from tasks.curation import acquire, analyse, decide, publish, retrain_request, show_corpus
from tasks.heartbeat import watched
from tasks.runtime import worker_pool


@flow(name="curate corpus", persist_result=False)
@watched
def curate_corpus(recipe: str, overrides: dict[str, str] | None = None) -> CorpusRef:
    """Turn a recipe's sources into a published corpus version, reusing what did not change.

    Args:
        recipe: Path of a recipe file, or the name of a shipped one.
        overrides: Values to change, by path, e.g. {"dedup.near.threshold": "0.9"}.
    """
    what = load_recipe(recipe, overrides)
    with worker_pool():
        snapshots = [acquire(source) for source in what.sources]
        analyse(what, snapshots)
        decisions = decide(what, snapshots)
        corpus = publish(what, snapshots, decisions, retrain_request(what, recipe, overrides))
    show_corpus(corpus, snapshots, return_state=True)  # a view that fails is seen, and stops nothing
    return corpus
