"""Held-out text: bits per byte of a model and of plain baselines on the very same documents, and samples.

The primary measure of a base model: smooth, cheap, independent of the tokenizer, and paired by document.
The result is one JSON value. It carries numbers and ids; text (prompts, completions, overlaps) is under
`with_text` alone, for the restricted report. Equal inputs give an equal result in whatever order the
documents come; it holds no time. Costs one or two passes of the model over the documents, one pass over
the training text, and the baselines (`evaluation.baselines`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evaluation.baselines import ngram_nats, unigram_nats, xz_nats, xz_together_nats, xz_trained_nats
from evaluation.generation import LanguageModel
from evaluation.overlap import Overlap, OverlapFinder
from evaluation.statistics import bits_per_byte
from evaluation.training_sample import TrainingSample
from ingot.errors import DataError

VERSION = "1"

TrainingTexts = Callable[[], Iterator[tuple[str, str]]]
"""Starts a pass over the training text: (doc_id, text) pairs, in any order."""

BASELINE_NOTES = {
    "unigram": "byte frequencies of the training sample, plus one",
    "ngram": "byte n-gram of the training sample, interpolated Kneser-Ney",
    "xz": "LZMA2 preset 6, each document alone, without container header; sees no training text",
    "xz_together": "LZMA2 preset 6, all held-out documents in one stream by doc_id; sees no training text",
    "xz_trained": "LZMA2 preset 6, each document after the whole training sample",
}


@dataclass(frozen=True)
class EvalDocument:
    """One held-out document: its stored text under its doc_id (hex)."""

    doc_id: str
    text: str = field(repr=False)
    source: str
    language: str


class Config(BaseModel):
    """What is measured; every value is part of the evaluation's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_documents: int | None = Field(
        default=2_000,
        ge=1,
        description="At most so many documents, those with the smallest doc_ids (a doc_id is a hash, so "
        "this is a "
        "stable random choice, the same for every model); None takes all. 2,000 keep the whole in minutes on a laptop.",
    )
    max_document_bytes: int = Field(
        default=32_768,
        ge=16,
        description="Of a longer document its first so many bytes, cut before a character, are scored; "
        "keeps one long document from deciding the whole.",
    )
    num_samples: int = Field(default=4, ge=0, description="Completions to generate; the first one has no prompt.")
    sample_tokens: int = Field(default=64, ge=1, description="Longest completion, in tokens.")
    sample_temperature: float = Field(default=0.8, ge=0, description="Of the samples; 0 is greedy.")
    prompt_words: int = Field(default=8, ge=1, description="A prompt is so many first words of a held-out document.")
    min_overlap_bytes: int = Field(
        default=32,
        ge=16,
        description="Shorter verbatim overlaps are not looked for: they are phrases, not memory.",
    )
    baselines: tuple[Literal["unigram", "ngram", "xz", "xz_trained"], ...] = Field(
        default=("unigram", "ngram", "xz", "xz_trained"),
        description="Measured in the same report; () for none. xz_trained is the slow one: 30 ms a document.",
    )
    ngram_order: int = Field(
        default=7, ge=1, le=8, description="Longest byte n-gram; 6 to 7 is the best on 1 to 8 MB of text."
    )
    max_training_bytes: int = Field(
        default=8 << 20,
        ge=1024,
        description="Baselines are fitted on a sample of at most so many training bytes.",
    )
    seed: int = Field(default=0, ge=0, description="Of the choice of prompts and of the sampling.")


def run(
    config: Config,
    model: LanguageModel,
    heldout: Sequence[EvalDocument],
    training_texts: TrainingTexts,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the model; `on_progress(scored, total)` is called after every few documents.

    Raises DataError when there is nothing to score or a doc_id comes twice. A document that the model
    gives no finite number for is a row with `nats: null`; then there is no overall number either.
    """
    chosen, counts = _choose(config, heldout)
    texts = [_cut(document.text, config.max_document_bytes) for document in chosen]
    data = [text.encode() for text in texts]
    counts["num_truncated"] = sum(text != document.text for text, document in zip(texts, chosen, strict=True))
    nats = _scored(model, texts, on_progress)
    prompts, prompt_ids = _prompts(config, chosen, texts)
    completions = (
        model.generate(
            prompts,
            max_new_tokens=config.sample_tokens,
            temperature=config.sample_temperature,
            seed=config.seed,
        )
        if prompts
        else []
    )
    sample, overlaps = _read_training(config, [text.encode() for text in completions], training_texts)
    baseline_nats, baselines = _baselines(config, sample, data)

    rows = [
        {
            "doc_id": document.doc_id,
            "source": document.source,
            "language": document.language,
            "bytes": len(data[index]),
            "nats": nats[index],
            "baseline_nats": {name: values[index] for name, values in baseline_nats.items()},
        }
        for index, document in enumerate(chosen)
    ]
    return {
        "kind": "evaluation",
        "suite": "heldout",
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "model": dict(model.describe()),
        **_total(rows),
        **counts,
        "by_source": _groups(rows, "source"),
        "by_language": _groups(rows, "language"),
        "baselines": baselines,
        "training_sample": sample.describe(),
        "samples": [
            {
                "prompt_doc_id": doc_id,
                "prompt_bytes": len(prompt.encode()),
                "completion_bytes": len(completion.encode()),
                "overlap": _overlap_row(overlap),
            }
            for doc_id, prompt, completion, overlap in zip(prompt_ids, prompts, completions, overlaps, strict=True)
        ],
        "documents": rows,
        "with_text": {
            "samples": [
                {
                    "prompt": prompt,
                    "completion": completion,
                    "overlap_text": _overlap_text(completion, overlap),
                }
                for prompt, completion, overlap in zip(prompts, completions, overlaps, strict=True)
            ]
        },
    }


def without_text(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result as it may leave the restricted store: numbers and ids only."""
    return {key: value for key, value in result.items() if key != "with_text"}


def _choose(config: Config, heldout: Sequence[EvalDocument]) -> tuple[list[EvalDocument], dict[str, int]]:
    ordered = sorted((document for document in heldout if document.text), key=lambda document: document.doc_id)
    for first, second in zip(ordered, ordered[1:], strict=False):
        if first.doc_id == second.doc_id:
            raise DataError(f"held-out document {first.doc_id} was given twice; pass each document once")
    if not ordered:
        raise DataError(
            f"there is no held-out text to score ({len(heldout)} documents given, all of them empty); "
            "raise the held-out share of the corpus or add documents"
        )
    chosen = ordered[: config.max_documents]
    return chosen, {
        "num_heldout": len(heldout),
        "num_empty": len(heldout) - len(ordered),
        "num_not_chosen": len(ordered) - len(chosen),
    }


def _cut(text: str, max_bytes: int) -> str:
    """The longest beginning of whole characters within `max_bytes` UTF-8 bytes."""
    data = text.encode()
    return text if len(data) <= max_bytes else data[:max_bytes].decode(errors="ignore")


def _scored(
    model: LanguageModel, texts: Sequence[str], on_progress: Callable[[int, int], None] | None
) -> list[float | None]:
    """Nats of each text; None where the model's number is not finite or not a log-probability."""
    nats: list[float | None] = []
    for begin in range(0, len(texts), 16):
        asked = texts[begin : begin + 16]
        answers = model.log_likelihoods(asked)
        if len(answers) != len(asked):
            raise DataError(f"the model scored {len(answers)} of {len(asked)} texts; every text needs a number")
        nats += [-float(value) if math.isfinite(value) and value <= 1e-6 else None for value in answers]
        if on_progress:
            on_progress(len(nats), len(texts))
    return nats


def _prompts(
    config: Config, chosen: Sequence[EvalDocument], texts: Sequence[str]
) -> tuple[list[str], list[str | None]]:
    """The first prompt is empty (start of a document); the others are beginnings of held-out documents."""
    if not config.num_samples:
        return [], []
    random = np.random.Generator(np.random.PCG64(config.seed))
    picked = random.permutation(len(chosen))[: config.num_samples - 1].tolist()
    prompts = [" ".join(texts[index][:1000].split()[: config.prompt_words]) for index in picked]
    return ["", *prompts], [None, *(chosen[index].doc_id for index in picked)]


def _read_training(
    config: Config, completions: Sequence[bytes], training_texts: TrainingTexts
) -> tuple[TrainingSample, list[Overlap | None]]:
    """One pass over the training text for both of its readers; none when nobody asks."""
    sample = TrainingSample(config.max_training_bytes)
    finder = OverlapFinder(completions, min_bytes=config.min_overlap_bytes)
    if config.baselines or completions:
        for doc_id, text in training_texts():
            data = text.encode()
            sample.add(doc_id, data)
            finder.add(doc_id, data)
    return sample, finder.results()


def _baselines(
    config: Config, sample: TrainingSample, documents: Sequence[bytes]
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Nats per document of each baseline, and each one's overall number with what it is."""
    training = sample.texts()
    nats: dict[str, list[float]] = {}
    totals: dict[str, float] = {}
    if "unigram" in config.baselines:
        nats["unigram"] = unigram_nats(training, documents)
    if "ngram" in config.baselines:
        nats["ngram"] = ngram_nats(training, documents, order=config.ngram_order)
    if "xz" in config.baselines:
        nats["xz"] = xz_nats(documents)
        totals["xz_together"] = xz_together_nats(documents)
    if "xz_trained" in config.baselines:
        trained = xz_trained_nats(training, documents)
        if trained is not None:
            nats["xz_trained"] = trained
    totals.update((name, math.fsum(values)) for name, values in nats.items())
    lengths = [len(document) for document in documents]
    table = {
        name: {
            "bits_per_byte": bits_per_byte([totals[name]], [sum(lengths)]),
            "per_document": name in nats,
            "training_bytes": sample.num_bytes if name in ("unigram", "ngram", "xz_trained") else 0,
            "note": note + (f", order {config.ngram_order}" if name == "ngram" else ""),
        }
        for name, note in BASELINE_NOTES.items()
        if name in totals
    }
    return nats, table


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    nats = [row["nats"] for row in rows]
    unscored = sum(value is None for value in nats)
    lengths = [row["bytes"] for row in rows]
    return {
        "bits_per_byte": None if unscored else bits_per_byte(nats, lengths),
        "num_documents": len(rows),
        "num_bytes": sum(lengths),
        "num_unscored": unscored,
    }


def _groups(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, Any]:
    names = sorted({row[column] for row in rows})
    return {name: _total([row for row in rows if row[column] == name]) for name in names}


def _overlap_row(overlap: Overlap | None) -> dict[str, Any] | None:
    if overlap is None:
        return None
    return {
        "doc_id": overlap.doc_id,
        "bytes": overlap.num_bytes,
        "completion_start": overlap.sample_start,
        "document_start": overlap.document_start,
    }


def _overlap_text(completion: str, overlap: Overlap | None) -> str | None:
    if overlap is None:
        return None
    part = completion.encode()[overlap.sample_start : overlap.sample_start + overlap.num_bytes]
    return part.decode(errors="replace")
