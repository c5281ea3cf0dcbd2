"""A newly published corpus version in, a retrain started when it asks for one and it is time."""

from prefect import flow
from prefect.states import Completed, State

from ingot.retraining import BY_EVENT, Judgement
from tasks.heartbeat import watched
from tasks.retraining import judge_new_data, start_retrain


@flow(name="adapt model", persist_result=False)
@watched
def adapt_model(corpus: str) -> State[Judgement]:
    """Start a retrain for what is new in a corpus, at most once per corpus version.

    Args:
        corpus: Name of the corpus, e.g. handbook.
    """
    judgement = judge_new_data(corpus)
    if judgement.due is None:
        return Completed(message=f"no retrain: {judgement.why}", data=judgement)
    run = start_retrain(judgement.due, BY_EVENT)
    return Completed(message=f"started retrain {run}: {judgement.why}", data=judgement)
