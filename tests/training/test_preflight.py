"""Pre-flight: every check passes on a sound run and fails on the fault it is for; the run's bits stay what they are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.overlap import documents_in_both
from ingot import store_identity
from ingot.errors import DataError, RecipeError, TrainingError, WillNotFitError
from ingot.storage import Store
from tests.base import tiny_store
from tests.training.conftest import TINY, VOCAB_SIZE, Place, RankRunner, SetUp, tokens_ref, write_shard
from training import preflight
from training.models import ModelConfig
from training.stages.pretrain import Config, plan

MASKED = TINY.model_copy(update={"document_masking": True})


@pytest.mark.parametrize("config", [TINY, MASKED], ids=["whole windows", "masked by document"])
def test_packed_windows_have_the_loss_of_their_pieces(set_up: SetUp, config: Config) -> None:
    packed, apart = preflight.token_losses(set_up(config))
    assert packed.shape == apart.shape == (2 * 32,)
    found = preflight.check_packing(packed, apart, precision="float32")
    assert found["largest_difference"] < 1e-5 and 4 < found["packed"] < 8


def test_a_mask_that_lets_documents_see_each_other_is_an_error(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import documents

    run = set_up(MASKED)
    # Positions that never start again: transformers then sees one document.
    monkeypatch.setattr(documents, "document_positions", lambda ids_BT, eos_id: None)
    with pytest.raises(TrainingError, match=r"the loss of a token .* Set train.document_masking: false"):
        preflight.check_packing(*preflight.token_losses(run), precision="float32")


def test_pieces_are_the_documents_of_a_window() -> None:
    assert preflight.piece_bounds([5, 0, 6, 7, 0], masked=True) == [(0, 2), (2, 5)]
    assert preflight.piece_bounds([5, 0, 6, 7, 0], masked=False) == [(0, 5)]


def test_an_id_outside_the_vocabulary_is_found_wherever_it_is(place: Place, tmp_path: Path) -> None:
    documents = [[1, 2, 0], [3, 250, 0]]
    tokens = tokens_ref((write_shard(tmp_path / "store", "a" * 64, documents),), vocab_size=100)
    with pytest.raises(DataError, match="token id 250 is outside the vocabulary of 100"):
        preflight.check_ids(preflight.largest_id(Store(str(tmp_path / "store")), tokens), tokens)
    largest = preflight.largest_id(place.store, place.tokens)
    assert preflight.check_ids(largest, place.tokens) == {"largest_id": largest, "vocab_size": VOCAB_SIZE}


def test_text_that_no_window_holds_is_counted_and_most_of_it_is_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    ids = [int(n) for n in np.arange(1, 30)]
    tokens = tokens_ref((write_shard(tmp_path / "store", "a" * 64, [ids, [1, 0]]),), vocab_size=100)
    # 31 tokens: three windows of 8 and one token more leave 6; the first document goes on for 21 after its window.
    assert preflight.check_truncation(store, tokens, 8) == {"unread": 6 / 31, "beyond_a_window": 21 / 31}
    with pytest.raises(DataError, match=r"12 of the 31 tokens .* fill no window of 18; lower train.sequence_length"):
        preflight.check_truncation(store, tokens, 18)


def test_a_held_out_document_that_is_trained_on_is_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store_identity.initialise(store, salt=tiny_store.SALT)
    tiny_store.publish(store, tiny_store.FIRST_NIGHT, 1)
    tokens = tokens_ref((), vocab_size=100).model_copy(update={"corpus": "handbook@1"})
    assert preflight.check_overlap(store, tokens) == {"held_out": 1, "trained_on": 0}
    assert "not_checked" in preflight.check_overlap(store, tokens.model_copy(update={"corpus": "other@1"}))
    both = documents_in_both([[b"a", b"b"], [b"c"]], [b"c", b"d"])
    assert both == [b"c"]
    with pytest.raises(DataError, match=r"1 of 2 held-out documents of handbook@1 are trained on too"):
        preflight.check_copies("handbook@1", both, 2)


def test_too_little_memory_or_disk_is_an_error_and_a_remote_store_is_not_asked() -> None:
    with pytest.raises(WillNotFitError, match=r"needs about 2.00 GB of memory, 1.00 GB .*micro_batch_rows"):
        preflight.check_memory(2 * 10**9, 10**9)
    with pytest.raises(WillNotFitError, match=r"need 2.00 GB, 1.00 GB are free; free space"):
        preflight.check_disk(2 * 10**9, 10**9)
    assert preflight.check_disk(2 * 10**9, None)["free_bytes"] is None


def test_a_rate_far_off_two_rules_is_refused_for_a_large_model_and_noted_for_a_small_one() -> None:
    large = {"model": {"family": "llama", "layers": 12, "width": 768}, "tokens": 2_000_000_000, "batch_tokens": 131_072}
    config = Config.model_validate({**large, "learning_rate": 0.05})
    with pytest.raises(RecipeError, match=r"train.learning_rate 0.05 is more than 3 times above"):
        preflight.check_rate(config, plan(config, 4096))
    assert preflight.check_rate(TINY, plan(TINY, VOCAB_SIZE))["verdict"] in ("accepted", "warned")


def test_the_rate_of_a_mixture_is_judged_by_the_weights_that_a_token_meets() -> None:
    shape = {"family": "olmoe", "layers": 12, "width": 768, "experts": 128, "tie_embeddings": False}
    config = Config.model_validate({"model": shape, "tokens": 2_000_000_000, "batch_tokens": 131_072})
    assert preflight.check_rate(config, plan(config, 4096))["verdict"] == "accepted"


def test_a_head_that_vllm_does_not_find_is_refused() -> None:
    shape = ModelConfig(family="olmoe", layers=1, width=64, experts=4)
    with pytest.raises(RecipeError, match="set tie_embeddings: false"):
        preflight.check_head(shape)
    assert preflight.check_head(shape.model_copy(update={"tie_embeddings": False})) == {"tied": False}
    assert preflight.check_head(ModelConfig(family="qwen3_moe", layers=1, width=64, experts=4)) == {"tied": True}


def test_a_run_is_checked_once_and_what_was_found_lies_beside_its_metrics(place: Place, run_rank: RankRunner) -> None:
    assert run_rank(place.job(), crash_at="training.step.before@7") == -9
    found = json.loads((place.run_dir / preflight.PREFLIGHT_FILE).read_text())
    assert set(found) == {"head", "tokens", "truncation", "overlap", "memory", "disk", "rate", "packing"}
    (place.run_dir / preflight.PREFLIGHT_FILE).unlink()
    assert run_rank(place.job()) == 0
    assert not (place.run_dir / preflight.PREFLIGHT_FILE).exists(), "a run that goes on is checked again"


BOTH = """
import sys, threading
from pathlib import Path
from training.job import Job
from training.loops import pretrain
job = Job.model_validate_json(Path(sys.argv[1]).read_text())
job.run_dir.mkdir(exist_ok=True)
if sys.argv[2] == "without":
    pretrain.record_preflight = lambda run: None
pretrain.train(job, threading.Event(), rank=0, num_ranks=1)
"""


def test_weights_are_the_same_bit_for_bit_with_and_without_it(place: Place, tmp_path: Path) -> None:
    for name, fingerprint in (("with", "1" * 64), ("without", "2" * 64)):
        job = place.job(MASKED, fingerprint=fingerprint, run_dir=place.root / name)
        (tmp_path / "job.json").write_text(job.model_dump_json())
        subprocess.run([sys.executable, "-c", BOTH, str(tmp_path / "job.json"), name], check=True,
                       cwd=Path(__file__).parents[2])  # fmt: skip
        assert (place.root / name / preflight.PREFLIGHT_FILE).exists() == (name == "with")
    assert place.weights_sha256(fingerprint="1" * 64) == place.weights_sha256(fingerprint="2" * 64)
