"""What becomes of the answers of the approval form, without a server."""

from types import SimpleNamespace

import pytest

from ingot import ledger, model_versions, promotion
from ingot.storage import Store
from tasks import approval
from tasks.approval import Question
from tests.base.judged import judge
from tests.base.tiny_store import build


@pytest.fixture
def store(tmp_path, monkeypatch):
    made = build(tmp_path / "store", tmp_path / "sources").store
    monkeypatch.setattr(approval, "runtime", lambda: SimpleNamespace(store=made))
    return made


def question(store: Store, gain: float = 0.2) -> Question:
    version = model_versions.resolve(store, "mini/1")
    judge(store, version, champion=None, gain=gain)
    gated = promotion.latest_verdict(ledger.read(store), version)
    assert gated is not None
    return Question(number=0, name="mini", version=1, gate_record=gated.sha256)


@pytest.mark.parametrize(
    ("name", "reason", "missing"), [(" ", "so", "a name"), ("Bob", "\n", "a reason"), ("", "", "a name and a reason")]
)
def test_blanks_are_asked_for_again_and_write_nothing(store, name, reason, missing):
    asked = question(store)
    before = ledger.head(store)
    for decision in ("approve", "decline"):
        outcome = approval.decide.fn(asked, decision, name, reason)
        assert outcome.objection.startswith(f"{missing} is needed") and not outcome.promoted
    assert ledger.head(store) == before


def test_a_declined_model_leaves_ledger_and_champion_as_they_are(store):
    asked = question(store)
    before = ledger.head(store)
    outcome = approval.decide.fn(asked, "decline", "Bob", "too few documents")
    assert (outcome.objection, outcome.promoted) == ("", False)
    assert outcome.message == "Bob declined mini/1: too few documents"
    assert ledger.head(store) == before


def test_an_approval_is_written_by_name_and_repeating_it_writes_nothing_more(store):
    asked = question(store)
    outcomes = [approval.decide.fn(asked, "approve", "  Bob   Jones ", "reads well") for _ in range(2)]
    assert outcomes[0] == outcomes[1] and outcomes[0].promoted
    approved, promoted = ledger.read(store)[-2:]
    assert (approved.verb, promoted.verb) == ("approved", "promoted")
    assert approved.actor == promoted.actor == ledger.Actor("person", "Bob Jones", "declared")
    assert approved.evidence["gate_record"] == asked.gate_record


def test_an_answer_to_old_evidence_is_asked_again(store):
    asked = question(store)
    question(store, gain=0.1)
    outcome = approval.decide.fn(asked, "approve", "Bob", "reads well")
    assert "evaluated again" in outcome.objection
    assert model_versions.champion_version(ledger.read(store), "mini") is None


def test_the_form_shows_the_objection_above_the_evidence_and_describes_every_field(store):
    asked = question(store).model_copy(update={"objection": "mini needs four eyes: <b>Ada</b> asked for it"})
    form = approval.form(asked)
    assert form._description is not None
    lead, _, rest = str(form._description).partition("\n\n")
    assert "Asked again: mini needs four eyes: &lt;b&gt;Ada" in lead and "## mini/1: FIRST" in rest
    properties = form.model_json_schema()["properties"]
    assert list(properties) == ["decision", "name", "reason"]
    assert all(field["description"] and field["title"] for field in properties.values())
    assert properties["decision"]["enum"] == ["approve", "decline"]
