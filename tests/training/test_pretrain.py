"""What a run learns, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.training.conftest import FINGERPRINT, TINY, Place, RankRunner
from training.batches import documents_by_step
from training.checkpoints import checkpoint_ref, key_of, read_manifest


def test_the_loss_falls_on_real_text(place: Place, run_rank: RankRunner) -> None:
    config = TINY.model_copy(update={"tokens": 150 * 256, "log_every_steps": 10, "checkpoint_every_steps": 150})
    assert run_rank(place.job(config)) == 0
    losses = [line["loss"] for line in place.metrics()]
    # A uniform guess over 320 tokens is 5.8 nats; fresh weights of 1/sqrt(width) start about 0.5 above it.
    assert losses[0] == pytest.approx(6.2, abs=0.5)
    assert losses[-1] < 4.0 and sum(losses[-3:]) < sum(losses[1:4])


def test_a_not_finite_loss_stops_before_the_update_and_names_the_step(place: Place, run_rank: RankRunner) -> None:
    assert run_rank(place.job(), crash_at="training.step.before@4") == -9
    # The same run, but from its checkpoint of step 3 on the loss overflows.
    config = TINY.model_copy(update={"z_loss": 1e38})
    assert run_rank(place.job(config)) == 1
    failure = place.failure()
    assert failure.kind == "TrainingError" and "step 3 is not finite" in failure.message
    steps = [path.name for path in (place.root / "checkpoints" / FINGERPRINT).iterdir()]
    assert steps == ["00000003"]


def test_a_longer_run_starts_from_the_weights_of_a_checkpoint(clean: Place, place: Place, run_rank: RankRunner) -> None:
    start = checkpoint_ref(clean.store, key_of(FINGERPRINT, 9))
    second = Place(clean.root, clean.tokens, run="second")
    assert run_rank(second.job(fingerprint="2" * 64, start=start)) == 0
    assert second.metrics()[0]["loss"] < clean.metrics()[0]["loss"] - 0.5
    assert read_manifest(clean.store, key_of("2" * 64, 12)).start == start.key


def test_a_start_of_another_shape_or_tokenizer_is_refused(clean: Place, run_rank: RankRunner) -> None:
    start = checkpoint_ref(clean.store, key_of(FINGERPRINT, 12))
    third = Place(clean.root, clean.tokens, run="third")
    wider = TINY.model_copy(update={"model": TINY.model.model_copy(update={"width": 64})})
    assert run_rank(third.job(wider, fingerprint="3" * 64, start=start)) == 1
    assert "weights of another shape" in third.failure().message
    data = clean.tokens.model_copy(update={"tokenizer_digest": "0" * 64})
    assert run_rank(third.job(fingerprint="3" * 64, start=start, data=data)) == 1
    assert "tokenize the corpus with the checkpoint's tokenizer" in third.failure().message


def test_the_checkpoint_answers_which_documents_made_it(clean: Place) -> None:
    manifest = read_manifest(clean.store, key_of(FINGERPRINT, 12))
    reads = list(documents_by_step(clean.store, clean.tokens, manifest.sampler, manifest.step))
    assert sum(int(shard.tokens.sum()) for shard in reads) == manifest.tokens_seen
    earlier = list(documents_by_step(clean.store, clean.tokens, manifest.sampler, 6))
    assert all((early.windows <= late.windows).all() for early, late in zip(earlier, reads, strict=True))
    assert any((shard.windows == 0).any() for shard in reads) and any((shard.windows > 0).any() for shard in reads)


def test_no_text_of_a_document_reaches_logs_or_records(clean: Place) -> None:
    words = ("Citizen", "Marcius", "Rome")  # on every page of the play
    files: list[Path] = [*clean.run_dir.iterdir()]
    files += [p for p in (clean.root / "checkpoints").rglob("*.json*") if "tokenizer" not in p.name]
    for path in files:
        content = path.read_text(errors="replace")
        assert not any(word in content for word in words), path
    planted = clean.run_dir / "planted.log"
    planted.write_text(json.dumps({"text": "First Citizen: speak"}))
    assert any(word in planted.read_text() for word in words)
    planted.unlink()
