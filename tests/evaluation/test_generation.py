"""Scoring and generating with a real, tiny model folder, an endpoint in memory, and the scripted fake."""

import json
import math
from pathlib import Path

import httpx
import pytest

from evaluation.generation import OpenAIModel, ScriptedModel, TransformersModel
from evaluation.windows import scoring_windows
from ingot.errors import DataError, NotFoundError, RecipeError, ServiceError
from tests.evaluation.conftest import EOS, make_model_folder

TEXT = "Ein Gedicht über Öfen: 炉の火 burns. " * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"), scale=4.0)


def test_windows_score_every_token_exactly_once_within_the_context() -> None:
    for num_tokens in range(0, 60):
        for context, stride in [(1, 1), (8, 1), (8, 4), (8, 8), (64, 32)]:
            windows = scoring_windows(num_tokens, context, stride)
            scored = [token for window in windows for token in range(window.end - window.num_scored, window.end)]
            assert scored == list(range(num_tokens))
            assert all(window.end - window.begin <= context for window in windows)
            # A later token has at least context - stride tokens before it.
            assert all(w.end - w.num_scored - w.begin >= context - stride for w in windows[1:])


def test_a_stride_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="stride_tokens=9"):
        scoring_windows(10, 8, 9)


def test_a_uniform_model_over_all_tokens_costs_the_logarithm_of_their_number(tmp_path: Path) -> None:
    model = TransformersModel(make_model_folder(tmp_path, zero=("lm_head",)))
    (score,) = model.log_likelihoods([TEXT])
    assert -score / len(TEXT.encode()) == pytest.approx(math.log(257), rel=1e-6)


def test_windowed_scores_equal_one_long_context_where_attention_plays_no_part(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path, context=1024, zero=("o_proj",), scale=4.0)
    (whole,) = TransformersModel(folder).log_likelihoods([TEXT])
    for context, stride in [(16, 4), (16, 16), (50, 7)]:
        model = TransformersModel(folder, context_tokens=context, stride_tokens=stride)
        assert model.log_likelihoods([TEXT])[0] == pytest.approx(whole, rel=1e-5)


def test_scores_are_those_of_the_plain_forward_pass(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    text = "short"
    model = TransformersModel(folder)
    tokens = torch.tensor([[0, *model._tokenizer.encode(text).ids]])
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits[0, :-1]
    expected = torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None]).sum().item()
    assert model.log_likelihoods([text])[0] == pytest.approx(expected, rel=1e-6)


def test_a_score_does_not_depend_on_the_texts_beside_it(folder: Path) -> None:
    model = TransformersModel(folder)
    texts = ["a", TEXT, "", "another text", TEXT[:100]]
    together = model.log_likelihoods(texts)
    assert together == [model.log_likelihoods([text])[0] for text in texts]
    assert together[::-1] == model.log_likelihoods(texts[::-1])
    assert together[2] == 0.0


def test_an_end_of_text_marker_inside_a_document_is_scored_as_text(folder: Path) -> None:
    model = TransformersModel(folder)
    assert len(model._encode(f"a{EOS}b", what="text")) == 2 + len(EOS)


def test_generation_is_the_same_again_and_for_each_prompt_alone(folder: Path) -> None:
    model = TransformersModel(folder)
    options = {"max_new_tokens": 90, "temperature": 1.0, "seed": 3}  # 90: beyond the context of 64
    prompts = ["", "To be", "über"]
    first = model.generate(prompts, **options)
    assert first == model.generate(prompts, **options)
    assert first[:2] == model.generate(prompts[:2], **options)
    assert first != model.generate(prompts, **{**options, "seed": 4})
    assert all(completion for completion in first)


def test_greedy_generation_takes_the_most_likely_byte_and_stops_at_the_end_of_text(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    folder = make_model_folder(tmp_path)
    model = TransformersModel(folder)
    assert model.generate(["x"], max_new_tokens=5, temperature=0.0, seed=0) == model.generate(
        ["x"], max_new_tokens=5, temperature=0.0, seed=1
    )
    broken = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        broken.lm_head.weight.zero_()  # all logits equal: the smallest id, EOS, is first
    broken.save_pretrained(folder)
    assert TransformersModel(folder).generate(["x"], max_new_tokens=5, temperature=0.0, seed=0) == [""]


def test_only_whole_local_safetensors_folders_are_read(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="config.json"):
        TransformersModel(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match="safetensors"):
        TransformersModel(tmp_path)


def test_a_folder_without_some_weights_is_refused_instead_of_filled_with_noise(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model_folder(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="lacks 1 weights .model.layers.1.mlp.up_proj.weight"):
        TransformersModel(folder)


def test_a_tokenizer_that_loses_text_is_refused_without_quoting_it(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    model = TransformersModel(folder)
    assert model.log_likelihoods(["secret"])[0] < 0
    with pytest.raises(DataError, match="text 1 of 2") as caught:
        model.log_likelihoods(["fine", "Secret"])
    assert "ecret" not in str(caught.value)


def test_the_scripted_model_answers_what_was_written_down() -> None:
    model = ScriptedModel({"2+2=": "4"})
    assert model.generate(["2+2=", "?"], max_new_tokens=1, temperature=0.0, seed=0) == ["4", ""]
    assert model.log_likelihoods(["ü"]) == [-2 * math.log(256)]


def _endpoint(seen: list[dict], headers: list[str], status: int = 200) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append(body)
        headers.append(request.headers.get("authorization", ""))
        prompt = body["prompt"]
        if not body.get("echo"):
            return httpx.Response(status, json={"choices": [{"text": prompt + "!"}]})
        offsets = [0, *range(len(EOS), len(prompt))]
        values = [None] + [-0.5] * (len(offsets) - 1)
        scores = {"text_offset": offsets, "token_logprobs": values}
        return httpx.Response(status, json={"choices": [{"text": prompt, "logprobs": scores}]})

    return httpx.MockTransport(answer)


def test_an_endpoint_scores_every_token_after_its_start_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_SECRET_JUDGE", "s3cret-key")
    seen: list[dict] = []
    headers: list[str] = []
    model = OpenAIModel("http://127.0.0.1:9/v1", "tiny", "judge", start_text=EOS, transport=_endpoint(seen, headers))
    assert model.log_likelihoods(["abc", "d"]) == [-1.5, -0.5]
    assert model.generate(["hi"], max_new_tokens=3, temperature=0.0, seed=7) == ["hi!"]
    assert seen[0]["prompt"] == EOS + "abc" and seen[2]["seed"] == 7
    assert headers == ["Bearer s3cret-key"] * 3
    assert "s3cret-key" not in repr(model.describe())


def test_an_endpoint_that_fails_is_reported_without_text_or_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="name a credential instead") as caught:
        OpenAIModel("https://me:pa55@host/v1", "tiny")
    assert "pa55" not in str(caught.value)
    with pytest.raises(DataError, match="start_text"):
        OpenAIModel("http://127.0.0.1:9/v1", "tiny").log_likelihoods(["a"])
    model = OpenAIModel("http://127.0.0.1:9/v1", "tiny", transport=_endpoint([], [], status=503))
    with pytest.raises(ServiceError, match="status 503") as failed:
        model.generate(["private text"], max_new_tokens=1, temperature=0.0, seed=0)
    assert "private" not in str(failed.value)
    monkeypatch.delenv("INGOT_SECRET_JUDGE", raising=False)
    with pytest.raises(RecipeError, match="INGOT_SECRET_JUDGE"):
        OpenAIModel("http://127.0.0.1:9/v1", "tiny", "judge").generate(["a"], max_new_tokens=1, temperature=0.0, seed=0)
