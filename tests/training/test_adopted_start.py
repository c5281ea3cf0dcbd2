"""From an adopted model through continued pre-training to an answer that says what is ours and what is not known."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from ingot import ledger, lineage, manifest, model_card, model_versions, store_identity, verify_pack
from ingot.config import Recipe, parse_recipe
from ingot.digests import sha256_hex
from ingot.errors import RecipeError
from ingot.parquet import read_table
from ingot.refs import CorpusRef, TokensRef
from ingot.settings import Settings
from ingot.storage import Store
from ingot.verify import verify
from interface.answers import print_model
from interface.audit_pack import audit_pack
from interface.output import Printer
from interface.trace_page import model_page
from tasks import runtime as tasks_runtime
from tasks.adoption import Facts, adopt_model
from tasks.corpus import find_published
from tasks.planning import plan_retrain
from tasks.stage_forecast import forecast
from tasks.starts import begun, find_start
from tasks.training import register, stage_fingerprint, with_seed
from tests.base import tiny_store
from tests.training.conftest import Place, RankRunner
from tests.training.foreign import save_base
from training.batches import TokenStream
from training.checkpoints import checkpoint_ref, read_manifest
from training.machine import look
from training.probe import probe, probe_config, remember
from training.stages import continued_pretrain

CONTINUED: dict[str, Any] = {
    "stage": "continued_pretrain", "start": "adopted/base", "sequence_length": 8, "batch_tokens": 16, "tokens": 64,
    "log_every_steps": 1, "learning_rate": 0.001,
}  # fmt: skip


def recipe(stage: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    source = {"source": "folder", "name": "wiki", "uri": "/data/handbook"}
    stages = [CONTINUED if stage is None else stage]
    return parse_recipe({"corpus": "handbook", "model": "mini", "sources": [source], "train": stages, **changes})


def adopted_place(root: Path, folder: Path, *, tokens: int | None = None) -> Place:
    """handbook@1, and the model of a folder as adopted/base; the corpus is tokenized with what it brought."""
    store = Store(str(root))
    store_identity.initialise(store, salt=tiny_store.SALT)
    tiny_store.publish(store, tiny_store.FIRST_NIGHT, 1)
    facts = Facts("base", "Apache-2.0", "Example Lab, release 3", tokens=tokens)
    adopt_model(store, folder, facts, actor=tiny_store.ACTOR)
    start = find_start(store, recipe())
    assert start is not None
    corpus = find_published(store, "handbook@1")
    return Place(root, tokenize(store, corpus, start.tokenizer))


def tokenize(store: Store, corpus: CorpusRef, tokenizer: token_files.TokenizerRef) -> TokensRef:
    found = manifest.read(store, corpus.corpus, corpus.version)
    return token_files.tokenize(store, corpus.name, found, tokenizer, InProcessPool())


def train(run_rank: RankRunner, place: Place, what: Recipe, start: Any) -> str:
    """Run the recipe's only stage; returns the key of its last checkpoint."""
    entry = with_seed(what.train[0], what)
    digest = stage_fingerprint(entry, what, place.tokens, start)
    place.store.put_if_absent(f"runs/{digest}.json", {"run_key": digest, "start_time_ms": 1})
    job = place.job(entry.config, stage=entry.name, fingerprint=digest, data=place.tokens, start=start)
    assert run_rank(job) == 0, place.failure()
    return f"checkpoints/{digest}/{-(-entry.config.tokens // entry.config.batch_tokens):08d}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("foreign") / "tiny")


def test_token_files_hold_the_text_and_the_end_token_that_the_tokenizer_brought(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    place = adopted_place(tmp_path, base)
    tokens = place.tokens
    assert (tokens.eos_id, tokens.vocab_size) == (1, 300)
    tokenizer = AutoTokenizer.from_pretrained(base)
    for shard in tokens.shards:
        ids = np.fromfile(place.store.local_path(shard.bin_key), dtype="<u2")
        starts = np.fromfile(place.store.local_path(shard.idx_key), dtype="<u8")
        texts = read_table(place.store, f"shards/{shard.shard_sha256}.parquet", columns=["text"])["text"].to_pylist()
        assert np.flatnonzero(ids == 1).tolist() == [int(end) - 1 for end in starts[1:]] and not (ids == 0).any()
        assert [tokenizer.decode(ids[a : b - 1]) for a, b in zip(starts, starts[1:], strict=False)] == texts


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "mixtral", "olmoe", "qwen3_moe"])
def test_the_first_step_has_the_loss_of_the_base_and_the_last_checkpoint_loads_anywhere(
    kind: str, tmp_path: Path, run_rank: RankRunner
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = save_base(tmp_path / "tiny", kind=kind)
    place = adopted_place(tmp_path / "store", folder)
    (tmp_path / "store/run").mkdir()
    start = find_start(place.store, recipe())
    assert start is not None
    what = begun(recipe(), start)
    key = train(run_rank, place, what, start.checkpoint)
    stream = TokenStream(place.store, place.tokens)
    order = continued_pretrain.pretrain.order_of(what.train[0].config, place.tokens)
    ids_BT = torch.from_numpy(stream.read_windows(order.windows(0), 8))
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = theirs(input_ids=ids_BT[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten()).item()
    metrics = [json.loads(line) for line in place.store.read_bytes(f"{key}/metrics.jsonl").decode().splitlines()]
    assert metrics[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics[-1]["mfu"] > 0 and len(metrics) == 5
    trained = Path(place.store.local_path(f"{key}/config.json")).parent
    model = AutoModelForCausalLM.from_pretrained(trained)
    assert type(model) is type(theirs) and model.config.eos_token_id == 1
    names = list(theirs.state_dict())
    assert any(not torch.equal(model.state_dict()[name], theirs.state_dict()[name]) for name in names)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert tokenizer.eos_token_id == 1 and tokenizer.decode(tokenizer.encode("a fox")) == "<s>a fox"


def test_a_run_from_an_adopted_model_resumes_bit_for_bit(base: Path, tmp_path: Path, run_rank: RankRunner) -> None:
    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    start = find_start(place.store, recipe())
    assert start is not None
    what = begun(recipe({**CONTINUED, "checkpoint_every_steps": 1}), start)
    whole = train(run_rank, place, what, start.checkpoint)
    weights = place.store.read_bytes(f"{whole}/model.safetensors")
    for name in place.store.list(f"{whole}/"):
        place.store.delete(name)
    assert read_manifest(place.store, whole[:-1] + "3").step == 3
    assert train(run_rank, place, what, start.checkpoint) == whole
    assert place.store.read_bytes(f"{whole}/model.safetensors") == weights


def register_version(place: Place, what: Recipe, key: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("INGOT_HOME", str(place.root / "home"))
    monkeypatch.setenv("INGOT_STORE", str(place.root))
    tasks_runtime._places.cache_clear()
    corpus = find_published(place.store, "handbook@1")
    version = register.fn(what, corpus, place.tokens, checkpoint_ref(place.store, key), "adopted/base")
    tasks_runtime._places.cache_clear()
    return version


@pytest.mark.parametrize("tokens", [None, 1_000])
def test_trace_card_page_and_pack_say_what_is_ours_and_what_is_not_known(
    tokens: int | None, base: Path, tmp_path: Path, run_rank: RankRunner, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = adopted_place(tmp_path, base, tokens=tokens)
    (tmp_path / "run").mkdir()
    store, start = place.store, find_start(place.store, recipe())
    assert start is not None and start.name == "adopted/base"
    what = begun(recipe(), start)
    version = register_version(place, what, train(run_rank, place, what, start.checkpoint), monkeypatch)
    told = lineage.trace_model(store, "mini/1")
    assert told["base_model"] == "adopted/base, from outside"
    origin, ours = told["adopted"], told["adopted"]["ours"]
    assert (origin["licence"], origin["origin"]) == ("Apache-2.0", "Example Lab, release 3")
    assert (ours["tokens"], ours["flops"]) == (64, 6 * 64 * version.details["num_parameters"])
    assert (ours["parameters_added"], ours["parameters_share"]) == (0, 0.0)
    share = None if tokens is None else pytest.approx(64 / 1064)
    assert ours["tokens_share"] == share and ours["flops_share"] == share
    print_model(told, Printer(as_json=False))
    entries = ledger.read(store)
    card = model_card.card(store, version, entries)
    texts = [capsys.readouterr().out, model_card.card_markdown(card), model_page(store, version, card, entries)]
    for text in texts:
        assert "data before this point: not known to us" in text and "Example Lab, release 3" in text
        assert ("--tokens was not given" in text) == (tokens is None) and ("6.02% of all" in text) == (tokens == 1000)
    assert lineage.trace_model(store, "adopted/base")["models"] == ["mini/1"]
    verify(store)
    pack, _ = audit_pack(store, version)
    (tmp_path / "pack.zip").write_bytes(pack)
    assert verify_pack.main([str(tmp_path / "pack.zip")]) == 0
    assert "what that was trained on is not known to Ingot" in capsys.readouterr().out


def test_a_model_begun_from_a_model_of_ours_still_says_that_the_first_came_from_outside(
    base: Path, tmp_path: Path, run_rank: RankRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    first = find_start(place.store, recipe())
    assert first is not None
    what = begun(recipe(), first)
    register_version(place, what, train(run_rank, place, what, first.checkpoint), monkeypatch)
    again = recipe({**CONTINUED, "start": "mini/1", "tokens": 32})
    second = find_start(place.store, again)
    assert second is not None and second.tokenizer.eos_id == 1
    what = begun(again, second)
    key = train(run_rank, place, what, second.checkpoint)
    tasks_runtime._places.cache_clear()
    corpus = find_published(place.store, "handbook@1")
    register.fn(what, corpus, place.tokens, checkpoint_ref(place.store, key), "mini/1")
    told = lineage.trace_model(place.store, "mini/2")
    assert told["base_model"] == "mini/1, trained here too, which began with a model from outside"
    assert told["adopted"]["name"] == "adopted/base" and told["adopted"]["ours"]["tokens"] == 96
    tasks_runtime._places.cache_clear()


def test_a_plan_knows_an_adopted_start_and_its_fingerprint_is_that_of_its_bytes(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path / "store", base)
    corpus = find_published(place.store, "handbook@1")
    plan = plan_retrain(place.store, recipe(), corpus, place="r.yaml")
    assert [step.reused for step in plan.steps[:2]] == [True, False]
    digests = set()
    for folder in (base, save_base(tmp_path / "other", seed=8)):
        other = adopted_place(tmp_path / folder.name, folder)
        start = find_start(other.store, recipe())
        assert start is not None
        what = begun(recipe(), start)
        digests.add(stage_fingerprint(what.train[0], what, other.tokens, start.checkpoint))
    assert len(digests) == 2


def test_a_window_longer_than_the_adopted_model_sees_is_refused(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path, base)
    what = recipe({**CONTINUED, "sequence_length": 128, "batch_tokens": 128})
    with pytest.raises(RecipeError, match="128 is longer than the 64 tokens"):
        begun(what, find_start(place.store, what))


def test_stages_that_an_adopted_model_cannot_begin_say_so_before_anything_is_trained(
    base: Path, tmp_path: Path
) -> None:
    place = adopted_place(tmp_path, base)
    infill = recipe({**CONTINUED, "stage": "infill"})
    with pytest.raises(RecipeError, match="whose tokenizer has no tokens for holes; start from a model of ours"):
        begun(infill, find_start(place.store, infill))
    divided = recipe({**CONTINUED, "sharding": "full"})
    with pytest.raises(RecipeError, match="sharding full of a model of family adopted cannot read its checkpoints"):
        begun(divided, find_start(place.store, divided))


def test_documents_are_told_apart_by_the_end_token_of_the_adopted_tokenizer() -> None:
    import torch

    from training.documents import document_positions

    ids_BT = torch.tensor([[5, 0, 1, 7, 8]])
    assert document_positions(ids_BT, 1).tolist() == [[0, 1, 2, 0, 1]]
    assert document_positions(ids_BT).tolist() == [[0, 1, 0, 1, 2]]


def test_names_of_model_versions_are_not_taken_for_adopted_models(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path, base)
    assert model_versions.names(ledger.read(place.store)) == []


def test_a_pack_whose_card_names_another_licence_of_the_base_does_not_hold(
    base: Path, tmp_path: Path, run_rank: RankRunner, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = adopted_place(tmp_path, base)
    (tmp_path / "run").mkdir()
    start = find_start(place.store, recipe())
    assert start is not None
    what = begun(recipe(), start)
    version = register_version(place, what, train(run_rank, place, what, start.checkpoint), monkeypatch)
    pack, _ = audit_pack(place.store, version)
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["card.json"] = files["card.json"].replace(b'"licence": "Apache-2.0"', b'"licence": "MIT"')
    listed = json.loads(files["pack.json"])
    listed["files"]["card.json"] = {"bytes": len(files["card.json"]), "sha256": sha256_hex(files["card.json"])}
    files["pack.json"] = json.dumps(listed).encode()
    for name, data in files.items():
        (tmp_path / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pack" / name).write_bytes(data)
    assert verify_pack.main([str(tmp_path / "pack")]) == 1
    assert "card.json has another licence of the adopted model" in capsys.readouterr().out


def test_a_stage_from_an_adopted_model_is_probed_and_planned_by_its_own_shape(base: Path, tmp_path: Path) -> None:
    place = adopted_place(tmp_path / "store", base)
    start = find_start(place.store, recipe())
    assert start is not None
    what = begun(recipe(), start)
    entry = with_seed(what.train[0], what)
    probed = probe_config(entry.config)
    assert probed.model == entry.config.model and probed.warmup_steps is None
    scratch = Store(str(tmp_path / "probe"))
    found = probe(probed, place.tokens.vocab_size, scratch, ranks=1, threads=1)
    assert found is not None and found.tokens_per_second > 0
    settings = Settings.from_environment({"INGOT_HOME": str(tmp_path / "home"), "INGOT_STORE": place.store.root})
    here = look(num_gpus=0, memory_bytes=8 * 10**9, free_bytes=None)
    remember(settings.home, found, probed, place.tokens.vocab_size, here, 1)
    runtime = tasks_runtime.Runtime(settings, place.store, tiny_store.ACTOR)
    planned = forecast(runtime, entry, place.tokens, start.checkpoint)
    assert planned is not None and planned["cost"]["tokens_per_second"] == found.tokens_per_second
