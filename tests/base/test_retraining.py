"""When new data starts a retrain, decided on a tiny store: mini/1 was trained on the first of two corpus versions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingot import manifest, model_versions, retraining, store_identity
from ingot.config import parse_recipe
from ingot.storage import Store
from tests.base import tiny_store

NEW = "guide/cleaning.md"  # the one text that the second version has and the first has not
NEW_TOKENS_BY_BYTES = 10  # 62 bytes; mini/1 saw 20 tokens in 135


def asks(**values: Any) -> dict[str, Any]:
    given = {"model": "mini", "recipe": "/data/recipe.yaml", "overrides": ["seed=7"], "min_new_tokens": None}
    return {"retrain": {**given, "max_age_days": None, **values}}


def make_store(tmp_path: Path, **values: Any) -> Store:
    """handbook@1 with mini/1, then handbook@2, which asks for a retrain with these values."""
    store = Store(str(tmp_path / "store"))
    store_identity.initialise(store, salt=tiny_store.SALT)
    tiny_store.publish(store, tiny_store.FIRST_NIGHT, 1)
    tiny_store.train(store, 1)
    tiny_store.publish(store, tiny_store.SECOND_NIGHT, 2, asks(**values) if values else None)
    return store


def now(days: float = 0.0) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_enough_new_tokens_make_a_retrain_due_and_it_says_that_they_are_estimated(tmp_path: Path) -> None:
    store = make_store(tmp_path, min_new_tokens=NEW_TOKENS_BY_BYTES)
    due = retraining.judge(store, "handbook", now()).due
    assert due is not None
    assert (due.model, due.corpus, due.recipe) == ("mini", "handbook@2", "/data/recipe.yaml")
    assert due.overrides == ("seed=7",)
    assert (due.new_documents, due.new_tokens, due.is_exact) == (1, NEW_TOKENS_BY_BYTES, False)
    assert "about 10 new tokens (from bytes) in 1 documents that mini/1 was not trained on" in due.reason
    assert retraining.run_parameters(due, retraining.BY_POLL)["requested_by"] == "new data (poll)"


def test_one_token_too_few_is_not_due_and_says_how_many_are_enough(tmp_path: Path) -> None:
    judgement = retraining.judge(make_store(tmp_path, min_new_tokens=NEW_TOKENS_BY_BYTES + 1), "handbook", now())
    assert judgement.due is None and "11 are enough" in judgement.why
    assert judgement.look_again is None  # only new data can change it


def test_tokens_are_counted_where_the_version_is_tokenized(tmp_path: Path) -> None:
    store = make_store(tmp_path, min_new_tokens=1)
    tiny_store.tokenize(store, manifest.read(store, "handbook", 2))
    due = retraining.judge(store, "handbook", now()).due
    assert due is not None and due.is_exact
    assert (due.new_documents, due.new_tokens) == (1, 10)  # each of its texts has ten


def test_an_old_model_is_due_only_when_there_is_new_data(tmp_path: Path) -> None:
    store = make_store(tmp_path, max_age_days=30)
    young = retraining.judge(store, "handbook", now(29.9))
    assert young.due is None and young.look_again is not None
    assert abs(young.look_again - now(30)) < timedelta(minutes=1)
    old = retraining.judge(store, "handbook", now(30.1)).due
    assert old is not None and "30.1 days old (30 are the most)" in old.reason
    nothing_new = Store(str(tmp_path / "other"))
    store_identity.initialise(nothing_new, salt=tiny_store.SALT)
    tiny_store.publish(nothing_new, tiny_store.SECOND_NIGHT, 1)
    tiny_store.train(nothing_new, 1)
    tiny_store.publish(nothing_new, tiny_store.FIRST_NIGHT, 2, asks(max_age_days=30))  # a page left, none came
    assert "has no document that mini/1 was not trained on" in retraining.judge(nothing_new, "handbook", now(99)).why


def test_a_version_that_asks_for_nothing_is_never_due(tmp_path: Path) -> None:
    assert retraining.judge(make_store(tmp_path), "handbook", now(9_999)).why == "handbook@2 asks for no retrain"


def test_a_version_that_a_model_was_trained_on_is_not_due(tmp_path: Path) -> None:
    store = make_store(tmp_path, min_new_tokens=1)
    tiny_store.train(store, 2)
    assert retraining.judge(store, "handbook", now(99)).why == "mini/2 was trained on handbook@2"


def test_the_first_model_is_not_trained_by_itself(tmp_path: Path) -> None:
    judgement = retraining.judge(make_store(tmp_path, min_new_tokens=1, model="other"), "handbook", now())
    assert judgement.due is None and "a person trains the first one" in judgement.why


def test_a_retrain_that_was_started_for_a_version_is_not_started_again(tmp_path: Path) -> None:
    store = make_store(tmp_path, min_new_tokens=1)
    due = retraining.judge(store, "handbook", now()).due
    assert due is not None
    retraining.record_started(store, due, flow_run_id="r1", asked_by=retraining.BY_EVENT, now=now())
    again = retraining.judge(store, "handbook", now(99))
    assert again.due is None and again.why == "a retrain of mini was started for handbook@2 before"
    assert retraining.idempotency_key(due) == f"retrain-mini-{due.root_digest}"


def test_a_recipe_says_what_its_versions_ask_for() -> None:
    values = {"corpus": "handbook", "model": "mini", "sources": [{"source": "folder", "name": "a", "uri": "/a"}]}
    assert retraining.asked_by(parse_recipe(values), "/r.yaml", None) == {}
    given = retraining.asked_by(parse_recipe({**values, "retrain": {"max_age_days": 7}}), "/r.yaml", {"seed": "3"})
    wanted = {"min_new_tokens": None, "max_age_days": 7.0, "model": "mini", "recipe": "/r.yaml"}
    assert given == {"retrain": {**wanted, "overrides": ["seed=3"]}}


def test_shards_that_two_versions_share_are_not_read(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first, second = (manifest.read(store, "handbook", number) for number in (1, 2))
    for shard in first.identity.shards:
        store.delete(f"shards/{shard.sha256}.parquet")
    assert retraining.document_changes(store, first, first) == (0, 0)
    model = model_versions.resolve(store, "mini/1")
    assert retraining.new_data(store, first, model).documents == 0
    with pytest.raises(Exception, match="is not in the store"):
        retraining.document_changes(store, second, first)
