"""One interface to a language model, whoever runs it: score texts, generate completions.

Suites know only `LanguageModel`. Behind it stand a local Hugging Face folder (`TransformersModel`), an
OpenAI-compatible endpoint (`OpenAIModel`, evaluation/endpoint.py) and a scripted fake (`ScriptedModel`).
Texts and completions never appear in an error or a log.
"""

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from evaluation.endpoint import OpenAIModel
from evaluation.windows import Window, scoring_windows
from ingot.errors import DataError, NotFoundError

__all__ = ["LanguageModel", "OpenAIModel", "ScriptedModel", "TransformersModel"]


class LanguageModel(Protocol):
    """What a suite needs of a model."""

    def log_likelihoods(self, texts: Sequence[str]) -> list[float]:
        """Natural logarithm of P(text | start of a document), one number a text, <= 0.

        All tokens of the text are scored, the first one given the start token; the start token itself and
        an end-of-text token are not. So the number belongs to the bytes of the text and to nothing
        else, and two models with different tokenizers can be compared by it.
        """
        ...

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, temperature: float, seed: int) -> list[str]:
        """Completions without their prompts; an empty prompt starts a document; temperature 0 is greedy."""
        ...

    def describe(self) -> dict[str, str | int]:
        """What shapes the numbers (context, stride, precision); goes into results, holds no path."""
        ...


class TransformersModel:
    """A causal language model from a local Hugging Face folder; safetensors only, no remote code.

    Texts are scored one window a forward pass, never padded: a document's number does not depend on
    the documents beside it. Numbers agree to about 1e-6 relative between machines and thread counts, and
    exactly on one machine. Tokens come from the folder's tokenizer.json alone.

    `context_tokens` defaults to the model's, `stride_tokens` to half of it (every later token then has at
    least half a context before it, for twice the work). `device` defaults to the GPU if there is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        context_tokens: int | None = None,
        stride_tokens: int | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        config = _read_folder(folder)
        import torch
        import transformers
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM

        transformers.utils.logging.disable_progress_bar()  # a bar per weight file tells nobody anything
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
        model, loading = loaded
        # transformers fills absent weights with random numbers and only warns; do not judge those.
        broken = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
        if broken:
            raise DataError(
                f"model folder {folder.name!r} lacks {len(broken)} weights ({', '.join(broken[:3])} ...); "
                "save the whole model again"
            )
        self._torch = torch
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # "<|endoftext|>" inside a document is text like any other, not the end of the document.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._start, self._ends = _start_and_ends(folder, config)
        self.context_tokens = context_tokens or int(config.get("max_position_embeddings") or 1024)
        self.stride_tokens = stride_tokens or max(1, self.context_tokens // 2)
        self._dtype = dtype
        # Scoring half a context needs half the logits; with a large vocabulary they are most of the work.
        self._keeps_last = "logits_to_keep" in inspect.signature(model.forward).parameters

    def describe(self) -> dict[str, str | int]:
        return {
            "kind": "transformers",
            "architecture": type(self._model).__name__,
            "num_parameters": sum(weight.numel() for weight in self._model.parameters()),
            "context_tokens": self.context_tokens,
            "stride_tokens": self.stride_tokens,
            "dtype": self._dtype,
            "device": self._device,
        }

    def log_likelihoods(self, texts: Sequence[str]) -> list[float]:
        results = []
        for index, text in enumerate(texts):
            tokens = self._encode(text, what=f"text {index} of {len(texts)}")
            windows = scoring_windows(len(tokens), self.context_tokens, self.stride_tokens)
            results.append(math.fsum(value for window in windows for value in self._score(tokens, window)))
        return results

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, temperature: float, seed: int) -> list[str]:
        return [
            self._complete(self._encode(prompt, what=f"prompt {index}"), max_new_tokens, temperature, (seed, index))
            for index, prompt in enumerate(prompts)
        ]

    def _encode(self, text: str, *, what: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._tokenizer.decode(tokens, skip_special_tokens=False) != text:
            raise DataError(
                f"the model's tokenizer cannot write {what} back as it was ({len(text)} characters), so "
                "bits per "
                "byte of it would be wrong; use a byte-level tokenizer"
            )
        return tokens

    def _score(self, tokens: list[int], window: Window) -> list[float]:
        """Log-probability of each scored token of one window."""
        torch = self._torch
        before = [self._start] if window.begin == 0 else [tokens[window.begin - 1]]
        inputs = torch.tensor([before + tokens[window.begin : window.end - 1]], device=self._device)
        targets = torch.tensor(tokens[window.end - window.num_scored : window.end], device=self._device)
        options = {"logits_to_keep": window.num_scored} if self._keeps_last else {}
        with torch.inference_mode():
            logits = self._model(input_ids=inputs, use_cache=False, **options).logits[0, -window.num_scored :]
            scores = torch.log_softmax(logits.float(), dim=-1).gather(1, targets[:, None])
        values: list[float] = scores[:, 0].tolist()
        return values

    def _complete(self, prompt: list[int], max_new_tokens: int, temperature: float, seed: tuple[int, int]) -> str:
        import numpy as np

        torch = self._torch
        # One generator a prompt, so that a completion does not depend on the prompts beside it.
        random = np.random.Generator(np.random.PCG64(seed))
        tokens = [self._start, *prompt]
        fresh, cache = tokens[-self.context_tokens :], None
        num_read = 0
        for _ in range(max_new_tokens):
            if num_read + len(fresh) > self.context_tokens:
                # The context is full: read its newer half again and go on from there.
                fresh, cache, num_read = tokens[-max(1, self.context_tokens // 2) :], None, 0
            with torch.inference_mode():
                output = self._model(
                    input_ids=torch.tensor([fresh], device=self._device),
                    past_key_values=cache,
                    use_cache=True,
                )
            num_read += len(fresh)
            cache = output.past_key_values
            logits = output.logits[0, -1].double().cpu().numpy()
            token = _draw(logits, temperature, random)
            if token in self._ends:
                break
            tokens.append(token)
            fresh = [token]
        start = self._tokenizer.decode(prompt, skip_special_tokens=False)
        whole = self._tokenizer.decode(tokens[1:], skip_special_tokens=False)
        return whole[len(start) :]


class ScriptedModel:
    """A model without weights, for tests and dry runs: every answer is written down before.

    `nats` is the cost of a text (default: the uniform model over bytes, ln 256 a byte, 8 bits per byte);
    `completions` are looked up by prompt, and a prompt that is not there is completed by "".
    """

    def __init__(
        self, completions: Mapping[str, str] | None = None, *, nats: Callable[[str], float] | None = None
    ) -> None:
        self._completions = dict(completions or {})
        self._nats = nats or (lambda text: math.log(256) * len(text.encode()))

    def describe(self) -> dict[str, str | int]:
        return {"kind": "scripted"}

    def log_likelihoods(self, texts: Sequence[str]) -> list[float]:
        return [-self._nats(text) for text in texts]

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, temperature: float, seed: int) -> list[str]:
        return [self._completions.get(prompt, "") for prompt in prompts]


def _read_folder(folder: Path) -> dict[str, Any]:
    """The model's config.json, after a look at what the folder holds."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise NotFoundError(f"model folder {folder.name!r} has no {name}; pass a saved Hugging Face folder")
    if not any(folder.glob("*.safetensors")):
        raise DataError(
            f"model folder {folder.name!r} holds no .safetensors file; other formats can run code when "
            "they are "
            "read and are refused: convert the weights to safetensors"
        )
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def _start_and_ends(folder: Path, config: Mapping[str, Any]) -> tuple[int, frozenset[int]]:
    """The token a document starts after (BOS, else EOS, as packed training has it) and those that end it."""
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text()) if path.is_file() else {}
    ends: list[int] = []
    for place in (config, generation):
        value = place.get("eos_token_id")
        ends += [value] if isinstance(value, int) else list(value or ())
    start = config.get("bos_token_id")
    if start is None and not ends:
        raise DataError(
            f"model folder {folder.name!r} states neither bos_token_id nor eos_token_id, so the first "
            "token of a "
            "document has nothing to be predicted from; add one to config.json"
        )
    return (ends[0] if start is None else int(start)), frozenset(ends)


def _draw(logits: Any, temperature: float, random: Any) -> int:
    """One token id by inverse transform of the tempered distribution; greedy takes the smallest best id."""
    import numpy as np

    if temperature <= 0:
        return int(np.argmax(logits))
    cumulative = np.cumsum(np.exp((logits - logits.max()) / temperature))
    return int(min(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"), len(logits) - 1))
