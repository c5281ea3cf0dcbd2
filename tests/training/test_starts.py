"""From the name of a start in a recipe to a stage that goes on with its tokenizer and its weights; no server."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from ingot import lineage, manifest, model_versions, store_identity, verify_pack
from ingot.config import Recipe, parse_recipe
from ingot.errors import IntegrityError, NotFoundError, RecipeError
from ingot.refs import CorpusRef, MixtureRef, TokensRef
from ingot.storage import Store
from ingot.verify import verify
from interface.audit_pack import audit_pack
from tasks import runtime as tasks_runtime
from tasks.corpus import find_published
from tasks.mixtures import mixed
from tasks.planning import plan_retrain
from tasks.starts import begun, find_start
from tasks.training import corpora_read, public_recipe, register, stage_fingerprint, with_seed
from tests.base import tiny_store
from tests.training.conftest import Place, RankRunner
from training.checkpoints import checkpoint_ref, read_manifest

PRETRAIN: dict[str, Any] = {
    "stage": "pretrain", "model": {"family": "llama", "layers": 1, "width": 32, "heads": 2}, "sequence_length": 8,
    "batch_tokens": 16, "tokens": 160, "warmup_steps": 1, "learning_rate": 0.01,
}  # fmt: skip
CONTINUED: dict[str, Any] = {
    "stage": "continued_pretrain", "start": "mini/1", "sequence_length": 8, "batch_tokens": 16, "tokens": 64,
    "replay": {"corpus": "handbook@1", "share": 0.25},
}  # fmt: skip


def recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    source = {"source": "folder", "name": "wiki", "uri": "/data/handbook"}
    return parse_recipe({"corpus": "handbook", "model": "mini", "sources": [source], "train": list(stages), **changes})


FIRST = recipe(PRETRAIN, tokenizer={"vocab_size": 300})


def tokenize(store: Store, corpus: CorpusRef, tokenizer: token_files.TokenizerRef | None = None) -> TokensRef:
    found = manifest.read(store, corpus.corpus, corpus.version)
    tokenizer = tokenizer or token_files.train_tokenizer(store, found, FIRST.tokenizer)
    return token_files.tokenize(store, corpus.name, found, tokenizer, InProcessPool())


def train(run_rank: RankRunner, place: Place, what: Recipe, data: TokensRef | MixtureRef, start: Any = None) -> str:
    """Run the recipe's only stage; returns the key of its last checkpoint."""
    entry = with_seed(what.train[0], what)
    digest = stage_fingerprint(entry, what, data, start)
    place.store.put_if_absent(f"runs/{digest}.json", {"run_key": digest, "start_time_ms": 1})
    job = place.job(entry.config, stage=entry.name, fingerprint=digest, data=data, start=start)
    assert run_rank(job) == 0, place.failure()
    return f"checkpoints/{digest}/{-(-entry.config.tokens // entry.config.batch_tokens):08d}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_rank: RankRunner) -> Place:
    """handbook@1 and @2, and mini/1 trained on the first: ten steps, the last two of them its decay."""
    root = tmp_path_factory.mktemp("trained")
    store = Store(str(root))
    store_identity.initialise(store, salt=tiny_store.SALT)
    tiny_store.publish(store, tiny_store.FIRST_NIGHT, 1)
    tiny_store.publish(store, tiny_store.SECOND_NIGHT, 2)
    corpus = find_published(store, "handbook@1")
    place = Place(root, tokenize(store, corpus))
    checkpoint = checkpoint_ref(store, train(run_rank, place, FIRST, place.tokens))
    model_versions.register(
        store, "mini", checkpoint_fingerprint=checkpoint.fingerprint, checkpoint_key=checkpoint.key,
        checkpoint_digest=checkpoint.manifest_sha256, actor=tiny_store.ACTOR,
        evidence={"corpus_root_digest": corpus.root_digest, "tokenizer": place.tokens.tokenizer_digest},
        details={"corpus": corpus.name, "recipe": public_recipe(FIRST), "run": checkpoint.fingerprint,
                 "num_tokens": place.tokens.num_tokens, "corpora": corpora_read(store, corpus, checkpoint)},
    )  # fmt: skip
    return place


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Place:
    """A copy of the store, to be changed."""
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path, trained.tokens, run="second")


def test_a_new_corpus_is_tokenized_and_trained_on_with_what_the_start_brings(
    place: Place, run_rank: RankRunner
) -> None:
    store, corpus = place.store, find_published(place.store, "handbook@2")
    what = recipe(CONTINUED)
    found = find_start(store, what)
    assert found is not None
    assert (found.name, found.tokenizer.digest) == ("mini/1", place.tokens.tokenizer_digest)
    plan = plan_retrain(store, what, corpus, place="r.yaml")
    assert [step.reused for step in plan.steps[:2]] == [False, False]
    what = begun(what, found)
    own = tokenize(store, corpus, found.tokenizer)
    data = mixed(store, what.train[0], own, lambda c: tokenize(store, c, token_files.tokenizer_of(own)))
    assert isinstance(data, MixtureRef) and data.tokenizer_digest == place.tokens.tokenizer_digest
    assert what.train[0].config.learning_rate == pytest.approx(0.0041 / 4, abs=1e-4)
    key = train(run_rank, place, what, data, found.checkpoint)
    made = read_manifest(store, key)
    assert made.start == found.checkpoint.key and made.corpus == "handbook@2 + handbook@1"
    # Four steps of two rows, one in four of them old; and all twenty rows that mini/1 had read.
    rows = corpora_read(store, corpus, checkpoint_ref(store, key))
    assert [(row["corpus"], row["tokens_read"]) for row in rows] == [("handbook@2", 48), ("handbook@1", 160 + 16)]
    again = plan_retrain(store, recipe(CONTINUED), corpus, place="r.yaml")
    assert [step.reused for step in again.steps[:2]] == [True, True]
    registered(place, what, corpus, data, key)


def registered(place: Place, what: Recipe, corpus: CorpusRef, data: MixtureRef, key: str) -> None:
    """Register the second version as the flow does, and ask where it comes from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INGOT_HOME", str(place.root / "home"))
        patch.setenv("INGOT_STORE", str(place.root))
        tasks_runtime._places.cache_clear()
        version = register.fn(what, corpus, data, checkpoint_ref(place.store, key), "mini/1")
        tasks_runtime._places.cache_clear()
    told = lineage.trace_model(place.store, "mini/2")
    assert version.version == 2 and told["base_model"] == "mini/1, trained here too"
    assert [(row["corpus"], row["tokens_read"]) for row in told["corpora"]] == [("handbook@2", 48), ("handbook@1", 176)]
    assert told["recipe"]["train"][0]["model"]["width"] == 32  # what was taken over stands in the recipe of the version
    verify(place.store)
    pack, _ = audit_pack(place.store, version)
    (place.root / "pack.zip").write_bytes(pack)
    assert verify_pack.main([str(place.root / "pack.zip")]) == 0


def test_a_start_is_named_by_model_run_or_checkpoint_and_before_its_decay(place: Place) -> None:
    version = model_versions.resolve(place.store, "mini/1")
    run = version.checkpoint_fingerprint
    for start, step in (
        ("mini/1", 10), ("mini@1", 10), ("mini", 10), ({"run": run[:8]}, 10), ({"run": run, "at": "before_decay"}, 8),
        ({"model": "mini/1", "at": "before_decay"}, 8), (f"checkpoints/{run}/00000008", 8),
    ):  # fmt: skip
        found = find_start(place.store, recipe({**CONTINUED, "start": start}))
        assert found is not None and found.checkpoint.step == step, start
        assert found.name == ("mini/1" if step == 10 else f"checkpoints/{run}/00000008")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("nano/1", "model 'nano' does not exist"),
        ("mini/2", "mini/2 does not exist"),
        ({"run": "0" * 8}, "no run begins with 00000000"),
        (f"checkpoints/{'0' * 64}/00000008", "00000008"),
    ],
)
def test_a_start_that_is_not_there_is_not_found(place: Place, start: Any, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        find_start(place.store, recipe({**CONTINUED, "start": start}))


def test_a_recipe_with_a_tokenizer_of_its_own_is_refused(place: Place) -> None:
    with pytest.raises(RecipeError, match="starts from mini/1, whose tokenizer of 300 entries it takes over; take"):
        find_start(place.store, recipe(CONTINUED, tokenizer={"vocab_size": 300}))


def test_a_start_whose_state_was_changed_is_refused(place: Place) -> None:
    key = model_versions.resolve(place.store, "mini/1").checkpoint_key
    state = json.loads(place.store.read_bytes(f"{key}/state.json"))
    state["config"]["model"]["width"] = 64
    place.store.put_bytes(f"{key}/state.json", json.dumps(state).encode(), overwrite=True)
    with pytest.raises(IntegrityError, match="state.json differs from its manifest"):
        find_start(place.store, recipe(CONTINUED))


def test_a_later_stage_takes_over_from_the_one_before(place: Place) -> None:
    later = {name: value for name, value in CONTINUED.items() if name != "start"}
    first, second = begun(recipe(PRETRAIN, later), None).train
    assert second.config.model == first.config.model and second.config.learning_rate < 0.01
    assert first.config == recipe(PRETRAIN).train[0].config


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{**CONTINUED, "start": None}], r"train.0 \(stage continued_pretrain\): the first stage has nothing to start"),
        ([PRETRAIN, CONTINUED], r"train.1 \(stage continued_pretrain\).start: a later stage starts from the"),
        ([{**CONTINUED, "warmup_steps": 9}], "train.warmup_steps 9 leaves nothing of 4 steps"),
    ],
)
def test_a_recipe_whose_stages_cannot_follow_each_other_is_refused(stages: list[dict], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(*stages)
