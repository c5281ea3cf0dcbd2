"""Tokenizers taken over and extended: what a recipe may say, what is learnt, and how a model's vocabulary grows."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.tokenizer_growth import extended
from datasets_pipeline.tokenizer_sources import find_made, made_on, taken_over
from ingot import manifest, model_versions
from ingot.config import Recipe, TokenizerConfig, resolved
from ingot.errors import DataError, NotFoundError, RecipeError
from ingot.storage import Store
from ingot.verify import verify
from tasks.corpus import find_published
from tasks.planning import plan_retrain
from tasks.starts import begun, find_start, given_tokenizer, vocabulary_size
from tests.base import tiny_store
from tests.training.conftest import Place, RankRunner
from tests.training.foreign import TEXTS, save_base, save_tokenizer
from tests.training.test_adopted_start import CONTINUED, adopted_place, recipe, train
from training.adopted_shape import build_model, load_model
from training.adopted_weights import load_adopted
from training.batches import TokenStream
from training.checkpoints import checkpoint_ref, read_manifest
from training.grown_vocabulary import pieces_of
from training.stage_plans import plan_stages, tell_taken_over
from training.stages import continued_pretrain, pretrain

NEW_TEXTS = ["Photosynthese im Chloroplasten der Alpenpflanzen"] * 10 + ["the quick Photosynthese </s> of a plant"] * 5
EXTEND = {"extend": "adopted/base", "add": 40}
PRETRAIN: dict[str, Any] = {
    "stage": "pretrain", "model": {"family": "llama", "layers": 1, "width": 32, "heads": 2}, "sequence_length": 8,
    "batch_tokens": 16, "tokens": 64, "warmup_steps": 1, "learning_rate": 0.01,
}  # fmt: skip


def as_tokenizer(body: bytes) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(body.decode())


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return (folder / "tokenizer.json").read_bytes()


def test_an_extended_tokenizer_cuts_texts_more_coarsely_and_gives_them_back(old: bytes) -> None:
    body = extended(old, NEW_TEXTS, add=40)
    assert body == extended(old, NEW_TEXTS, add=40)
    before, after = as_tokenizer(old), as_tokenizer(body)
    assert after.get_vocab_size() == 340
    assert {piece: index for piece, index in after.get_vocab().items() if index < 300} == before.get_vocab()
    for text in [*TEXTS[:2], *NEW_TEXTS, "Grüße, 東京 🙂\n\t x", "Photosynthese<s>"]:
        coarse, fine = (t.encode(text, add_special_tokens=False) for t in (after, before))
        assert after.decode(coarse.ids, skip_special_tokens=False) == text
        # Every cut of the extended tokenizer is one of the old one's.
        assert {end for _, end in coarse.offsets} <= {end for _, end in fine.offsets}
    assert len(after.encode(NEW_TEXTS[0]).ids) < len(before.encode(NEW_TEXTS[0]).ids) / 2


def test_a_new_piece_is_made_of_the_pieces_that_the_old_tokenizer_cuts_it_into(old: bytes) -> None:
    body = extended(old, NEW_TEXTS, add=40)
    made_of, by_id = pieces_of(body, 300), {i: p for p, i in as_tokenizer(body).get_vocab().items()}
    assert sorted(made_of) == list(range(300, 340))
    for index, parts in made_of.items():
        assert "".join(by_id[part] for part in parts) == by_id[index]
        assert max(parts) < 300 and len(parts) > 1


def test_an_end_token_that_is_spelled_in_a_text_is_no_piece_to_merge(old: bytes) -> None:
    body = extended(old, ["</s></s></s> x"] * 50, add=30)
    ids = as_tokenizer(body).get_vocab()
    assert ids["</s>"] == 1 and not any("</s></s>" in piece for piece in ids)


def test_only_byte_level_pieces_are_extended(old: bytes) -> None:
    values = json.loads(old)
    values["pre_tokenizer"] = {"type": "Whitespace"}
    with pytest.raises(DataError, match="only byte-level BPE can be extended"):
        extended(json.dumps(values).encode(), NEW_TEXTS, add=4)
    with pytest.raises(DataError, match="holds no pair of pieces to merge"):
        extended(old, ["a"], add=4)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"from": "adopted/base", "extend": "adopted/base", "add": 2}, "tokenizer.extend: from and extend both name"),
        ({"extend": "adopted/base"}, "tokenizer.add: extend says nothing of how many pieces; write e.g. add: 2000"),
        ({"add": 5}, "tokenizer.add: add 5 belongs to extend"),
        ({"from": "adopted/base", "vocab_size": 300}, "tokenizer.vocab_size: vocab_size is of a tokenizer trained"),
        ({"form": "adopted/base"}, "did you mean from"),
    ],
)
def test_a_section_that_says_two_things_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(PRETRAIN, tokenizer=section)


def test_what_a_recipe_says_stands_in_it_as_written_and_old_recipes_stay_as_they_were() -> None:
    assert resolved(recipe(PRETRAIN, tokenizer={"from": "adopted/base"}))["tokenizer"]["from"] == "adopted/base"
    plain = resolved(recipe(PRETRAIN))["tokenizer"]
    assert plain == {"vocab_size": 4096, "max_training_bytes": 64 << 20}
    assert TokenizerConfig.model_validate({"vocab_size": 300}).model_dump(exclude_none=True)["vocab_size"] == 300


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that has learnt a little: rows of pieces then mean something."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_base(tmp_path_factory.mktemp("foreign") / "tiny", tie_word_embeddings=False)
    tokenizer = as_tokenizer((folder / "tokenizer.json").read_bytes())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    texts = [*tiny_store.TEXTS.values()]
    for step in range(60):
        ids_BT = torch.tensor([tokenizer.encode(texts[step % len(texts)], add_special_tokens=False).ids[:60]])
        model(input_ids=ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def with_own_tokens(place: Place, what: Recipe) -> Place:
    """The corpus tokenized as the recipe says."""
    store, corpus = place.store, find_published(place.store, "handbook@1")
    found = manifest.read(store, corpus.corpus, corpus.version)
    tokenizer = given_tokenizer(store, what, find_start(store, what)) or made_on(store, found, what.tokenizer)
    return Place(place.root, token_files.tokenize(store, corpus.name, found, tokenizer, InProcessPool()))


def loss_of(model: Any, place: Place, what: Recipe) -> float:
    """Mean nats per token of the windows of the first step."""
    import torch

    order = continued_pretrain.pretrain.order_of(what.train[0].config, place.tokens)
    ids_BT = torch.from_numpy(TokenStream(place.store, place.tokens).read_windows(order.windows(0), 8))
    with torch.no_grad():
        logits = model.eval()(input_ids=ids_BT[:, :-1]).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten()))


def test_rows_of_new_pieces_begin_as_the_mean_of_their_old_ones_and_beat_random_rows(
    base: Path, tmp_path: Path, run_rank: RankRunner
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    what = recipe({**CONTINUED, "batch_tokens": 128, "tokens": 128, "learning_rate": 1e-9}, tokenizer=EXTEND)
    start = find_start(place.store, what)
    assert start is not None
    what = begun(what, start)
    place = with_own_tokens(place, what)
    assert place.tokens.vocab_size > 300 and place.tokens.eos_id == 1
    assert place.tokens.num_tokens < adopted_place(tmp_path / "plain", base).tokens.num_tokens
    key = train(run_rank, place, what, start.checkpoint)
    metrics = [json.loads(line) for line in place.store.read_bytes(f"{key}/metrics.jsonl").decode().splitlines()]

    trained = Path(place.store.local_path(f"{key}/config.json")).parent
    model = AutoModelForCausalLM.from_pretrained(trained)
    rows = -(-place.tokens.vocab_size // 64) * 64
    assert model.config.vocab_size == rows == len(model.lm_head.weight)
    old = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    body = place.store.read_bytes(f"{place.tokens.tokenizer_key}/tokenizer.json")
    for ours, theirs in ((model.model.embed_tokens, old.model.embed_tokens), (model.lm_head, old.lm_head)):
        assert torch.allclose(ours.weight[:300], theirs.weight, atol=1e-6)
        for index, parts in pieces_of(body, 300).items():
            assert torch.allclose(ours.weight[index], theirs.weight[parts].mean(0), atol=1e-6)
    assert metrics[0]["loss"] == pytest.approx(loss_of(model, place, what), abs=1e-4)

    by_chance = []
    for seed in range(3):
        torch.manual_seed(seed)
        for table in (model.model.embed_tokens, model.lm_head):
            # As fresh rows of a table of this spread would be.
            table.weight.data[300:] = torch.randn(rows - 300, 32) * table.weight[:300].std()
        by_chance.append(loss_of(model, place, what))
    # The same tokens and bytes: fewer nats per token are fewer bits per byte.
    assert metrics[0]["loss"] < min(by_chance) - 0.1

    tokenizer = AutoTokenizer.from_pretrained(trained)
    for text in tiny_store.TEXTS.values():
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer) == place.tokens.vocab_size
    assert read_manifest(place.store, key).tokenizer_digest == place.tokens.tokenizer_digest
    verify(place.store)


@pytest.mark.parametrize("rows", [300, 340], ids=["rows enough", "more rows"])
def test_a_tied_head_has_the_rows_of_new_pieces_too(rows: int, tmp_path: Path) -> None:
    import torch

    folder = save_base(tmp_path, tie_word_embeddings=True)
    model = build_model(json.loads((folder / "config.json").read_text()), rows=rows)
    old = load_model(str(folder)).model.embed_tokens.weight
    load_adopted(model, folder, "base", {rows - 1: [5, 6]})
    for table in (model.model.embed_tokens, model.lm_head):
        assert torch.equal(table.weight[rows - 1], old[[5, 6]].mean(0))
        assert torch.equal(table.weight[:299], old[:299])


def test_an_extended_run_goes_on_and_a_next_stage_starts_from_it(
    base: Path, tmp_path: Path, run_rank: RankRunner
) -> None:
    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    what = recipe({**CONTINUED, "checkpoint_every_steps": 1}, tokenizer=EXTEND)
    start = find_start(place.store, what)
    assert start is not None
    what = begun(what, start)
    place = with_own_tokens(place, what)
    whole = train(run_rank, place, what, start.checkpoint)
    weights = place.store.read_bytes(f"{whole}/model.safetensors")
    for name in place.store.list(f"{whole}/"):
        place.store.delete(name)
    assert train(run_rank, place, what, start.checkpoint) == whole
    assert place.store.read_bytes(f"{whole}/model.safetensors") == weights
    later = recipe({**CONTINUED, "start": whole, "tokens": 32})
    second = find_start(place.store, later)
    assert second is not None and second.tokenizer.digest == place.tokens.tokenizer_digest
    assert train(run_rank, place, begun(later, second), second.checkpoint)


def test_a_model_of_ours_is_extended_too_and_fresh_weights_take_a_tokenizer_over(
    base: Path, tmp_path: Path, run_rank: RankRunner
) -> None:
    from transformers import AutoModelForCausalLM

    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    fresh = recipe(PRETRAIN, tokenizer={"from": "adopted/base"})
    assert with_own_tokens(place, fresh).tokens == place.tokens
    key = train(run_rank, place, fresh, None)
    model = AutoModelForCausalLM.from_pretrained(Path(place.store.local_path(f"{key}/config.json")).parent)
    assert (model.config.eos_token_id, model.config.bos_token_id, model.config.vocab_size) == (1, 1, 320)
    ref = checkpoint_ref(place.store, key)
    model_versions.register(
        place.store, "mini", checkpoint_fingerprint=ref.fingerprint, checkpoint_key=key, actor=tiny_store.ACTOR,
        checkpoint_digest=ref.manifest_sha256, evidence={"tokenizer": place.tokens.tokenizer_digest}, details={},
    )  # fmt: skip
    what = recipe({**CONTINUED, "start": "mini/1"}, tokenizer={"extend": "mini/1", "add": 30})
    start = find_start(place.store, what)
    assert start is not None
    what = begun(what, start)
    place = with_own_tokens(place, what)
    grown = train(run_rank, place, what, start.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(Path(place.store.local_path(f"{grown}/config.json")).parent)
    assert model.config.vocab_size >= place.tokens.vocab_size > 300


def test_a_start_refuses_another_tokenizer_and_tells_how_to_extend_its_own(base: Path, tmp_path: Path) -> None:
    store = adopted_place(tmp_path, base).store
    for section in ({"vocab_size": 300}, {"characters": True, "vocab_size": 300}):
        with pytest.raises(RecipeError, match=r"extend it: \{extend: adopted/base, add: 2000\}"):
            find_start(store, recipe(CONTINUED, tokenizer=section))
    assert find_start(store, recipe(CONTINUED, tokenizer={"from": "adopted/base"})) is not None
    with pytest.raises(NotFoundError, match="adopted/nobody does not exist"):
        find_start(store, recipe(CONTINUED, tokenizer={"from": "adopted/nobody"}))


def test_tokens_of_a_tokenizer_that_does_not_extend_the_start_are_refused_by_the_rank(
    base: Path, tmp_path: Path, run_rank: RankRunner
) -> None:
    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    what = recipe(CONTINUED)
    start = find_start(place.store, what)
    assert start is not None
    other = with_own_tokens(place, recipe(PRETRAIN, tokenizer={"vocab_size": 300}))
    entry = begun(what, start).train[0]
    job = other.job(entry.config, stage=entry.name, start=start.checkpoint)
    assert run_rank(job) == 1 and "does not extend it" in other.failure().message


def test_a_plan_knows_tokens_of_extended_and_taken_over_tokenizers(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path, base)
    corpus = find_published(place.store, "handbook@1")
    what = recipe(CONTINUED, tokenizer=EXTEND)
    assert not plan_retrain(place.store, what, corpus, place="r.yaml").steps[0].reused
    with_own_tokens(place, what)
    assert plan_retrain(place.store, what, corpus, place="r.yaml").steps[0].reused
    taken = recipe(PRETRAIN, tokenizer={"from": "adopted/base"})
    assert plan_retrain(place.store, taken, corpus, place="r.yaml").steps[0].reused


def test_a_plan_counts_the_rows_of_the_tokenizer_that_is_taken_over_or_extended(base: Path, tmp_path: Path) -> None:
    store = adopted_place(tmp_path, base).store
    taken = recipe(PRETRAIN, tokenizer={"from": "adopted/base"})
    assert vocabulary_size(store, taken, None) == 300
    assert vocabulary_size(store, recipe(PRETRAIN, tokenizer=EXTEND), None) == 340
    assert vocabulary_size(store, recipe(CONTINUED), find_start(store, recipe(CONTINUED))) == 300
    assert vocabulary_size(store, recipe(PRETRAIN, tokenizer={"vocab_size": 512}), None) == 512
    (stage,) = plan_stages(taken, corpus_tokens=None, vocab_size=300)
    assert pretrain.plan(taken.train[0].config, 300).num_parameters in [row.value for row in stage.values]


def test_a_stage_that_goes_on_is_told_with_its_start_and_what_it_takes_over(base: Path, tmp_path: Path) -> None:
    store = adopted_place(tmp_path, base).store
    what = recipe({name: value for name, value in CONTINUED.items() if name != "learning_rate"})
    start = find_start(store, what)
    assert start is not None
    (entry,) = begun(what, start).train
    (stage,) = plan_stages(what, corpus_tokens=None, vocab_size=300)
    given = what.train[0].config.model_fields_set
    tell_taken_over(stage, entry.config, given=given, start=start.name, vocab_size=300)
    told = {value.name: (value.value, value.rule) for value in stage.values}
    assert told["start"] == ("adopted/base", "the recipe") and "replay" not in told
    assert told["parameters"][0] == pretrain.plan(entry.config, 300).num_parameters
    assert told["learning_rate"] == (entry.config.learning_rate, "25% of the rate of fresh weights")


def test_a_plan_in_a_store_of_its_own_borrows_what_is_taken_over(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path / "store", base)
    corpus = find_published(place.store, "handbook@1")
    found, other = manifest.read(place.store, corpus.corpus, corpus.version), Store(str(tmp_path / "other"))
    lent = made_on(other, found, recipe(PRETRAIN, tokenizer={"from": "adopted/base"}).tokenizer, lender=place.store)
    assert lent.digest == place.tokens.tokenizer_digest and other.exists(f"{lent.key}/tokenizer.json")
    config = TokenizerConfig.model_validate({"from": "adopted/base"})
    known = find_made(place.store, found, config), taken_over(place.store, config)
    assert {tokenizer.digest for tokenizer in known if tokenizer} == {lent.digest}
