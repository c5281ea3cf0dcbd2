"""A local Hugging Face token-classification model: loaded offline from safetensors, run in windows of one shape.

The folder holds config.json, tokenizer.json and the weights as safetensors; nothing else is read, and no code of it is
run. Windows have a fixed number of tokens and are computed eight at a time on one thread, a short batch filled up with
copies, so that what a document gets does not depend on its neighbours. Cost: the model's; a base model reads some
kilobytes of text a second and core.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ingot.errors import RecipeError

BATCH_WINDOWS = 8
MAX_WINDOW_TOKENS = 256
OVERLAP_TOKENS = 64
MAX_PIECE_CHARACTERS = 20_000
"""Longer texts are tokenized in pieces, cut at white space."""


class Word(NamedTuple):
    """One word of a text as the tokenizer cuts it: [start, end) in characters, and the label of its first token."""

    start: int
    end: int
    label: str
    """As the model names it: `B-PER`, `I-PER`, `PER`, `O`."""
    score: float
    """Probability of the label, rounded to four decimals."""


def digest(uri: str) -> str:
    """SHA-256 over the files that are read, 16 hex digits. Raises RecipeError when one is missing."""
    files = _files(Path(uri).expanduser())
    return _digest_of(tuple((str(path), *_stamp(path)) for path in files))


def label_words(texts: Sequence[str], uri: str) -> Iterator[list[Word]]:
    """The words of each text, in order. Deterministic on one machine: neither batch nor order nor threads matter."""
    import torch

    model = _load(uri, digest(uri))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for text in texts:
            yield list(model.words(text))
    finally:
        torch.set_num_threads(num_threads)


class _Model:
    def __init__(self, folder: Path) -> None:
        import tokenizers
        import transformers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._network = transformers.AutoModelForTokenClassification.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype="float32"
        ).eval()
        config = self._network.config
        # RoBERTa counts positions from its padding token: two of them are never used.
        self._window_tokens = min(MAX_WINDOW_TOKENS, (getattr(config, "max_position_embeddings", None) or 512) - 2)
        self._overlap_tokens = min(OVERLAP_TOKENS, self._window_tokens // 4)
        self._pad = config.pad_token_id or 0
        self._labels = [str(config.id2label[index]) for index in range(config.num_labels)]
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._window_tokens, stride=self._overlap_tokens)

    def words(self, text: str) -> Iterator[Word]:
        """The words of one text."""
        for start, end in pieces(text):
            encoding = self._tokenizer.encode(text[start:end])
            for word in self._words_of([encoding, *encoding.overflowing]):
                yield Word(start + word.start, start + word.end, word.label, word.score)

    def _words_of(self, windows: list[Any]) -> Iterator[Word]:
        # A token in two windows counts where it is farther from the edge.
        best: dict[tuple[int, int, int], tuple[int, int, float]] = {}
        for window, (labels, scores) in zip(windows, self._predict(windows), strict=True):
            num_tokens = len(window.ids)
            for index, (word, (start, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
                if word is None or window.special_tokens_mask[index] or start == end:
                    continue
                distance = min(index, num_tokens - 1 - index)
                if (word, start, end) not in best or distance > best[word, start, end][0]:
                    best[word, start, end] = (distance, int(labels[index]), float(scores[index]))
        current: list[Any] = []
        for (word, start, end), (_, label, score) in sorted(best.items()):
            if current and current[0] == word:
                current[2] = max(current[2], end)
                continue
            if current:
                yield Word(current[1], current[2], self._labels[current[3]], current[4])
            current = [word, start, end, label, score]
        if current:
            yield Word(current[1], current[2], self._labels[current[3]], current[4])

    def _predict(self, windows: list[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import torch

        for first in range(0, len(windows), BATCH_WINDOWS):
            batch = windows[first : first + BATCH_WINDOWS]
            ids = np.full((BATCH_WINDOWS, self._window_tokens), self._pad, np.int64)
            mask = np.zeros_like(ids)
            for row in range(BATCH_WINDOWS):
                tokens = batch[row].ids if row < len(batch) else batch[-1].ids
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            with torch.inference_mode():
                logits = self._network(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits
                probabilities = torch.softmax(logits.double(), dim=-1).numpy().round(4)
            for row in range(len(batch)):
                yield probabilities[row].argmax(-1), probabilities[row].max(-1)


def pieces(text: str) -> Iterator[tuple[int, int]]:
    """[start, end) of parts of at most MAX_PIECE_CHARACTERS, cut behind a line, or behind a blank if there is."""
    start = 0
    while len(text) - start > MAX_PIECE_CHARACTERS:
        last = start + MAX_PIECE_CHARACTERS
        cut = max(text.rfind("\n", start + MAX_PIECE_CHARACTERS // 2, last), -1)
        cut = cut if cut >= 0 else text.rfind(" ", start + MAX_PIECE_CHARACTERS // 2, last)
        end = cut + 1 if cut >= 0 else last
        yield start, end
        start = end
    yield start, len(text)


@lru_cache(maxsize=2)
def _load(uri: str, model_digest: str) -> _Model:
    return _Model(Path(uri).expanduser())


def _files(folder: Path) -> list[Path]:
    needed = [folder / "config.json", folder / "tokenizer.json"]
    weights = sorted(folder.glob("*.safetensors"))
    missing = [path.name for path in needed if not path.is_file()] + ([] if weights else ["*.safetensors"])
    if missing:
        raise RecipeError(
            f"rule 'pii': the model of names in {folder} lacks {', '.join(missing)}; `names.uri` is a local folder of "
            "a Hugging Face token-classification model with a fast tokenizer and safetensors weights"
        )
    index = folder / "model.safetensors.index.json"
    return [*needed, *([index] if index.is_file() else []), *weights]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for name, _, _ in files:
        with open(name, "rb") as file:
            whole.update(f"{Path(name).name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
