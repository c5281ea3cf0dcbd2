"""Who may approve, and the way back: four eyes and rollback, from the ledger alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ingot import four_eyes, ledger, model_versions, promotion
from ingot.errors import BusyError, GateError, NotFoundError, RecipeError
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion
from ingot.promotion import Approval
from ingot.rollback import rollback
from ingot.storage import Store
from tests.base.test_promotion import champion, gate

ADA, BOB = Actor("person", "ada", "os_user"), Actor("person", "Bob", "declared")
SERVICE = Actor("service", "prefect-deployment:1", "declared")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch")


def register(store: Store, name: str, *, by: Actor = ADA, approval: str | None = None, asked: str | None = None):
    return model_versions.register(
        store, "mini", checkpoint_fingerprint=name, checkpoint_key=f"checkpoints/{name}/00000001",
        checkpoint_digest=f"digest-{name}", evidence={},
        details={"approval": approval, "requested_by": asked}, actor=by,
    )  # fmt: skip


def champions(store: Store, count: int) -> list[ModelVersion]:
    """So many versions, each of which was champion once, in turn."""
    versions = []
    for number in range(1, count + 1):
        versions.append(register(store, f"v{number}"))
        gate(store, versions[-1], "PASS", number - 1 or None)
        promotion.promote(store, versions[-1], actor=ADA, reason="better")
    return versions


@pytest.mark.parametrize("name", ["ada", " ADA ", "Ada@example.org", "ａｄａ"])
def test_with_four_eyes_who_asked_may_not_approve_under_any_spelling(store, name):
    version = register(store, "a", by=SERVICE, approval="four_eyes", asked="ada")
    gate(store, version, "PASS", None)
    for override in (False, True):
        with pytest.raises(GateError, match="asked for it"):
            promotion.promote(store, version, actor=Actor("person", name, "declared"), reason="", override=override)
    assert champion(store) is None
    promotion.promote(store, version, actor=BOB, reason="looked at it")
    assert champion(store) == 1


def test_with_four_eyes_the_person_who_ran_it_for_another_may_not_approve_either(store):
    version = register(store, "a", by=ADA, approval="four_eyes", asked="carol")
    gate(store, version, "PASS", None)
    for name in ("ada", "carol"):
        with pytest.raises(GateError, match=f"{name} asked for it"):
            promotion.promote(store, version, actor=Actor("person", name, "declared"), reason="")


def test_with_four_eyes_a_model_nobody_asked_for_is_approved_by_nobody(store):
    version = register(store, "a", by=SERVICE, approval="four_eyes")
    gate(store, version, "PASS", None)
    with pytest.raises(GateError, match=r"nobody is recorded.*--requested-by"):
        promotion.promote(store, version, actor=BOB, reason="")


def test_without_four_eyes_who_asked_may_approve(store):
    version = register(store, "a", asked="ada")
    gate(store, version, "PASS", None)
    assert promotion.promote(store, version, actor=ADA, reason="").version == 1


def test_two_addresses_are_two_people_and_an_address_is_its_name():
    assert four_eyes.is_same_person("ada@one.org", "Ada@ONE.org")
    assert four_eyes.is_same_person("ada", "ada@one.org")
    assert not four_eyes.is_same_person("ada@one.org", "ada@two.org")


def test_an_approval_of_an_earlier_verdict_promotes_nothing(store):
    version = register(store, "a")
    gate(store, version, "PASS", None)
    seen = promotion.latest_verdict(ledger.read(store), version).sha256
    gate(store, version, "FIRST", None)
    with pytest.raises(GateError, match="evaluated again"):
        promotion.promote(store, version, actor=ADA, reason="", approval=Approval(seen, {}))
    assert [e.verb for e in ledger.read(store)] == ["registered", "gated", "gated"]


def test_an_approval_stands_before_its_promotion_and_is_written_once(store):
    version = register(store, "a")
    gate(store, version, "PASS", None)
    seen = Approval(promotion.latest_verdict(ledger.read(store), version).sha256, {"form": "1"})
    for _ in range(2):
        promotion.promote(store, version, actor=BOB, reason="good", approval=seen)
    approved, promoted = ledger.read(store)[-2:]
    assert (approved.verb, promoted.verb, len(ledger.read(store))) == ("approved", "promoted", 4)
    assert approved.actor == promoted.actor == BOB
    assert (approved.details["form"], approved.details["reason"]) == ("1", "good")


def test_a_rollback_goes_back_one_champion_at_a_time(store):
    champions(store, 3)
    for expected in (2, 1):
        done = rollback(store, "mini", actor=BOB, reason="answers are worse")
        assert (done.version, done.previous, champion(store)) == (expected, expected + 1, expected)
    with pytest.raises(NotFoundError, match="first champion"):
        rollback(store, "mini", actor=BOB, reason="answers are worse")
    last = ledger.read(store)[-1]
    assert (last.verb, last.subject, last.actor, last.details["reason"]) == (
        "rolled_back", "model mini/1", BOB, "answers are worse",
    )  # fmt: skip
    assert last.evidence["promotion"] == next(e.sha256 for e in ledger.read(store) if e.verb == "promoted")


def test_a_rollback_to_a_named_champion_twice_is_one_record(store):
    champions(store, 3)
    first = rollback(store, "mini", actor=BOB, reason="so", to=1)
    again = rollback(store, "mini", actor=BOB, reason="so", to=1)
    assert first.entry == again.entry and champion(store) == 1
    assert rollback(store, "mini", actor=BOB, reason="it was not that", to=3).version == champion(store) == 3
    assert rollback(store, "mini", actor=BOB, reason="so").version == 1


def test_after_a_rollback_the_next_promotion_is_judged_against_the_old_champion(store):
    champions(store, 2)
    third = register(store, "v3")
    gate(store, third, "PASS", 2)
    rollback(store, "mini", actor=BOB, reason="so")
    with pytest.raises(GateError, match="judged against version 2, the champion is now version 1"):
        promotion.promote(store, third, actor=ADA, reason="")


def test_only_a_person_with_a_reason_rolls_back_and_only_to_a_champion(store):
    register(store, "a")
    with pytest.raises(NotFoundError, match="no champion yet"):
        rollback(store, "mini", actor=ADA, reason="so")
    with pytest.raises(NotFoundError, match="known: mini"):
        rollback(store, "maxi", actor=ADA, reason="so")
    gate(store, model_versions.resolve(store, "mini/1"), "FIRST", None)
    promotion.promote(store, model_versions.resolve(store, "mini/1"), actor=ADA, reason="")
    register(store, "b")
    with pytest.raises(GateError, match="mini/2 was never champion; one that was: 1"):
        rollback(store, "mini", actor=ADA, reason="so", to=2)
    with pytest.raises(GateError, match="may not roll back"):
        rollback(store, "mini", actor=SERVICE, reason="so")
    with pytest.raises(RecipeError, match="reason"):
        rollback(store, "mini", actor=ADA, reason=" ")


def test_rollbacks_at_the_same_time_go_back_one_champion(store):
    champions(store, 9)

    def back(_: int) -> int | None:
        try:
            return rollback(store, "mini", actor=BOB, reason="so").version
        except BusyError:
            return None

    with ThreadPoolExecutor(4) as threads:
        done = [version for version in threads.map(back, range(4)) if version is not None]
    # Those who started from the same champion share one record; nobody went two steps at once.
    steps = [e.details["version"] for e in ledger.read(store) if e.verb == "rolled_back"]
    assert steps == list(range(8, 8 - len(steps), -1)) and set(done) == set(steps)
    assert champion(store) == min(done)


def test_a_rollback_overtaken_by_a_promotion_is_not_carried_out(store, monkeypatch):
    versions = champions(store, 2)
    third = register(store, "v3")
    gate(store, third, "PASS", 2)
    append = ledger.append

    def overtaken(store, **record):
        monkeypatch.setattr(ledger, "append", append)
        promotion.promote(store, third, actor=ADA, reason="quicker")
        return append(store, **record)

    monkeypatch.setattr(ledger, "append", overtaken)
    with pytest.raises(BusyError, match="ada moved the champion of mini meanwhile"):
        rollback(store, "mini", actor=BOB, reason="so")
    assert champion(store) == 3 and len(versions) == 2
