"""`ingot plan --preflight`: the checks before step 0 on the newest version's tokens, in a process of their own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.errors import DataError, NotFoundError
from ingot.settings import Settings
from ingot.storage import Store
from interface.plan_preflight import run_preflight
from tasks.corpus import find_published
from tests.tasks.test_mixtures import recipe, store, tokenize  # noqa: F401  # store is a fixture


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    yield Settings.from_environment({"INGOT_HOME": str(tmp_path / "home"), "INGOT_TRAIN_THREADS": "1"})


def test_a_sound_stage_passes_and_one_that_is_not_says_what_to_do(store: Store, settings: Settings) -> None:  # noqa: F811
    with pytest.raises(NotFoundError, match="no version with token files"):
        run_preflight(recipe(), store, settings)
    tokens = tokenize(store, find_published(store, "handbook@2"))
    before = sorted(store.list(""))
    found = run_preflight(recipe(), store, settings)
    assert found is not None and found["overlap"] == {"handbook@2": {"held_out": 1, "trained_on": 0}}
    assert found["packing"]["largest_difference"] < 1e-4 and sorted(store.list("")) == before
    (entry,) = recipe().train
    length = tokens.num_tokens * 5 // 8
    long = entry.config.model_copy(update={"sequence_length": length, "batch_tokens": length})
    unsound = recipe().model_copy(update={"train": [entry.model_copy(update={"config": long})]})
    with pytest.raises(DataError, match=f"fill no window of {length}; lower train.sequence_length"):
        run_preflight(unsound, store, settings)


def test_one_process_judges_the_memory_of_all_ranks(store: Store, settings: Settings) -> None:  # noqa: F811
    tokenize(store, find_published(store, "handbook@2"))
    one = run_preflight(recipe(), store, settings)
    two = run_preflight(recipe(), store, replace(settings, ranks=2))
    assert one is not None and two is not None
    assert two["memory"]["estimated_bytes"] == 2 * one["memory"]["estimated_bytes"]
