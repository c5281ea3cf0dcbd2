"""A model version in, its evaluation and the gate's verdict out."""

from prefect import flow

from ingot import model_versions
from ingot.recipe_files import load_recipe
from ingot.refs import VerdictRef
from tasks.corpus import find_corpus
from tasks.evaluation import evaluate, judge_candidate, show_evaluation
from tasks.heartbeat import watched
from tasks.runtime import runtime


@flow(name="evaluate model", persist_result=False)
@watched
def evaluate_model(recipe: str, model: str | None = None, overrides: dict[str, str] | None = None) -> VerdictRef:
    """Measure a model version beside its baselines and the champion, and let the gate judge it.

    Args:
        recipe: Path of a recipe file, or the name of a shipped one.
        model: Model version, e.g. mini/3 or mini@candidate; the recipe's newest when empty.
        overrides: Values to change, by path.
    """
    what = load_recipe(recipe, overrides)
    version = model_versions.resolve(runtime().store, model or what.model_name)
    corpus = find_corpus(version.details["corpus"])
    evaluations = [evaluate(what, corpus, version, suite) for suite in what.evaluate.suites]
    verdict = judge_candidate(what, corpus, version, evaluations[0])
    show_evaluation(corpus, version, evaluations[0], verdict, return_state=True)  # a view stops nothing
    return verdict
