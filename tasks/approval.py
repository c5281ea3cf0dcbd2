"""Approval of a candidate by a person, in Prefect: the question, its form, and what is done with the answer.

Who may approve what is decided in `ingot.promotion`; this is how a person is asked. A question and its
answer lie with the flow run on the Prefect server (its "inputs"), so that nothing runs while a person thinks.
"""

from typing import Literal
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import create_flow_run_input, read_flow_run_input
from prefect.input.run_input import Keyset, keyset_from_paused_state
from prefect.states import Suspended
from pydantic import BaseModel, ConfigDict, Field

from ingot import evidence, ledger, model_versions, promotion, registered, tracking_versions
from ingot.errors import GateError, RecipeError
from ingot.ledger import Actor
from ingot.markdown import plain
from ingot.promotion import Approval, Promotion
from tasks import policies
from tasks.curation import flow_run_id
from tasks.runtime import runtime

MAX_QUESTIONS = 100
"""So often a form is shown again before the run gives up."""


class Answer(RunInput):
    """What a person fills in."""

    decision: Literal["approve", "decline"] = Field(
        title="Decision", description="approve makes it the champion; decline ends this run and leaves the champion."
    )
    name: str = Field(
        title="Your name", description="Recorded in the ledger as who decided.", min_length=1, max_length=200
    )
    reason: str = Field(
        title="Reason", description="Why; the ledger keeps it, so no text of documents.", min_length=1, max_length=2000
    )

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> None:
        """Keep the form with the run; what is there already is left alone, so this may be repeated."""
        parts = ((keyset["schema"], cls.model_json_schema()), (keyset["description"], cls._description))
        for key, value in parts:
            if read_flow_run_input(key, flow_run_id=flow_run_id) is None:
                create_flow_run_input(key, value, flow_run_id=flow_run_id)


class Question(BaseModel):
    """What exactly a person is asked about, and what was wrong with the answer before."""

    model_config = ConfigDict(frozen=True)

    number: int
    name: str
    version: int
    gate_record: str
    objection: str = ""

    @property
    def model(self) -> str:
        """The version's name for people."""
        return f"{self.name}/{self.version}"


class Outcome(BaseModel):
    """What came of an answer: done, or an objection for the next form."""

    model_config = ConfigDict(frozen=True)

    message: str = ""
    objection: str = ""
    promoted: bool = False


@task(name="find the question", cache_policy=NO_CACHE, **policies.DATA)
def find_question(model: str) -> Question:
    """The question this run asked last, else its first: about a version that may be promoted now.

    Raises GateError or NotFoundError when there is nothing to ask.
    """
    last: Question | None = None
    for number in range(MAX_QUESTIONS):
        stored = read_flow_run_input(_key(number))
        if stored is None:
            break
        last = Question.model_validate(stored)
    return last or _save(model, 0, "")


@task(name="ask again", cache_policy=NO_CACHE, **policies.DATA)
def ask_again(question: Question, objection: str) -> Question:
    """The next question about the same version, on its newest evidence."""
    if question.number + 1 >= MAX_QUESTIONS:
        raise GateError(f"asked {MAX_QUESTIONS} times about {question.model} without a valid answer; start another run")
    return _save(question.model, question.number + 1, objection)


def _save(model: str, number: int, objection: str) -> Question:
    store = runtime().store
    version = model_versions.resolve(store, model)
    stood = promotion.check_promotable(ledger.read(store), version)
    question = Question(
        number=number, name=version.name, version=version.version, gate_record=stood.gated.sha256, objection=objection
    )
    create_flow_run_input(_key(number), question.model_dump(mode="json"))
    return question


def _key(number: int) -> str:
    return f"question-{number}"


@task(name="show evidence", cache_policy=NO_CACHE, **policies.VIEW)
def show_evidence(question: Question) -> None:
    """The evidence as an artifact of the run, to be read before and after the decision."""
    create_markdown_artifact(evidence_of(question), key="approval", description=f"approval of {question.model}")


def form(question: Question) -> type[Answer]:
    """The form of a question, with the evidence above its fields."""
    lead = f"Asked again: {plain(question.objection)}" if question.objection else "Read the evidence"
    text = f"**{lead}. Decision, name and reason are below the tables.**\n\n{evidence_of(question)}"
    return Answer.with_initial_data(description=text)


def wait_for_answer(question: Question) -> Answer:
    """Suspend the run until a person answers; started again by the answer, return it.

    Prefect keeps the form after it has suspended the run: a kill between the two would leave a run that waits
    for ever and shows no form. So the form is kept first.
    """
    asked, key = form(question), _key(question.number)
    asked.save(keyset_from_paused_state(Suspended(pause_key=key)))
    return suspend_flow_run(wait_for_input=asked, key=key)


def evidence_of(question: Question) -> str:
    """The evidence behind the gate record the question is about."""
    store = runtime().store
    gated = next(entry for entry in ledger.read(store) if entry.sha256 == question.gate_record)
    return evidence.evidence_markdown(
        evidence.collect(store, model_versions.resolve(store, question.model), gated)
    )


@task(name="decide", cache_policy=NO_CACHE, **policies.DATA)
def decide(question: Question, decision: str, name: str, reason: str) -> Outcome:
    """Carry out the answer: the ledger's approval and promotion, or nothing."""
    name, reason = " ".join(name.split()), reason.strip()
    if not name or not reason:
        missing = " and ".join(what for what, given in (("a name", name), ("a reason", reason)) if not given)
        return Outcome(objection=f"{missing} is needed, which the ledger keeps")
    if decision != "approve":
        return Outcome(message=f"{name} declined {question.model}: {reason}")
    store = runtime().store
    try:
        done = promotion.promote(
            store,
            model_versions.resolve(store, question.model),
            actor=Actor("person", name, "declared"),
            reason=reason,
            approval=Approval(question.gate_record, {"flow_run": flow_run_id(), "question": question.number}),
        )
    except (GateError, RecipeError) as error:
        return Outcome(objection=str(error))
    return Outcome(message=_told(done), promoted=True)


def _told(done: Promotion) -> str:
    was = f", was {done.model}/{done.previous}" if done.previous else ""
    return (
        f"champion of {done.model} is version {done.version}{was}: {done.entry.actor.id} in ledger record "
        f"{done.entry.sequence}, {done.entry.details.get('reason')}"
    )


@task(name="move alias", cache_policy=NO_CACHE, **policies.VIEW)
def move_alias(question: Question) -> None:
    """Point MLflow's alias where the ledger points, and write the pages of the versions it moved from and to."""
    here = runtime()
    number = model_versions.champion_version(ledger.read(here.store), question.name)
    if number is not None:
        tracking_versions.set_alias(here.tracking_uri, question.name, "champion", number)
        registered.show_again(here.store, here.tracking_uri, question.name)
