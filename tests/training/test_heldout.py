"""Held-out bits per byte while a model trains: of the right text, at the right steps, no trace in the weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from ingot import manifest, store_identity
from ingot.refs import MixtureRef
from tests.base import tiny_store
from tests.training.conftest import TINY, GroupRunner, Place, RankRunner, SetUp
from training.heldout import HeldOut, Sample, open_heldout, sample_of
from training.job import HELDOUT_METRIC
from training.stages.pretrain import Config
from training.token_nats import token_nats

TEXT = tiny_store.TEXTS["guide/safety.md"]
EVERY_FOUR = TINY.model_copy(update={"heldout_every_steps": 4})


@pytest.fixture
def handbook(place: Place) -> Place:
    """The play's tokens under the name of a version that holds one document out."""
    store_identity.initialise(place.store, salt=tiny_store.SALT)
    tiny_store.publish(place.store, tiny_store.FIRST_NIGHT, 1)
    return Place(place.root, place.tokens.model_copy(update={"corpus": "handbook@1"}))


def looks(place: Place, name: str = HELDOUT_METRIC) -> dict[int, float]:
    return {int(line["step"]): line[name] for line in place.metrics() if name in line}


def expected_bits(place: Place, step: int) -> float:
    """By definition: the loss of the first 32 targets, by the bytes that a token has in the whole text."""
    folder = place.root / f"checkpoints/{place.job().fingerprint}/{step:08d}"
    ids = [*Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids, 0]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor([ids[:32]])).logits[0]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:33]))
    return float(nats) * len(ids) / len(TEXT.encode()) / math.log(2)


def test_the_sample_is_what_was_held_out_in_windows_that_share_a_token(handbook: Place) -> None:
    tokenizer = Tokenizer.from_file(str(handbook.root / "tokenizers/play/tokenizer.json"))
    ids = [*tokenizer.encode(TEXT).ids, 0]
    sample = sample_of(handbook.store, handbook.tokens, num_tokens=1000, sequence_length=8)
    assert sample is not None and sample.corpus == "handbook"
    assert len(sample.windows_WT) == (len(ids) - 1) // 8 > 3
    assert sample.windows_WT.tolist() == [ids[8 * n : 8 * n + 9] for n in range(len(sample.windows_WT))]
    assert sample.bits_per_byte(math.log(2)) == pytest.approx(len(ids) / len(TEXT))
    fewer = sample_of(handbook.store, handbook.tokens, num_tokens=16, sequence_length=8)
    assert fewer is not None and np.array_equal(fewer.windows_WT, sample.windows_WT[:2])


def test_where_nothing_was_held_out_or_it_fills_no_window_there_is_no_sample(place: Place, handbook: Place) -> None:
    assert sample_of(place.store, place.tokens, num_tokens=1000, sequence_length=8) is None
    assert sample_of(handbook.store, handbook.tokens, num_tokens=1000, sequence_length=512) is None


def test_a_run_looks_before_it_begins_at_intervals_and_at_its_end(handbook: Place, run_rank: RankRunner) -> None:
    config = TINY.model_copy(update={"heldout_every_steps": 5})
    assert run_rank(handbook.job(config)) == 0
    seen = looks(handbook)
    assert list(seen) == [0, 5, 10, 12]
    assert seen[12] == pytest.approx(expected_bits(handbook, 12), abs=1e-4) and seen[12] < seen[0]


def test_by_default_a_run_looks_ten_times_and_none_where_zero_is_asked_for(
    handbook: Place, run_rank: RankRunner
) -> None:
    assert run_rank(handbook.job()) == 0
    assert list(looks(handbook)) == [0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    steps = [line["step"] for line in handbook.metrics()]
    assert steps == sorted(steps)
    with_looks = handbook.weights_sha256()
    never = TINY.model_copy(update={"heldout_every_steps": 0})
    assert run_rank(handbook.job(never, fingerprint="2" * 64)) == 0
    assert not looks(handbook) and handbook.weights_sha256(fingerprint="2" * 64) == with_looks


def test_documents_of_a_window_see_each_other_no_more_than_in_training(set_up: SetUp) -> None:
    run = set_up(TINY.model_copy(update={"document_masking": True}))
    ids = [5, 6, 7, 0, 8, 9, 0, 10, 11]  # the last token of a window is a target only
    pieces = [ids[:5], ids[4:8], ids[7:]]
    nats = [token_nats(run, torch.tensor([piece]), None, None) for piece in pieces]
    seen = HeldOut(run, [Sample("handbook", np.array([ids]), 1.0)]).look()
    assert seen[HELDOUT_METRIC] == pytest.approx(np.concatenate(nats).mean() / math.log(2), abs=1e-4)
    unmasked = replace(run, config=TINY)
    assert HeldOut(unmasked, [Sample("handbook", np.array([ids]), 1.0)]).look() != seen


def test_held_out_text_that_is_damaged_meanwhile_takes_the_curve_and_nothing_else(
    handbook: Place, run_rank: RankRunner, set_up: SetUp, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_rank(handbook.job(EVERY_FOUR), crash_at="training.step.before@7") == -9
    shards = manifest.read(handbook.store, "handbook", 1).identity.shards
    (shard,) = [shard for shard in shards if shard.split == "heldout"]
    path = handbook.root / f"shards/{shard.sha256}.parquet"
    path.chmod(0o644)
    path.write_bytes(b"PAR1" + path.read_bytes()[4:-1] + b"x")
    assert run_rank(handbook.job(EVERY_FOUR)) == 0
    assert list(looks(handbook)) == [0, 4]
    open_heldout(replace(set_up(EVERY_FOUR), job=handbook.job(EVERY_FOUR)))
    assert f"no curve of held-out text of handbook@1: shards/{shard.sha256}.parquet" in caplog.text


def test_ranks_agree_on_when_to_look_whether_they_have_text_or_not(set_up: SetUp) -> None:
    run = set_up(EVERY_FOUR)
    sample = Sample("handbook", np.zeros((1, 9), dtype=np.int64), 1.0)
    for samples in ([sample], []):
        assert [done for done in range(13) if HeldOut(run, samples).is_due(done)] == [0, 4, 8, 12]
    assert HeldOut(run, []).look() == {}


def test_a_killed_run_has_seen_the_same(handbook: Place, run_rank: RankRunner) -> None:
    assert run_rank(handbook.job(EVERY_FOUR, fingerprint="2" * 64)) == 0
    undisturbed = looks(handbook)
    assert run_rank(handbook.job(EVERY_FOUR), crash_at="training.step.before@7") == -9
    assert run_rank(handbook.job(EVERY_FOUR)) == 0
    assert looks(handbook) == undisturbed


def test_numbers_of_a_mixture_carry_the_name_of_their_corpus(
    place: Place, handbook: Place, run_rank: RankRunner
) -> None:
    data = MixtureRef(parts=(place.tokens, handbook.tokens))  # nothing of the play was held out
    config = Config.model_validate({**EVERY_FOUR.model_dump(), "data": [{"corpus": "this"}, {"corpus": "handbook@1"}]})
    assert run_rank(handbook.job(config, data=data)) == 0
    assert not looks(handbook)
    assert list(looks(handbook, f"{HELDOUT_METRIC}_handbook")) == [0, 4, 8, 12]


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_ranks_see_what_one_sees(
    sharding: str, handbook: Place, run_rank: RankRunner, run_ranks: GroupRunner
) -> None:
    config = EVERY_FOUR.model_copy(update={"sharding": sharding})
    assert run_rank(handbook.job(EVERY_FOUR, fingerprint="2" * 64)) == 0
    alone = looks(handbook)
    assert run_ranks(handbook.job(config), 2) == [0, 0]
    assert looks(handbook) == pytest.approx(alone, abs=1e-3)
