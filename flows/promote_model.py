"""A candidate in, a person's decision about it out."""

from prefect import flow
from prefect.states import Completed, Failed, State

from ingot.errors import IngotError
from tasks.approval import ask_again, decide, find_question, move_alias, show_evidence, wait_for_answer
from tasks.heartbeat import watched


@flow(name="promote model", flow_run_name="promote {model}", persist_result=False)
@watched
def promote_model(model: str) -> State:
    """Show a person the evidence about a model version, wait for a decision, and make it the champion.

    While it waits nothing runs: the run is suspended on the server, and answering the form starts it
    again from the top, where it finds its question and the answer.

    Args:
        model: Model version to decide about, e.g. mini@candidate or mini/3.
    """
    try:
        question = find_question(model)
        show_evidence(question, return_state=True)  # a view stops nothing
        while True:
            answer = wait_for_answer(question)
            outcome = decide(question, answer.decision, answer.name, answer.reason)
            if not outcome.objection:
                break
            question = ask_again(question, outcome.objection)
    except IngotError as error:
        return Failed(message=f"{error.code}: {error}")
    if not outcome.promoted:
        return Completed(name="Declined", message=outcome.message)
    move_alias(question, return_state=True)  # the ledger has it; `ingot rebuild` repairs the view
    return Completed(message=outcome.message)
