"""Find evaluation items in documents: a model must not be measured with what it was trained on.

- rule: decontamination
  benchmarks:
    - {name: gsm8k, uri: evaluation/gsm8k_test.jsonl, text: [question, answer]}
    - {name: humaneval, uri: "evaluation/humaneval*.jsonl.gz", text: "{prompt}{canonical_solution}"}
  policy: drop

n-gram overlap as in Brown et al. 2020 (arXiv:2005.14165, appendix C): 13 words in common are a hit, texts of 8 to 12
words are matched whole, shorter ones are not looked for. Words are normalised as datatrove's decontamination does
(lower case, numbers alike, no punctuation, no diacritics), letters of scripts without spaces are words. As with
datatrove, n-grams of the question, of the answer and of both in a row count. By default any hit drops the document,
as in both; `min_share` asks for a share of the question's, the answer's or the whole item's n-grams instead, in the
manner of Lambert et al. 2024 (arXiv:2411.15124), who ask for half of an item's tokens in 8-grams.

Two kinds of n-grams prove nothing and are left out: those of which most words are numbers (numbers being alike), and
those that stand in more than ten items of their benchmark (its template), as Brown et al. leave out frequent ones.

Cost: about 70 MB/s of clean text a core; an index of all benchmarks in every worker, about 100 bytes a word of theirs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.decontamination.evaluation_files import (
    EvaluationFile,
    files_digest,
    list_evaluation_files,
    read_items,
)
from datasets_pipeline.decontamination.ngram_index import NgramIndex, utf8_buffers
from datasets_pipeline.rules.verdicts import Bools, Check, Floats, Verdicts, first_failing
from datasets_pipeline.sources.record_values import template_fields
from ingot.errors import DataError
from ingot.schemas import SPAN

VERSION = "1"
KIND = "span"
LANGUAGES = None
"""Valid everywhere: an item in any language is matched as it stands."""

SPAN_KIND = "contaminated"

ITEM = pa.struct(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),  # from 1, in the order of the files
        pa.field("found", pa.int32(), nullable=False),  # distinct n-grams of the item that stand in the document
        pa.field("total", pa.int32(), nullable=False),  # distinct n-grams of the item: of its question, answer, or both
    ]
)


class Benchmark(BaseModel):
    """Evaluation files of one benchmark."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="What reports and versions call the benchmark."
    )
    uri: str = Field(
        min_length=1,
        description="A file here, a folder of files, or a glob: JSON lines, JSON arrays, CSV, TSV, Parquet, plain text "
        "(an item a paragraph); also .gz, .bz2, .xz, .zst. Relative to the recipe.",
    )
    text: tuple[str, ...] | str | None = Field(
        default=None,
        description="Columns of an item's texts in order ([question, answer]), or a template ('{prompt}{solution}'), "
        "which is one text. A path leads into nested values: question.*.content. Null for plain text.",
    )

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        if text is not None and (not text or not all(text)):
            raise ValueError("names no column; write [question, answer] or a template")
        if isinstance(text, str) and "{" in text:
            template_fields(text)
        return text


class Config(BaseModel):
    """Options of `- rule: decontamination`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, description="What the corpus is cleaned against.")
    policy: Literal["drop", "cut"] = Field(
        default="drop",
        description="drop drops documents that hold an item; cut deletes from them what they have in common with it.",
    )
    ngram_words: int = Field(default=13, ge=4, le=64, description="Words of an n-gram (published: 13).")
    min_words: int = Field(
        default=8, ge=3, le=64, description="Words from which a shorter text of an item is matched whole (8)."
    )
    min_share: float | None = Field(
        default=None, gt=0, le=1, description="Share of an item's n-grams from which it counts; null: any one."
    )
    max_items: int | None = Field(
        default=10, ge=1, description="An n-gram in more items of a benchmark is template, no hit; null: a hit."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        names = [benchmark.name for benchmark in self.benchmarks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"benchmark {', '.join(twice)} appears twice; give each a name of its own")
        if self.min_words > self.ngram_words:
            raise ValueError(
                f"min_words {self.min_words} is above ngram_words {self.ngram_words}; a text of that length has n-grams"
            )
        return self


def inputs(config: Config) -> dict[str, str]:
    """{benchmark: SHA-256 of its file}; of several files, the digest of the list of theirs."""
    return {b.name: files_digest(list_evaluation_files(b.name, b.uri)) for b in config.benchmarks}


def edits(config: Config) -> bool:
    """Whether these options take something out of texts."""
    return config.policy == "cut"


def drops(config: Config) -> bool:
    """Whether these options drop documents."""
    return config.policy == "drop"


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """spans to delete (policy cut), `num_items.<benchmark>` that count, `items`: list<ITEM> of all that were hit."""
    index = _index_of(config)
    data, offsets = utf8_buffers(documents["text"])
    names = [benchmark.name for benchmark in config.benchmarks]
    num_items = np.zeros((len(names), len(documents)), np.int32)
    spans: list[list[dict[str, Any]]] = [[] for _ in range(len(documents))]
    items: list[list[dict[str, Any]]] = [[] for _ in range(len(documents))]
    for row, found in index.grams.search(data, offsets).items():
        benchmark = np.searchsorted(index.first_items, found.items, side="right") - 1
        counts = _counts(config, found.found, found.totals)
        num_items[:, row] = np.bincount(benchmark[counts], minlength=len(names))
        items[row] = [
            {"benchmark": names[b], "item": item - index.first_items[b] + 1, "found": num, "total": total}
            for b, item, num, total in zip(
                benchmark.tolist(), found.items.tolist(), found.found.tolist(), found.totals.tolist(), strict=True
            )
        ]
        if config.policy == "cut" and counts.any():
            start, end = int(offsets[row]), int(offsets[row + 1])
            bounds = index.grams.spans(data, start, end, found, found.items[counts])
            spans[row] = [_span(a, b) for a, b in bounds.tolist()]
    return pa.table(
        {
            "spans": pa.array(spans, pa.list_(SPAN)),
            **{f"num_items.{name}": num_items[place] for place, name in enumerate(names)},
            "items": pa.array(items, pa.list_(ITEM)),
        }
    )


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """Reason contaminated; the score is the largest share of an item's n-grams, the threshold min_share or 0."""
    score = np.zeros(len(found))
    owner, _, num, total = _flat(found["items"])
    np.maximum.at(score, owner, num / np.maximum(total, 1))
    counted = np.zeros(len(found), bool)
    counted[owner[_counts(config, num, total)]] = True
    failed = counted & (config.policy == "drop")
    check = Check("contaminated", failed, score, np.full(len(score), config.min_share or 0.0))
    return first_failing([check], np.ones(len(score), bool))


def report(config: Config, features: pa.Table, found: pa.Table, judged: Bools) -> dict[str, Any]:
    """By benchmark: its items, those one can look for, numbers of those seen in these documents, where. No text.

    Numbers are from 1 in the order of the files. `sum_reports` puts those of several sets of documents together.
    """
    index = _index_of(config)
    searchable = index.grams.is_searchable
    owner, items, num, total = _flat(found["items"])
    counts = _counts(config, num, total) & judged[owner]
    owner, rows = owner[counts], np.flatnonzero(counts)
    names = pc.struct_field(items, "benchmark").take(pa.array(rows))
    numbers = pc.struct_field(items, "item").take(pa.array(rows)).to_numpy(zero_copy_only=False)
    sources = features["source"]
    answer: dict[str, Any] = {}
    for place, benchmark in enumerate(config.benchmarks):
        mine = pc.equal(names, benchmark.name).to_numpy(zero_copy_only=False)
        documents = np.unique(owner[mine])
        by_source = pc.value_counts(sources.take(pa.array(documents, pa.int64()))).to_pylist()
        first, last = index.first_items[place], index.first_items[place + 1]
        seen = np.unique(numbers[mine])
        answer[benchmark.name] = {
            "items": int(last - first),
            "searchable": int(searchable[first:last].sum()),
            "documents": len(documents),
            "sources": {row["values"]: row["counts"] for row in by_source},
            "numbers": seen.tolist(),
        }
    return answer


def sum_reports(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The reports of distinct sets of documents as one; `numbers` as ranges."""
    total: dict[str, Any] = {}
    for benchmark, first in reports[0].items():
        seen = sorted({number for report in reports for number in report[benchmark]["numbers"]})
        sources: Counter[str] = Counter()
        for report in reports:
            sources.update(report[benchmark]["sources"])
        total[benchmark] = {
            "items": first["items"],
            "searchable": first["searchable"],
            "seen": len(seen),
            "documents": sum(report[benchmark]["documents"] for report in reports),
            "sources": dict(sorted(sources.items())),
            "numbers": _ranges(seen),
        }
    return total


class _Index:
    """The items of all benchmarks, and where each benchmark's begin."""

    def __init__(self, config: Config, files: Sequence[Sequence[EvaluationFile]]) -> None:
        read = [
            read_items(benchmark.name, own, benchmark.text)
            for benchmark, own in zip(config.benchmarks, files, strict=True)
        ]
        for benchmark, items in zip(config.benchmarks, read, strict=True):
            if not any(items):
                raise DataError(f"benchmark {benchmark.name}: {benchmark.uri} holds no text; give the right files")
        self.first_items: list[int] = [0, *np.cumsum([len(items) for items in read]).tolist()]
        self.grams = NgramIndex(read, n=config.ngram_words, min_words=config.min_words, max_items=config.max_items)


def _index_of(config: Config) -> _Index:
    files = tuple(tuple(list_evaluation_files(b.name, b.uri)) for b in config.benchmarks)
    return _index(config, tuple(tuple((file.path, file.state) for file in own) for own in files))


@lru_cache(maxsize=2)
def _index(config: Config, states: object) -> _Index:
    """One index a process: states tells when a file is another one than it was."""
    return _Index(config, [list_evaluation_files(b.name, b.uri) for b in config.benchmarks])


def _counts(config: Config, found: np.ndarray, totals: np.ndarray) -> Bools:
    """bool [n]: whether so much of an item is enough."""
    return np.ones(len(found), bool) if config.min_share is None else found / totals >= config.min_share


def _span(start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end, "kind": SPAN_KIND, "replacement": None, "keyed_hash": None}


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.StructArray, Floats, Floats]:
    """(row of each item, items, found, total) of a list<ITEM> column."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    owner = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    items = pc.list_flatten(array)
    found, total = (pc.struct_field(items, name).to_numpy(zero_copy_only=False) for name in ("found", "total"))
    return owner, items, found.astype(np.float64), total.astype(np.float64)


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 -> "1-3, 7"; the numbers ascend."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
