"""What a store's earlier runs say of a corpus's loss, and what is left out of it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from ingot import ledger, manifest, model_versions, store_identity
from ingot.digests import sha256_hex
from ingot.refs import TokensRef
from ingot.storage import Store
from tests.base import tiny_store
from tests.tasks.test_mixtures import recipe
from training.checkpoints import CheckpointManifest, save_checkpoint
from training.history import end_loss, finished_on
from training.loss_prediction import effective_tokens


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(str(tmp_path / "store"))
    store_identity.initialise(found, salt=tiny_store.SALT)
    tiny_store.publish(found, tiny_store.FIRST_NIGHT, 1)
    yield found


def tokens_of(store: Store) -> TokensRef:
    found = manifest.read(store, "handbook", 1)
    tokenizer = token_files.train_tokenizer(store, found, recipe().tokenizer)
    return token_files.tokenize(store, "handbook@1", found, tokenizer, InProcessPool())


def register(store: Store, tokens: TokensRef, *, loss: float, name: str, **details: Any) -> None:
    """A finished run of ten lines, the last of them at `loss`."""
    digest = sha256_hex(f"{name}{loss}".encode())
    lines = [{"time": 1.0 * n, "step": n, "tokens": 16 * n, "loss": loss + 10 - n} for n in range(11)]
    with store.scratch() as folder:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        checkpoint = save_checkpoint(store, folder, CheckpointManifest(
            fingerprint=digest, step=10, total_steps=10, tokens_seen=160, num_parameters=1000, milestone="final",
            files=(), recipe_digest="r", data_digest="d", tokenizer_digest=tokens.tokenizer_digest,
            corpus=tokens.corpus, start=None, sampler={}, environment={}, exact=True,
        ))  # fmt: skip
    model_versions.register(
        store, name, checkpoint_fingerprint=digest, checkpoint_key=checkpoint.key,
        checkpoint_digest=checkpoint.manifest_sha256, evidence={"corpus_root_digest": tokens.corpus_root_digest},
        details={"corpus": tokens.corpus, "run": digest, "tokens_key": token_files.tokens_manifest_key(tokens),
                 "recipe": {"train": [{"stage": "pretrain"}]}, "num_parameters": 1000, "tokens_seen": 160, **details},
        actor=tiny_store.ACTOR,
    )  # fmt: skip


def test_finished_runs_of_the_corpus_are_told_in_bits_per_byte_and_others_are_left_out(store: Store) -> None:
    tokens = tokens_of(store)
    register(store, tokens, loss=4.0, name="mini")
    register(store, tokens, loss=3.0, name="continued", recipe={"train": [{"stage": "continued_pretrain"}]})
    register(store, tokens, loss=3.0, name="mixed", recipe={"train": [{"stage": "pretrain", "data": [{}]}]})
    of_experts = {"train": [{"stage": "pretrain", "model": {"family": "olmoe", "experts": 8}}]}
    register(store, tokens, loss=3.0, name="experts", recipe=of_experts)
    register(store, tokens, loss=2.0, name="mini")
    found = finished_on(store, ledger.read(store), "handbook")
    assert [run.name for run in found] == ["mini/2", "mini/1"]
    assert found[1].bits_per_byte == pytest.approx(4.0 * tokens.num_tokens / tokens.num_bytes / math.log(2))
    assert tokens.num_tokens < 160, "the corpus is read more than once"
    assert (found[1].parameters, found[1].tokens) == (1000, round(effective_tokens(160, tokens.num_tokens)))
    assert finished_on(store, ledger.read(store), "handbook_of_others") == []


def test_the_loss_at_the_end_is_a_mean_over_the_last_twentieth() -> None:
    lines = [{"step": n, "tokens": n, "loss": float(100 - n)} for n in range(101)]
    assert end_loss(lines) == pytest.approx(2.5)
    assert end_loss([{"step": 3, "rolled_back_to_step": 1}]) is None
