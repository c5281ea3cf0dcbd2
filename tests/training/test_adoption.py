"""A model from outside: what is refused at the door, what the ledger keeps of it, and what it may be called."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ingot import adopted, ledger, lineage, store_identity
from ingot.errors import DataError, IngotError, IntegrityError, NotFoundError, RecipeError
from ingot.garbage import find_garbage
from ingot.storage import Store
from ingot.verify import named_keys, verify
from interface.cli import main
from tasks.adoption import Adoption, Facts, adopt_model
from tests.base import tiny_store
from tests.training.foreign import save_base
from training.checkpoints import read_manifest

FACTS = Facts("base", "Apache-2.0", "Example Lab, release 3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("foreign") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the base model, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store_identity.initialise(store, salt=tiny_store.SALT)
    return store


def adopt(store: Store, folder: Path, facts: Facts = FACTS) -> Adoption:
    return adopt_model(store, folder, facts, actor=tiny_store.ACTOR)


def test_an_adopted_model_is_a_checkpoint_that_verify_and_gc_cover(store: Store, folder: Path) -> None:
    (folder / "original").mkdir()
    (folder / "original" / "notes.txt").write_text("left out")
    done = adopt(store, folder)
    assert (done.existed, done.left_out, done.round_trips) == (False, ("original/notes.txt",), True)
    manifest = read_manifest(store, done.model.checkpoint_key)
    assert (manifest.kind, manifest.step, manifest.num_parameters) == ("adopted", 0, done.model.num_parameters)
    names = {file.name for file in manifest.files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "state.json"} <= names
    keys = named_keys(store)
    assert f"{done.model.checkpoint_key}/model.safetensors" in keys
    assert sum(key.startswith("tokenizers/") for key in keys) == 2
    assert not find_garbage(store).objects
    verify(store)
    with open(store.local_path(f"{done.model.checkpoint_key}/model.safetensors"), "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        verify(store)


def test_the_same_bytes_under_the_same_name_are_there_already(store: Store, folder: Path) -> None:
    first, again = adopt(store, folder), adopt(store, folder)
    assert (first.existed, again.existed, again.corrected) == (False, True, False)
    assert again.model == first.model and len(ledger.read(store)) == 1
    with pytest.raises(RecipeError, match="these bytes are there as adopted/base"):
        adopt(store, folder, Facts("other", "MIT", "elsewhere"))


def test_a_name_keeps_its_bytes_and_its_facts_can_be_corrected(store: Store, folder: Path, tmp_path: Path) -> None:
    first = adopt(store, folder)
    with pytest.raises(RecipeError, match="adopted/base is another model .* give another --name"):
        adopt(store, save_base(tmp_path / "other", seed=8))
    with pytest.raises(RecipeError, match="these bytes are there as adopted/base"):
        adopt(store, folder, Facts("second", "MIT", "x"))
    assert len({key.split("/")[1] for key in store.list("checkpoints/")}) == 1, "a refused model stays in the store"
    fixed = adopt(store, folder, Facts("base", "apache 2.0", "Example Lab, release 4", tokens=1000))
    assert (fixed.corrected, fixed.model.licence, fixed.model.tokens) == (True, "Apache-2.0", 1000)
    assert fixed.model.checkpoint_key == first.model.checkpoint_key
    told = lineage.trace_model(store, "adopted/base")
    assert [e["details"]["origin"] for e in told["ledger"]] == ["Example Lab, release 3", "Example Lab, release 4"]
    assert told["before"] == "data before this point: not known to us"
    assert {file["name"] for file in told["files"]} >= {"model.safetensors", "config.json"}


def rewrite(name: str, **changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, **changes}))

    return spoil


def weights(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})

    return spoil


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])


def lie_about_offsets(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first]["data_offsets"][1] += 1 << 40
    body = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(body).to_bytes(8, "little") + body + data[8 + length :])


def absent_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def outward_link(folder: Path) -> None:
    shutil.move(folder / "config.json", folder.parent / "config.json")
    (folder / "config.json").symlink_to(folder.parent / "config.json")


def other_tensor(tensors: dict) -> dict:
    name = "model.layers.0.mlp.up_proj.weight"
    return {**tensors, name: tensors[name][:-1].clone()}


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle": (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), r"pytorch_model\.bin .*convert the weights"),
    "code": (lambda f: (f / "modeling_tiny.py").write_text("print()"), r"modeling_tiny\.py .*can run code"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "part of another model"),
    "remote code": (rewrite("config.json", auto_map={"AutoModelForCausalLM": "m.M"}), "auto_map: the model needs code"),
    "code for its tokenizer": (rewrite("tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}), "auto_map"),
    "a kernel from elsewhere": (rewrite("config.json", attn_implementation="some/kernel"), "code from elsewhere"),
    "quantised weights": (rewrite("config.json", quantization_config={"bits": 4}), "quantised weights"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "a link outwards": (outward_link, r"leads out of the folder.*cp -rL"),
    "an absent shard": (absent_shard, "which is no .safetensors file of tiny"),
    "a cut file": (cut, "no whole safetensors file"),
    "tensors outside the file": (lie_about_offsets, "no whole safetensors file"),
    "a tensor too few": (weights(lambda t: {k: v for k, v in t.items() if "norm" not in k}), "weights are missing"),
    "a tensor too many": (weights(lambda t: {**t, "extra": t["lm_head.weight"].clone()}), "unknown to the arch"),
    "a tensor of another shape": (weights(other_tensor), "of another shape: model.layers.0.mlp.up_proj.weight"),
    "an unknown architecture": (rewrite("config.json", model_type="frobnicator"), "'frobnicator', which the installed"),
    "no language model": (rewrite("config.json", model_type="vit"), "no causal language model"),
    "blocks elsewhere": (rewrite("config.json", model_type="gpt2"), "has no `model.layers` and `lm_head`"),
    "other logits": (rewrite("config.json", model_type="gemma2", head_dim=16), "final_logit_softcapping"),
    "an embedding of another size": (rewrite("config.json", vocab_size=200),
                                     r"of another shape: lm_head.weight \[300, 32\] in the file, \[200, 32\] by"),
    "no end token": (lambda f: (rewrite("tokenizer_config.json", eos_token=None)(f),
                                rewrite("config.json", eos_token_id=None)(f)), "has no end token"),
    "a config that is none": (lambda f: (f / "config.json").write_text("[1]"), "config.json is no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_could_run_code_or_is_not_whole_is_refused(case: str, store: Store, folder: Path) -> None:
    spoil, message = REFUSED[case]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        adopt(store, folder)
    assert not list(store.list("checkpoints/")) and not ledger.read(store)


def test_a_tokenizer_larger_than_the_embedding_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ids up to 299, the embedding 200 rows"):
        adopt(store, save_base(tmp_path / "small", vocab_size=200))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (Facts("Base 1", "MIT", "x"), "cannot be a name"),
        (Facts("base", "do what you like", "x"), "is no SPDX licence"),
        (Facts("base", "MIT", "  "), "--origin has 0 characters"),
        (Facts("base", "MIT", "https://ada:pw@example.org/m"), "URL with a password"),
        (Facts("base", "MIT", "Example\u200bLab"), r"invisible character U\+200B"),
        (Facts("base", "MIT", "x", tokens=0), "is no number of tokens"),
    ],
)
def test_facts_that_are_none_are_refused(facts: Facts, message: str, store: Store, folder: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        adopt(store, folder, facts)


def test_shards_with_an_index_and_licences_without_spdx_are_taken(store: Store, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    done = adopt(store, folder, Facts("base", "LicenseRef-tiny", "x"))
    assert done.model.licence == "LicenseRef-tiny" and done.model.architecture == "LlamaForCausalLM"


def test_a_name_that_nobody_adopted_is_told_with_those_there_are(store: Store, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="adopted: none yet"):
        adopted.find(store, "base")
    adopt(store, folder)
    with pytest.raises(NotFoundError, match="adopted/bass does not exist .*adopted: adopted/base"):
        adopted.find(store, "adopted/bass")


def test_the_command_tells_what_it_did_and_trace_what_is_not_known(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGOT_STORE", store.root)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    words = ["adopt", "model", str(folder), "--name", "base", "--licence", "MIT", "--origin", "Example Lab"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "adopted/base adopted: LlamaForCausalLM" in told and "start: adopted/base" in told
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["existed"] is True
    page = tmp_path / "page.html"
    assert main(["trace", "model", "adopted/base", "--html", str(page)]) == 0
    told = capsys.readouterr().out
    assert "data before this point: not known to us" in told and "Example Lab" in told
    assert "not known to us" in page.read_text() and "Example Lab" in page.read_text()
    assert main([*words[:3], "--name", "base", "--licence", "MIT"]) == 2  # no origin
    with pytest.raises(IngotError):
        lineage.trace_model(store, "adopted/none")


def test_trace_tells_what_each_record_said_and_a_version_of_it_is_not_looked_for(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGOT_STORE", store.root)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    words = ["adopt", "model", str(folder), "--name", "base", "--origin", "Example Lab", "--licence"]
    assert main([*words, "MIT"]) == 0
    assert main([*words, "Apache-2.0", "--tokens", "2_000_000"]) == 0
    capsys.readouterr()
    assert main(["trace", "model", "adopted/base"]) == 0
    told = capsys.readouterr().out
    assert "MIT; Example Lab; tokens not stated" in told and "Apache-2.0; Example Lab; 2,000,000 tokens" in told
    assert "2,000,000 tokens, as its makers state" in told
    assert main(["trace", "model", "adopted/base", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["ledger"]
    assert [record["details"]["tokens"] for record in records] == [None, 2_000_000]
    for query in ("base", "base/1", "adopted/base"):
        assert main(["infill", query, "a[.]b"]) == 4
        assert "`start: adopted/base`" in capsys.readouterr().err
    assert main([*words, "MIT", "--tokens", "2e6"]) == 2
    assert "'2e6' is no whole number from 0 on; write digits, e.g. 2_000" in capsys.readouterr().err
    assert main(["adopt", "corpus", *words[2:], "MIT"]) == 2
    assert "argument model: invalid choice: 'corpus'" in capsys.readouterr().err
