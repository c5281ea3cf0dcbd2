"""The plan of a retrain, on a store with one real tokenized version and a finished run of it; no server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import open_pool
from ingot import ledger, manifest, model_versions, store_identity
from ingot.config import Recipe, parse_recipe, resolved
from ingot.digests import sha256_hex
from ingot.errors import IngotError, NotFoundError, RecipeError
from ingot.model_versions import ModelVersion
from ingot.refs import CorpusRef, TokensRef
from ingot.storage import Store
from tasks import planning
from tasks.evaluation import evaluation_digest
from tasks.plan_page import plan_markdown, plan_rows, time_words
from tasks.planning import Plan, plan_retrain
from tasks.retraining import RetrainRequest, check_request, one_line
from tasks.training import public_recipe, stage_fingerprint, with_seed
from tests.base import tiny_store
from training.checkpoints import CheckpointManifest, save_checkpoint
from training.history import newest_of_shape

BEGAN = 1_767_225_600.0  # 2026-01-01 00:00 UTC
VALUES: dict[str, Any] = {
    "corpus": "handbook",
    "model": "mini",
    "sources": [{"source": "folder", "name": "wiki", "uri": "/data/handbook"}],
    "tokenizer": {"vocab_size": 300},
    "train": [
        {"stage": "pretrain", "model": {"family": "llama", "layers": 1, "width": 32}, "sequence_length": 8,
         "batch_tokens": 16, "tokens": 160}
    ],
}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    stage = {**VALUES["train"][0], **changes.pop("train", {})}
    return parse_recipe({**VALUES, **changes, "train": [stage]})


def corpus(store: Store, number: int) -> CorpusRef:
    return manifest.ref_of(manifest.read(store, "handbook", number), number)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """handbook@1 and @2; nothing is tokenized or trained."""
    found = Store(str(tmp_path / "store"))
    store_identity.initialise(found, salt=tiny_store.SALT)
    tiny_store.publish(found, tiny_store.FIRST_NIGHT, 1)
    tiny_store.publish(found, tiny_store.SECOND_NIGHT, 2)
    yield found


def tokenize(store: Store, number: int, tmp_path: Path) -> TokensRef:
    found = manifest.read(store, "handbook", number)
    tokenizer = token_files.train_tokenizer(store, found, recipe().tokenizer)
    with open_pool(0, scratch=tmp_path / "scratch", numba_cache=tmp_path / "numba") as pool:
        return token_files.tokenize(store, f"handbook@{number}", found, tokenizer, pool)


def train(store: Store, what: Recipe, tokens: TokensRef, *, done: int = 10) -> ModelVersion | None:
    """A run as it lies in the store after `done` of its 10 steps, 8 tokens a second after 5 s; registered when done."""
    entry = with_seed(what.train[0], what)
    digest = stage_fingerprint(entry, what, tokens, None)
    store.put_if_absent(f"runs/{digest}.json", {"run_key": digest, "start_time_ms": BEGAN * 1000 - 5000})
    lines = [{"time": BEGAN + 2 * n, "step": n, "tokens": 16 * n, "tokens_per_second": 8.0} for n in range(done + 1)]
    with store.scratch() as folder:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made = CheckpointManifest(
            fingerprint=digest, step=done, total_steps=10, tokens_seen=16 * done, num_parameters=1000, milestone=None,
            files=(), recipe_digest="r", data_digest=tiny_store.data_digest(tokens),
            tokenizer_digest=tokens.tokenizer_digest,
            corpus=tokens.corpus, start=None, sampler={}, environment={"device": "cpu"}, exact=True,
        )  # fmt: skip
        checkpoint = save_checkpoint(store, folder, made)
    if done < 10:
        return None
    return model_versions.register(
        store, "mini", checkpoint_fingerprint=digest, checkpoint_key=checkpoint.key,
        checkpoint_digest=checkpoint.manifest_sha256, evidence={"corpus_root_digest": tokens.corpus_root_digest},
        details={"corpus": tokens.corpus, "recipe": public_recipe(what), "num_tokens": tokens.num_tokens,
                 "tokens_key": token_files.tokens_manifest_key(tokens), "code": {"commit": "0123456789abcdef"}},
        actor=tiny_store.ACTOR,
    )  # fmt: skip


def judge(store: Store, version: ModelVersion, number: int, *, promote: bool) -> None:
    """The version's evaluation and verdict; the champion when it is promoted."""
    digest = evaluation_digest(version.evidence["checkpoint"], corpus(store, number), "heldout", {})
    store.put_if_absent(f"evaluations/{digest}.json", {"bits_per_byte": 2.0})
    details = {"model": "mini", "version": version.version, "verdict": "FIRST", "champion": None, "reason": "first"}
    for verb in ("gated", *(["promoted"] if promote else [])):
        ledger.append(
            store, actor=tiny_store.ACTOR, verb=verb, subject=version.subject, subject_digest=sha256_hex(b""),
            evidence={}, attempt=verb, details=details,
        )  # fmt: skip


def plan(store: Store, number: int = 1, **changes: Any) -> Plan:
    return plan_retrain(store, recipe(**changes), corpus(store, number), place="/data/recipe.yaml")


def steps(found: Plan) -> dict[str, bool]:
    return {step.name: step.reused for step in found.steps}


def test_without_history_every_step_runs_and_the_times_are_not_known(store: Store) -> None:
    found = plan(store)
    assert not any(steps(found).values())
    assert found.unknown == ("tokenize", "train.0 pretrain", "evaluate heldout")
    assert "not known: no earlier run" in plan_markdown(found)
    assert found.gate.startswith("FIRST: mini has no champion") and "1 documents held out of handbook@1" in found.gate
    assert plan_markdown(found).endswith("This is the first version of mini.")


def test_everything_that_is_there_is_reused_with_the_run_and_its_date(store: Store, tmp_path: Path) -> None:
    version = train(store, recipe(), tokenize(store, 1, tmp_path))
    assert version is not None
    judge(store, version, 1, promote=True)
    found = plan(store)
    assert found.reuses_everything and time_words(found) == "seconds: everything is there"
    trained = found.steps[1].why
    assert (
        trained
        == f"same fingerprint: checkpoint of run {version.checkpoint_fingerprint[:12]} finished on 2026-01-01 00:00 UTC"
    )
    assert found.steps[2].why.startswith("registered as mini/1 on ")
    assert found.gate == "mini/1 (champion) is what this recipe gives: its standing verdict holds"
    assert "Everything is there already" in plan_markdown(found)


def test_changed_tokens_run_again_at_the_speed_of_the_last_run_and_say_what_changed(
    store: Store, tmp_path: Path
) -> None:
    version = train(store, recipe(), tokenize(store, 1, tmp_path))
    assert version is not None
    judge(store, version, 1, promote=True)
    found = plan(store, train={"tokens": 320})
    assert steps(found) == {
        "tokenize": True, "train.0 pretrain": False, "register": False, "evaluate heldout": False, "gate": False,
    }  # fmt: skip
    training = found.steps[1]
    assert training.why == "changed: train.0.tokens 160 -> 320"
    assert training.seconds == 320 / 8 + 5
    assert training.basis.startswith("320 tokens at 8 tokens/s, as run ") and "5 s to start" in training.basis
    assert "code 0123456789ab -> " in " ".join(found.changes)
    assert (
        "the candidate against mini/1 (champion) on 1 documents held out for both handbook@1 and handbook@1"
        in found.gate
    )
    assert "fewer than 30 documents are not judged: the verdict will be INCONCLUSIVE" in found.gate


def test_a_run_is_found_by_the_vocabulary_it_was_asked_for_and_by_the_one_it_got(store: Store, tmp_path: Path) -> None:
    tokens = tokenize(store, 1, tmp_path)
    what = recipe(tokenizer={"vocab_size": 512})
    train(store, what, tokens)
    assert tokens.vocab_size == 300  # as if the corpus were too small for more
    shape, entries = resolved(what.train[0]), ledger.read(store)
    found = [newest_of_shape(store, entries, shape, vocab_size) for vocab_size in (512, 300, 301)]
    assert [run is not None for run in found] == [True, True, False]


def test_a_new_corpus_version_says_how_many_documents_came(store: Store, tmp_path: Path) -> None:
    train(store, recipe(), tokenize(store, 1, tmp_path))
    found = plan(store, 2)
    assert found.changes[0] == "corpus handbook@1 -> handbook@2 (+1 documents, -0)"
    assert found.steps[1].why == f"changed: {found.changes[0]}"


def test_a_run_that_was_stopped_goes_on_and_only_the_rest_takes_time(store: Store, tmp_path: Path) -> None:
    tokens = tokenize(store, 1, tmp_path)
    train(store, recipe(), tokens)
    train(store, recipe(seed=3), tokens, done=4)
    training = plan(store, seed=3).steps[1]
    assert training.why == "continues at step 4 of 10, which an earlier start left"
    assert training.seconds == 96 / 8 + 5


def test_another_shape_has_no_known_speed(store: Store, tmp_path: Path) -> None:
    train(store, recipe(), tokenize(store, 1, tmp_path))
    training = plan(store, train={"model": {"family": "llama", "layers": 2, "width": 32}}).steps[1]
    assert training.seconds is None and training.basis == "not known: no earlier run of this shape"


def test_the_times_of_earlier_tasks_are_used_where_the_caller_knows_them(store: Store) -> None:
    found = plan_retrain(store, recipe(), corpus(store, 1), place="r", seconds={"evaluate": 42.0})
    assert found.steps[3].seconds == 42 and plan_rows(found)[3][:2] == ["evaluate heldout", "runs"]
    assert time_words(found) == "about 42 s and more (not known how long: tokenize, train.0 pretrain)"


def test_four_eyes_name_who_may_not_approve(store: Store) -> None:
    what = recipe(approval="four_eyes")
    found = plan_retrain(store, what, corpus(store, 1), place="r", requested_by="ada")
    assert found.approver == "a person other than ada (four eyes)" and planning.NO_HISTORY in plan_markdown(found)


REFUSED = {
    "an unknown recipe": (dict(recipe="nothing"), "INGOT-NOT-FOUND: recipe: 'nothing' does not exist"),
    "an unknown corpus": (dict(corpus="handbok@latest"), "INGOT-NOT-FOUND: corpus: 'handbok' does not exist"),
    "an unknown version": (dict(corpus="handbook@7"), "INGOT-NOT-FOUND: corpus: handbook@7 does not exist;"),
    "no champion": (dict(compare_with="mini@champion"), "INGOT-NOT-FOUND: compare_with: model mini has no champion"),
    "too few tokens": (dict(tokens=0), "INGOT-RECIPE: tokens: train.0"),
    "a wild rate": (dict(learning_rate=3.0), "INGOT-RECIPE: learning_rate: train.0"),
    "a wrong path": (dict(overrides=("train.0.tokns=1",)), "INGOT-RECIPE: overrides: train.0"),
    "a line without a value": (dict(overrides=("seed",)), "INGOT-RECIPE: overrides: 'seed' has no value"),
    "a value given twice": (dict(seed=1, overrides=("seed=2",)), "INGOT-RECIPE: overrides: seed is given twice"),
    "nobody who asks": (dict(overrides=("approval=four_eyes",)), "INGOT-RECIPE: requested_by: is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_value_is_one_line_that_names_the_field(
    store: Store, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(VALUES))  # JSON is YAML
    with pytest.raises(IngotError) as refused:
        check_request(store, RetrainRequest(**{"recipe": str(file), **given}))
    line = one_line(refused.value)
    assert line.startswith(words) and "\n" not in line


def test_only_the_champion_can_be_compared_with(store: Store, tmp_path: Path) -> None:
    tokens = tokenize(store, 1, tmp_path)
    first = train(store, recipe(), tokens)
    assert first is not None
    judge(store, first, 1, promote=True)
    train(store, recipe(seed=1), tokens)
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(VALUES))
    for name in ("mini@champion", "mini/1"):
        order = check_request(store, RetrainRequest(str(file), compare_with=name, tokens=320, requested_by="ada "))
        assert order.requested_by == "ada" and order.changes == {"train.0.tokens": "320"}
    with pytest.raises(RecipeError, match="compare_with: mini/2 is not the champion of this recipe's model, mini/1 is"):
        check_request(store, RetrainRequest(str(file), compare_with="mini/2"))
    with pytest.raises(NotFoundError, match="compare_with: mini/9 does not exist"):
        check_request(store, RetrainRequest(str(file), compare_with="mini/9"))


def test_what_a_person_typed_stays_text_on_the_page_of_the_plan() -> None:
    plan = planning.Plan(
        recipe="r.yaml", model="mini", corpus="handbook@2", steps=(), newest="mini/3", gate="g", approver="a person",
        changes=("name a -> <b>|[c](http://x)",), requested_by="[ada](http://x) <img src=x>",
    )  # fmt: skip
    page = plan_markdown(plan)
    assert "<img" not in page and "<b>" not in page and "[ada](" not in page and "[c](" not in page
    assert r"**Requested by:** \[ada\](http://x) &lt;img src=x&gt;" in page
