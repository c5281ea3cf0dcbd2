"""The ledger: a chain that many may append to and nobody can rewrite unnoticed."""

import multiprocessing
from datetime import UTC, datetime
from typing import Any

import pytest

from ingot import ledger
from ingot.errors import BusyError, IntegrityError, RecipeError
from ingot.ledger import Actor
from ingot.storage import Store

FORK = multiprocessing.get_context("fork")
MARIA = Actor("person", "maria", "ssh_signature")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def add(store: Store, subject: str, *, attempt: str = "1", verb: str = "published", **changes: Any) -> ledger.Entry:
    values: dict[str, Any] = {"actor": MARIA, "subject_digest": "d", "evidence": {"manifest": "e"}, "now": NOON}
    return ledger.append(store, verb=verb, subject=subject, attempt=attempt, **{**values, **changes})


def rewrite(store: Store, sequence: int, **changes: Any) -> None:
    """Forge a record so well that it holds together on its own."""
    record = store.read_record(ledger.key_of(sequence))
    body = {**{name: value for name, value in record.items() if name != "sha256"}, **changes}
    body["sha256"] = ledger.sha256_hex(ledger.canonical_json(body))
    store.delete(ledger.key_of(sequence))
    store.put_if_absent(ledger.key_of(sequence), body)


def test_an_empty_ledger_has_no_records_and_no_head(local_store: Store) -> None:
    assert ledger.read(local_store) == []
    assert ledger.head(local_store) == (0, "")


def test_records_come_back_in_order_with_everything_that_was_said(local_store: Store) -> None:
    first = add(local_store, "handbook@1", details={"documents": 3})
    second = add(local_store, "model mini/1", verb="registered")
    assert ledger.read(local_store) == [first, second]
    assert (first.sequence, first.verb, first.subject, first.actor) == (1, "published", "handbook@1", MARIA)
    assert (first.evidence, first.details, first.attempt) == ({"manifest": "e"}, {"documents": 3}, "1")
    assert first.time == "2026-01-02T12:00:00.000+00:00"
    assert local_store.list("ledger/") == ["ledger/000000000001.json", "ledger/000000000002.json"]
    assert local_store.read_record("ledger/000000000002.json")["previous"] == first.sha256
    assert ledger.head(local_store) == (2, second.sha256)


def test_the_same_act_again_returns_the_first_record(local_store: Store) -> None:
    first = add(local_store, "handbook@1")
    assert add(local_store, "handbook@1", now=datetime.now(UTC), evidence={}) == first
    add(local_store, "handbook@1", attempt="2")
    add(local_store, "handbook@1", verb="held_back")
    add(local_store, "handbook@2")
    assert len(ledger.read(local_store)) == 4


def test_an_unknown_verb_is_refused_with_the_known_ones(local_store: Store) -> None:
    with pytest.raises(RecipeError, match="'celebrated' is unknown; known: published, held_back"):
        add(local_store, "handbook@1", verb="celebrated")


@pytest.mark.parametrize(
    "actor",
    [
        MARIA, Actor("schedule", "nightly", "declared"), Actor("agent", "helper", "proxy_header"),
        Actor("service", "reaper", "os_user"),
    ],
    ids=lambda actor: actor.kind,
)  # fmt: skip
def test_who_acted_and_how_we_know_is_kept(local_store: Store, actor: Actor) -> None:
    add(local_store, "handbook@1", actor=actor)
    assert ledger.read(local_store)[0].actor == actor


def test_the_actor_is_declared_or_the_user_of_the_system() -> None:
    assert Actor.current({"INGOT_ACTOR": "maria"}) == Actor("person", "maria", "declared")
    assert Actor.current({}).established_by == "os_user"


def _append_ten(root: str, process: int, start: Any) -> None:
    store = Store(root)
    start.wait()
    for number in range(10):
        add(store, f"handbook@{process}.{number}")


def test_8_processes_that_append_10_records_each_make_one_chain_of_80(local_store: Store) -> None:
    start = FORK.Barrier(8)
    writers = [FORK.Process(target=_append_ten, args=(local_store.root, number, start)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    entries = ledger.read(local_store)
    assert len(entries) == len({entry.subject for entry in entries}) == 80
    assert [entry.sequence for entry in entries] == list(range(1, 81))


def test_who_loses_every_race_is_told_to_try_again(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store, "put_if_absent", lambda key, record: False)
    with pytest.raises(BusyError, match=r"published handbook@1 lost 200 races; try again"):
        add(local_store, "handbook@1")


def test_a_missing_record_is_found_and_named(local_store: Store) -> None:
    for number in range(4):
        add(local_store, f"handbook@{number}")
    local_store.delete(ledger.key_of(2))
    with pytest.raises(IntegrityError, match=r"record 2 is missing \(found ledger/000000000003\.json\)"):
        ledger.read(local_store)


def test_a_forged_record_is_found_by_the_one_after_it(local_store: Store) -> None:
    for number in range(3):
        add(local_store, f"handbook@{number}")
    rewrite(local_store, 2, subject="handbook@99")
    with pytest.raises(IntegrityError, match="record 3 does not follow record 2"):
        ledger.read(local_store)


def test_records_in_each_others_place_are_found(local_store: Store) -> None:
    for number in range(2):
        add(local_store, f"handbook@{number}")
    one, two = (local_store.read_bytes(ledger.key_of(number)) for number in (1, 2))
    local_store.put_bytes(ledger.key_of(1), two, overwrite=True)
    local_store.put_bytes(ledger.key_of(2), one, overwrite=True)
    with pytest.raises(IntegrityError, match="000000000001"):
        ledger.read(local_store)


@pytest.mark.parametrize("spelling", ["{sequence}:{sha256}", "{sha256}"])
def test_a_head_kept_elsewhere_proves_what_came_before_it(local_store: Store, spelling: str) -> None:
    entries = [add(local_store, f"handbook@{number}") for number in range(3)]
    witness = spelling.format(sequence=2, sha256=entries[1].sha256)
    ledger.check_witness(entries, witness)
    with pytest.raises(IntegrityError, match=r"does not hold the head .* \(it has 1 records\)"):
        ledger.check_witness(entries[:1], witness)


def test_a_cut_tail_is_found_with_the_witness_only(local_store: Store) -> None:
    for number in range(3):
        add(local_store, f"handbook@{number}")
    sequence, head = ledger.head(local_store)
    local_store.delete(ledger.key_of(3))
    entries = ledger.read(local_store)
    assert len(entries) == 2
    with pytest.raises(IntegrityError, match="rewritten or cut"):
        ledger.check_witness(entries, f"{sequence}:{head}")


def test_a_history_rewritten_from_the_start_is_found_with_the_witness_only(local_store: Store) -> None:
    for number in range(3):
        add(local_store, f"handbook@{number}")
    sequence, head = ledger.head(local_store)
    for number in range(1, 4):
        local_store.delete(ledger.key_of(number))
    for number in range(3):
        add(local_store, f"handbook@{number}", actor=Actor("person", "mallory", "declared"))
    entries = ledger.read(local_store)
    with pytest.raises(IntegrityError, match="rewritten or cut"):
        ledger.check_witness(entries, f"{sequence}:{head}")


@pytest.mark.parametrize("witness", ["x:abc", ":", "3:", "nonsense", "²:{head}", "9:{head}"])
def test_a_witness_that_is_none_is_an_error_with_its_text(local_store: Store, witness: str) -> None:
    add(local_store, "handbook@1")
    witness = witness.format(head=ledger.head(local_store)[1])
    with pytest.raises(IntegrityError, match="head"):
        ledger.check_witness(ledger.read(local_store), witness)


def test_a_kill_at_the_put_leaves_a_whole_chain(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.base.test_storage_local import in_child

    add(local_store, "handbook@1")
    for point, expected in (("ledger.put.before", 1), ("ledger.put.after", 2)):
        monkeypatch.setenv("INGOT_CRASH_AT", point)
        assert in_child(lambda: add(local_store, "handbook@2")) == -9
        assert len(ledger.read(local_store)) == expected
    monkeypatch.delenv("INGOT_CRASH_AT")
    assert add(local_store, "handbook@2").sequence == 2
