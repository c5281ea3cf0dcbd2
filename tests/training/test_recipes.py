"""The shipped recipes: each is read, its stages plan without a refusal, and is as large as its name says."""

import json
from pathlib import Path

import pytest

from benchmarks.recipes import file_digest
from ingot.recipe_files import load_recipe
from training.models import active_parameters, num_parameters
from training.stage_plans import plan_stages

FOLDER = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SIZES = {  # all parameters, and those that a token meets
    "gpu_124m": (124e6, 124e6),
    "gpu_350m": (355e6, 355e6),
    "gpu_1_3b": (1.3e9, 1.3e9),
    "gpu_moe_1b_active": (3.7e9, 1.3e9),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_is_read_and_its_stages_are_refused_by_no_rule(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.train
    for stage in plan_stages(recipe, corpus_tokens=None):
        assert not stage.refusals, stage.refusals
        assert not stage.warnings or name.startswith(("demo", "tiny", "infill", "continued")), stage.warnings


@pytest.mark.parametrize("path", sorted((FOLDER / "evidence").glob("*.json")), ids=lambda path: path.stem)
def test_evidence_is_of_the_recipe_as_it_stands_and_lies_in_its_own_bands(path: Path) -> None:
    evidence = json.loads(path.read_text())
    assert evidence["recipe_file_digest"] == file_digest(path.stem), "record it again: benchmarks/recipes.py --record"
    for seen in evidence["seeds"]:
        for name, value in seen["values"].items():
            low, high = evidence["bands"][name]
            assert low < value < high
        assert all(low < loss < high for loss, (low, high) in zip(seen["curve"], evidence["curve_band"], strict=True))
        assert seen["curve"][-1] < seen["curve"][0]
    assert {"data", "hardware", "date", "versions"} <= evidence.keys()


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_recipe_for_a_gpu_is_as_large_as_it_is_called(name: str) -> None:
    recipe = load_recipe(name)
    config, vocab_size = recipe.train[0].config, recipe.tokenizer.vocab_size
    sizes = num_parameters(config.model, vocab_size), active_parameters(config.model, vocab_size)
    assert sizes == pytest.approx(SIZES[name], rel=0.05)
    assert config.tokens == pytest.approx(20 * sizes[1], rel=0.05)
    assert (config.model.width // config.model.num_heads) in (64, 128), "the head sizes fast attention is made for"
