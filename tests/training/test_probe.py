"""A probe of a tiny model: the real loop, nothing left behind, and its memory beside that of the run that follows."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.storage import Store
from tests.training.conftest import TINY, VOCAB_SIZE, Place
from training.adopted_shape import shape_of
from training.machine import Machine
from training.probe import Probe, probe, probe_config, recall, remember
from training.stages import continued_pretrain
from training.stages.pretrain import run


def test_the_memory_of_a_probe_is_within_15_percent_of_the_run_that_follows(place: Place, tmp_path: Path) -> None:
    scratch = Store(str(tmp_path / "probe"))
    found = probe(probe_config(TINY), VOCAB_SIZE, scratch, ranks=1, threads=1)
    assert found is not None and found.tokens_per_second > 100 and found.watts and not found.is_measured_power
    assert not list((tmp_path / "probe").glob("checkpoints/*/00001000")), "the probe went on to its end"
    run(TINY, None, place.tokens, place.output())
    peak = place.metrics()[-1]["peak_memory_bytes"]
    assert found.peak_memory_bytes == pytest.approx(peak, rel=0.15)
    assert not [name for name in os.listdir("/proc") if name.isdigit() and _runs_in(int(name), tmp_path / "probe")]


def test_a_stage_that_goes_on_from_an_adopted_model_is_probed_in_its_shape_and_at_any_rate(tmp_path: Path) -> None:
    kind = {"model_type": "llama", "vocab_size": VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    shape = shape_of({**kind, "tie_word_embeddings": True})
    values = TINY.model_dump(exclude={"model"})
    config = continued_pretrain.Config.model_validate({**values, "model": shape, "learning_rate": 1e-7})
    assert probe_config(config).model == shape
    found = probe(probe_config(config), VOCAB_SIZE, Store(str(tmp_path)), ranks=1, threads=1)
    assert found is not None and found.tokens_per_second > 100
    assert "rate" not in json.loads((tmp_path / "run/preflight.json").read_text())


def test_a_probe_is_found_again_for_the_same_stage_on_the_same_machine_alone(tmp_path: Path) -> None:
    found = Probe(10_000.0, 700_000_000, 7.0, False, 256, 1)
    here, config = Machine("AMD EPYC / 25", 0, None, 2, 8 * 10**9, None), probe_config(TINY)
    assert recall(tmp_path, config, VOCAB_SIZE, here, 1) is None
    remember(tmp_path, found, config, VOCAB_SIZE, here, 1)
    longer = TINY.model_copy(update={"tokens": 10**6, "seed": 5, "learning_rate": 0.5})
    assert recall(tmp_path, probe_config(longer), VOCAB_SIZE, here, 1) == found
    assert recall(tmp_path, config, VOCAB_SIZE, replace(here, cores=4), 1) is None
    wider = TINY.model_copy(update={"micro_batch_rows": 8})
    assert recall(tmp_path, probe_config(wider), VOCAB_SIZE, here, 1) is None


def _runs_in(pid: int, folder: Path) -> bool:
    try:
        return str(folder) in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_probe_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    slow = TINY.model_copy(update={"batch_tokens": 1 << 22, "sequence_length": 256})
    scratch = Store(str(tmp_path / "probe"))
    assert probe(probe_config(slow), VOCAB_SIZE, scratch, ranks=1, threads=1, limit_seconds=0.1) is None
