"""The champion: moved by a person, on a verdict that still stands, with a record each time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ingot import ledger, model_versions, promotion
from ingot.errors import GateError
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion
from ingot.storage import Store

PERSON = Actor("person", "ada", "declared")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch")


def register(store: Store, name: str) -> ModelVersion:
    return model_versions.register(
        store, "mini", checkpoint_fingerprint=name, checkpoint_key=f"checkpoints/{name}/00000001",
        checkpoint_digest=f"digest-{name}", evidence={}, details={}, actor=PERSON,
    )  # fmt: skip


def gate(store: Store, version: ModelVersion, verdict: str, champion: int | None) -> None:
    moves = model_versions.last_move(ledger.read(store), "mini")
    ledger.append(
        store, actor=PERSON, verb="gated", subject=version.subject, subject_digest="x",
        evidence={"verdict": "v", "evaluation": "e"}, attempt=f"{verdict}:{champion}:{moves}",
        details={"model": "mini", "version": version.version, "verdict": verdict, "champion": champion,
                 "reason": "So."},
    )  # fmt: skip


def champion(store: Store) -> int | None:
    return model_versions.champion_version(ledger.read(store), "mini")


def promote(store: Store, version: ModelVersion, **options: object) -> promotion.Promotion:
    return promotion.promote(store, version, actor=PERSON, reason="better", **options)  # type: ignore[arg-type]


def test_a_champion_that_comes_back_gets_a_record_of_its_own(store):
    first, second = register(store, "a"), register(store, "b")
    gate(store, first, "FIRST", None)
    promote(store, first)
    gate(store, second, "PASS", 1)
    promote(store, second)
    gate(store, first, "PASS", 2)
    promote(store, first)
    gate(store, second, "PASS", 1)
    promote(store, second)
    assert champion(store) == 2
    assert [e.details["version"] for e in ledger.read(store) if e.verb == "promoted"] == [1, 2, 1, 2]


def test_promoting_the_champion_again_writes_nothing(store):
    first = register(store, "a")
    gate(store, first, "FIRST", None)
    record = promote(store, first).entry
    assert promote(store, first).entry == record


def test_a_verdict_against_an_earlier_champion_does_not_promote(store):
    first, second = register(store, "a"), register(store, "b")
    gate(store, first, "FIRST", None)
    gate(store, second, "FIRST", None)
    promote(store, first)
    with pytest.raises(GateError, match=r"judged against no champion, the champion is now version 1"):
        promote(store, second)
    assert champion(store) == 1


def test_an_override_is_kept_in_the_ledger_with_what_spoke_against_it(store):
    first = register(store, "a")
    gate(store, first, "FAIL", None)
    with pytest.raises(GateError, match="verdict FAIL"):
        promote(store, first)
    promote(store, first, override=True)
    overridden = [e for e in ledger.read(store) if e.verb == "overridden"]
    assert champion(store) == 1 and "verdict FAIL" in overridden[0].details["objection"]


def wanted(store: Store) -> list[str]:
    return [entry.subject for entry in promotion.approvals_wanted(ledger.read(store))]


def test_the_newest_version_that_passed_waits_for_a_person_until_it_is_moved_or_judged_worse(store):
    first = register(store, "a")
    assert wanted(store) == []
    gate(store, first, "FIRST", None)
    assert wanted(store) == ["model mini/1"]
    promote(store, first)
    assert wanted(store) == []
    second = register(store, "b")
    gate(store, second, "PASS", None)
    assert wanted(store) == [], "judged against another champion than today's: nobody could promote it"
    gate(store, second, "PASS", 1)
    assert wanted(store) == ["model mini/2"]
    gate(store, second, "FAIL", 1)
    assert wanted(store) == []


def test_only_a_person_promotes_and_only_what_was_judged(store):
    first = register(store, "a")
    with pytest.raises(GateError, match="never evaluated"):
        promote(store, first)
    gate(store, first, "PASS", None)
    with pytest.raises(GateError, match="named person"):
        promotion.promote(store, first, actor=Actor("agent", "bot", "declared"), reason="")


def test_versions_registered_at_the_same_time_get_different_numbers(store):
    with ThreadPoolExecutor(8) as threads:
        versions = list(threads.map(lambda name: register(store, name), "abcdefgh"))
    assert sorted(version.version for version in versions) == list(range(1, 9))
    assert register(store, "c").version == next(v.version for v in versions if v.checkpoint_fingerprint == "c")
