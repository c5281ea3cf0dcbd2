"""From the names in a recipe to the token sets a stage reads, its fingerprint and its plan; no server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from ingot import manifest, store_identity
from ingot.config import NamedConfig, Recipe, parse_recipe
from ingot.digests import digest_of, fingerprint
from ingot.errors import NotFoundError, RecipeError
from ingot.refs import CorpusRef, MixtureRef, TokensRef
from ingot.storage import Store
from tasks.corpus import corpora_of, find_published
from tasks.mixtures import known_data, mixed
from tasks.planning import plan_retrain
from tasks.training import run_record, stage_fingerprint
from tests.base import tiny_store
from training.stages import pretrain


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """handbook@1 and @2; nothing is tokenized or trained."""
    found = Store(str(tmp_path / "store"))
    store_identity.initialise(found, salt=tiny_store.SALT)
    tiny_store.publish(found, tiny_store.FIRST_NIGHT, 1)
    tiny_store.publish(found, tiny_store.SECOND_NIGHT, 2)
    yield found


def recipe(*others: dict[str, Any], own_weight: float = 0.7) -> Recipe:
    data = {"data": [{"corpus": "this", "weight": own_weight}, *others]} if others else {}
    stage = {"stage": "pretrain", "model": {"family": "llama", "layers": 1, "width": 32}, "sequence_length": 8,
             "batch_tokens": 16, "tokens": 160, **data}  # fmt: skip
    source = {"source": "folder", "name": "wiki", "uri": "/data/handbook"}
    return parse_recipe({"corpus": "handbook", "sources": [source], "tokenizer": {"vocab_size": 300}, "train": [stage]})


def tokenize(store: Store, corpus: CorpusRef, tokenizer: token_files.TokenizerRef | None = None) -> TokensRef:
    found = manifest.read(store, corpus.corpus, corpus.version)
    tokenizer = tokenizer or token_files.train_tokenizer(store, found, recipe().tokenizer)
    return token_files.tokenize(store, corpus.name, found, tokenizer, InProcessPool())


def data_of(store: Store, what: Recipe) -> tuple[NamedConfig, TokensRef | MixtureRef]:
    own = tokenize(store, find_published(store, "handbook@2"))
    (entry,) = what.train
    data = mixed(store, entry, own, lambda c: tokenize(store, c, token_files.tokenizer_of(own)))
    assert data is not None
    return entry, data


OLD = {"corpus": "handbook@1", "weight": 0.3, "max_epochs": 2}


def test_another_corpus_is_tokenized_by_the_tokenizer_of_the_own_one(store: Store) -> None:
    _, data = data_of(store, recipe(OLD))
    assert isinstance(data, MixtureRef)
    assert [part.corpus for part in data.parts] == ["handbook@2", "handbook@1"]
    assert len({part.tokenizer_digest for part in data.parts}) == 1
    assert [ref.name for ref in corpora_of(store, data)] == ["handbook@2", "handbook@1"]


def test_a_recipe_without_a_mixture_reads_its_own_corpus(store: Store) -> None:
    for what in (recipe(), parse_recipe_with_own_cap()):
        _, data = data_of(store, what)
        assert isinstance(data, TokensRef) and data.corpus == "handbook@2"


def parse_recipe_with_own_cap() -> Recipe:
    what = recipe()
    (entry,) = what.train
    config = type(entry.config).model_validate({**entry.config.model_dump(), "data": [{"corpus": "this",
                                                                                       "max_epochs": 9}]})  # fmt: skip
    return what.model_copy(update={"train": [entry.model_copy(update={"config": config})]})


@pytest.mark.parametrize("name", ["handbook@2", "handbook", "handbook@latest"])
def test_the_own_corpus_under_its_own_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(RecipeError, match=r"train.data names handbook@2 twice .* \(handbook@2\) as corpus: this"):
        data_of(store, recipe({"corpus": name, "weight": 0.3}))


def test_a_corpus_that_is_not_published_is_refused_with_what_there_is(store: Store) -> None:
    with pytest.raises(NotFoundError, match="handbook@7"):
        data_of(store, recipe({"corpus": "handbook@7"}))


def test_caps_that_leave_too_little_are_refused_before_anything_is_trained(store: Store) -> None:
    few = recipe({**OLD, "max_epochs": 1}, own_weight=0.7)
    (entry,) = few.train
    capped = tuple(part.model_copy(update={"max_epochs": 1.0}) for part in entry.config.data)
    config = entry.config.model_copy(update={"data": capped, "tokens": 1_000_000})
    what = few.model_copy(update={"train": [entry.model_copy(update={"config": config})]})
    with pytest.raises(RecipeError, match=r"for 1,000,000 tokens and the caps of its corpora leave \d+: handbook@2"):
        data_of(store, what)
    with pytest.raises(RecipeError, match="caps of its corpora"):
        plan_retrain(store, what, find_published(store, "handbook@2"), place="r.yaml")


def test_the_fingerprint_of_one_corpus_stays_and_that_of_a_mixture_follows_all_of_it(store: Store) -> None:
    what = recipe()
    entry, alone = data_of(store, what)
    assert isinstance(alone, TokensRef)
    values = {name: value for name, value in pretrain.identity_values(entry.config).items() if name != "data"}
    # As every release before mixtures had it: runs of these inputs are found again.
    before = fingerprint(
        "train.pretrain", pretrain.VERSION, values={"seed": 0, **values}, versions={},
        inputs={"corpus": alone.corpus_root_digest, "tokenizer": alone.tokenizer_digest, "start": "",
                "tokens": digest_of([shard.bin_sha256 for shard in alone.shards])},
    )  # fmt: skip
    assert stage_fingerprint(entry, what, alone, None) == before
    seen = {before}
    for other, own_weight in ((OLD, 0.7), (OLD, 0.6), ({**OLD, "max_epochs": 3}, 0.7)):
        mixture = recipe(other, own_weight=own_weight)
        entry, data = data_of(store, mixture)
        seen.add(stage_fingerprint(entry, mixture, data, None))
    assert len(seen) == 4
    named = recipe({**OLD, "corpus": "handbook@1"})
    entry, data = data_of(store, named)
    digest = stage_fingerprint(entry, named, data, None)
    assert isinstance(data, MixtureRef) and digest in seen
    other = data.parts[1].model_copy(update={"corpus_root_digest": "0" * 64})
    assert stage_fingerprint(entry, named, MixtureRef(parts=(data.parts[0], other)), None) not in seen


def test_a_plan_says_when_a_corpus_of_the_mixture_is_not_tokenized_yet(store: Store) -> None:
    corpus = find_published(store, "handbook@2")
    own = tokenize(store, corpus)
    what = recipe(OLD)
    step = plan_retrain(store, what, corpus, place="r.yaml").steps[1]
    assert (step.reused, step.why) == (False, "a corpus of its mixture has no token files yet")
    assert known_data(store, what.train[0], own) is None
    _, data = data_of(store, what)
    assert known_data(store, what.train[0], own) == data
    assert "no version yet" in plan_retrain(store, what, corpus, place="r.yaml").steps[1].why


def test_the_run_in_mlflow_names_every_corpus_of_the_mixture(store: Store) -> None:
    what = recipe(OLD)
    entry, data = data_of(store, what)
    here: Any = type("Here", (), {"store": store})
    record = run_record(here, entry, what, find_published(store, "handbook@2"), data, "f" * 64)
    assert [(item.name, item.context) for item in record.datasets] == [
        ("handbook@2", "pretrain"), ("handbook@1", "pretrain"),
    ]  # fmt: skip
    assert record.params["corpus"] == "handbook@2 + handbook@1" and record.tags["ingot.corpus"] == "handbook@2"
