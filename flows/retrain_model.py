"""A recipe and a corpus version in, a judged candidate out, with a plan before it: the control room's form."""

from typing import Annotated

from prefect import flow
from prefect.states import Completed, State
from pydantic import Field, WithJsonSchema

from flows.evaluate_model import evaluate_model
from flows.train_model import train_model
from ingot.errors import IngotError
from tasks.heartbeat import watched
from tasks.retraining import Retrained, RetrainRequest, check_request, make_plan, refused, show_result
from tasks.runtime import now, on_request_of, runtime

# How the form shows an optional field: as an empty one. Pydantic's own words, "a number or null", become a switch
# between two types there. None is still accepted.
_Plain = WithJsonSchema
_RATE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_LINE = r"^[A-Za-z0-9_.-]+ *=.*$"
_Line = Annotated[str, Field(pattern=_LINE)]


@flow(name="retrain model", persist_result=False)
@watched
def retrain_model(
    recipe: Annotated[str, Field(min_length=1)],
    corpus: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}(@(latest|[1-9][0-9]*))?)?$")] = "",
    compare_with: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}(@champion|/[1-9][0-9]*))?$")] = "",
    tokens: Annotated[int | None, Field(ge=1), _Plain({"type": "integer", "minimum": 1})] = None,
    learning_rate: Annotated[float | None, Field(gt=0, lt=1), _Plain(_RATE)] = None,
    seed: Annotated[int | None, Field(ge=0), _Plain({"type": "integer", "minimum": 0})] = None,
    overrides: Annotated[
        list[_Line] | None, _Plain({"type": "array", "items": {"type": "string", "pattern": _LINE}})
    ] = None,
    requested_by: Annotated[str, Field(max_length=200)] = "",
    dry_run: bool = False,
) -> State[Retrained]:
    """Write the plan, train, evaluate and let the gate judge the candidate; nothing is promoted.

    Args:
        recipe: Recipe file, or the name of a shipped recipe.
        corpus: Corpus version by name, e.g. handbook@latest or handbook@12. Empty: the newest of the recipe's corpus.
        compare_with: Model version the gate compares the candidate with, e.g. mini@champion. The gate judges against
            the champion alone; another version is refused. Empty: the champion, or the baselines while there is none.
        tokens: Tokens to train on in the first stage, at least 1. Empty: as the recipe says.
        learning_rate: Peak learning rate of the first stage, between 0 and 1. Empty: as the recipe says.
        seed: Where all randomness starts, 0 or more. Empty: as the recipe says.
        overrides: Other values of the recipe, each as path=value, e.g. train.0.model.layers=6.
        requested_by: Your name, for the ledger. Needed when the recipe has `approval: four_eyes`.
        dry_run: Write the plan and stop.
    """
    begun = now()
    asked = RetrainRequest(
        recipe, corpus, compare_with, tokens, learning_rate, seed, tuple(overrides or ()), requested_by
    )
    try:
        order = check_request(runtime().store, asked)
    except IngotError as error:
        return refused(error)
    with on_request_of(order.requested_by):
        plan = make_plan(order)
        if dry_run:
            return Completed(message="dry run: the plan is written, nothing was started", data=Retrained(plan))
        candidate = train_model(order.file, plan.corpus, order.changes)
        verdict = evaluate_model(order.file, candidate.subject.removeprefix("model "), order.changes)
    show_result(plan, candidate, verdict, begun, return_state=True)  # a view that fails stops nothing
    return Completed(message=f"{verdict.verdict}: {verdict.reason}", data=Retrained(plan, candidate, verdict))
