"""Our rules beside datatrove's filters on the same English text, verdict by verdict.

    python benchmarks/rule_parity.py [--raw] [--documents 4000] [--megabytes 30]
    python benchmarks/rule_parity.py --speed

The first needs datatrove's extra (`pip install 'ingot[datatrove]'`); its tokenizer runs without spaCy's memory zone,
which changes no word. Each document with another verdict or text is put into a class by what explains it: datatrove's
filter is run again on our words; when it then agrees, the difference is how words are split.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from datasets_pipeline import extract
from datasets_pipeline.edits import apply_spans
from datasets_pipeline.extract import ExtractOptions
from datasets_pipeline.features import compute_features
from datasets_pipeline.features.language import normalize_language
from datasets_pipeline.rules import c4_quality, fineweb_quality, gopher_quality, gopher_repetition, nemo_heuristics
from datasets_pipeline.sources.base import ExtractionError

SHARED = Path(__file__).parents[2] / "shared" / "data"
RULES: dict[str, ModuleType] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "c4_quality": c4_quality,
    "fineweb_quality": fineweb_quality,
    "nemo_heuristics": nemo_heuristics,
}
FINEWEB_C4 = {"filter_no_terminal_punct": False}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="MB/s per core of the C4 rule instead of parity")
    parser.add_argument("--documents", type=int, default=100_000, help="English documents to compare, at most")
    parser.add_argument("--megabytes", type=float, default=40.0, help="English text to compare, at most")
    parser.add_argument("--raw", action="store_true", help="raw Markdown and HTML pages instead of near_duplicates")
    options = parser.parse_args()
    if options.speed:
        print_speed(english(options.documents, options.megabytes, raw=options.raw))
    else:
        print_parity(english(options.documents, options.megabytes, raw=options.raw))


def english(documents: int, megabytes: float, *, raw: bool) -> list[str]:
    """Texts of the near_duplicates collection, or of raw Markdown and HTML pages as extracted; equal ones once."""
    found: dict[str, None] = {}
    size = 0.0
    for text in (page.text for page in raw_pages({"en"})) if raw else _near_duplicates():
        if len(found) >= documents or size > megabytes * 1e6:
            break
        if text not in found:
            size += len(text.encode())
            found[text] = None
    return list(found)


def _near_duplicates() -> Iterator[str]:
    with tarfile.open(SHARED / "near_duplicates" / "docs.tar.xz") as archive:
        for line in archive.extractfile("docs.jsonl") or ():
            row = json.loads(line)
            if row["lang"] == "en":
                yield row["text"]


class Page(NamedTuple):
    """A raw page as it is extracted; its translations have the same name."""

    source: str
    name: str
    language: str
    text: str


def raw_pages(languages: set[str] | None, sources: tuple[str, ...] | None = None) -> Iterator[Page]:
    """The raw pages in Markdown and HTML."""
    with gzip.open(SHARED / "raw_documents" / "manifest.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    kinds = (".md", ".mdx", ".html")
    for source in sorted({row["source"] for row in rows if sources is None or row["source"] in sources}):
        wanted = {
            f"{source}/{row['path']}": row
            for row in rows
            if row["source"] == source and row["path"].endswith(kinds) and row["lang"]
        }
        with tarfile.open(SHARED / "raw_documents" / f"{source}.tar.xz") as archive:
            for member in archive:
                row = wanted.get(member.name)
                language = normalize_language(row["lang"]) if row else None
                if row is None or language is None or (languages is not None and language not in languages):
                    continue
                data = archive.extractfile(member)
                try:
                    pages = extract.extract(data.read() if data else b"", member.name, None, ExtractOptions())
                except ExtractionError:
                    continue
                for document in pages.documents:
                    text = extract.normalize_text(document.text)
                    yield Page(source, f"{row['family']}@{row['version']}", language, text)


def judged_table(texts: list[str], languages: list[str]) -> pa.Table:
    """What rules read of Markdown texts."""
    num = len(texts)
    media = pa.array(["text/markdown"] * num)
    column = pa.array(texts, pa.large_string())
    features = compute_features(column, media, pa.array(languages))
    extra = {"text": column, "doc_id": pa.array([bytes(16)] * num), "uri": pa.array(["page"] * num)}
    for name, values in extra.items():
        features = features.append_column(name, values)
    return features


def ours(name: str, table: pa.Table, options: dict[str, Any]) -> tuple[list[str | None], list[str], list[bool]]:
    """(reason, text after the edits, judged) by row."""
    rule = RULES[name]
    config = rule.Config.model_validate(options)
    texts = table["text"].to_pylist()
    if rule.KIND == "span":
        found = rule.find_spans(config, table, b"")
        verdicts = rule.judge(config, table, found)
        texts = [apply_spans(text, spans) for text, spans in zip(texts, found["spans"].to_pylist(), strict=True)]
    else:
        verdicts = rule.judge(config, table)
    return verdicts.reason.to_pylist(), texts, [not a for a in verdicts.abstained.to_pylist()]


def print_parity(texts: list[str]) -> None:
    """One row a rule: documents, agreement, and the differences by class."""
    from datatrove.pipeline import filters

    from datasets_pipeline.rules import datatrove as adapter

    adapter._patch()
    pairs: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("gopher_quality", "gopher_quality", filters.GopherQualityFilter(), {}),
        ("gopher_repetition", "gopher_repetition", filters.GopherRepetitionFilter(), {}),
        ("fineweb_quality", "fineweb_quality", filters.FineWebQualityFilter(), {}),
        ("c4_quality", "c4_quality", filters.C4QualityFilter(), {}),
        ("c4_quality, as FineWeb", "c4_quality", filters.C4QualityFilter(**FINEWEB_C4), FINEWEB_C4),
        (
            "c4_quality, without the brace check",
            "c4_quality",
            filters.C4QualityFilter(filter_curly_bracket=False),
            {"filter_curly_bracket": False},
        ),
    ]
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} English documents, {size:.1f} MB\n")
    table = judged_table(texts, ["en"] * len(texts))
    print("| rule | datatrove drops | same verdict | same reason | same text | differences |")
    print("|---|---|---|---|---|---|")
    for label, name, published, options in pairs:
        reasons, edited, _ = ours(name, table, options)
        theirs = [_published(published, text) for text in texts]
        other_reason = [k for k, (reason, _) in enumerate(theirs) if reason != reasons[k]]
        other_verdict = [k for k in other_reason if (theirs[k][0] is None) != (reasons[k] is None)]
        edits = [k for k in range(len(texts)) if theirs[k][0] is None and reasons[k] is None]
        other_text = [k for k in edits if theirs[k][1] != edited[k]]
        classes = Counter(_class_of(published, texts[k], theirs[k], reasons[k]) for k in other_reason)
        told = "; ".join(f"{num} {what}" for what, num in sorted(classes.items())) or "none"
        same_text = f"{1 - len(other_text) / max(1, len(edits)):.2%}" if name == "c4_quality" else ""
        dropped = sum(reason is not None for reason, _ in theirs)
        print(
            f"| {label} | {dropped:,} | {1 - len(other_verdict) / len(texts):.3%} "
            f"| {1 - len(other_reason) / len(texts):.3%} | {same_text} | {told} |"
        )


def _published(block: Any, text: str) -> tuple[str | None, str]:
    """(reason or None, text afterwards) of datatrove's filter."""
    from datatrove.data import Document

    document = Document(text=text, id="0")
    try:
        answer = block.filter(document)
    except ZeroDivisionError:
        return "division by zero", text
    return (None, document.text) if answer is True else (answer[1], text)


def _class_of(block: Any, text: str, theirs: tuple[str | None, str], reason: str | None) -> str:
    """Which class a different reason belongs to."""
    from datatrove.utils import text as texts
    from datatrove.utils import word_tokenizers

    from tests.features.reference_words import reference_words

    class OurWords:
        word_tokenize = staticmethod(reference_words)

        @staticmethod
        def span_tokenize(line: str) -> list[tuple[int, int]]:
            raise NotImplementedError

    shipped = word_tokenizers.load_word_tokenizer
    word_tokenizers.load_word_tokenizer = lambda language: OurWords()
    texts.split_into_parts.cache_clear()
    try:
        again = _published(block, text)[0]
    except NotImplementedError:
        return f"sentences ({theirs[0]} / {reason})"
    finally:
        word_tokenizers.load_word_tokenizer = shipped
        texts.split_into_parts.cache_clear()
    what = "word splitting" if again == reason else "unexplained"
    return f"{what} ({theirs[0]} / {reason})"


def print_speed(texts: list[str]) -> None:
    """Processor time of the C4 rule, as published and as FineWeb sets it, beside datatrove's filter on a part."""
    table = judged_table(texts, ["en"] * len(texts))
    size = sum(len(text.encode()) for text in texts) / 1e6
    for label, options in (("as published", {}), ("as FineWeb", FINEWEB_C4)):
        config = c4_quality.Config.model_validate(options)
        seconds = _seconds(lambda config=config: c4_quality.find_spans(config, table, b""))  # type: ignore[misc]
        print(f"c4_quality, {label}: {size / seconds:.0f} MB/s of processor time ({size:.1f} MB, median of 5)")


def _seconds(run: Callable[[], Any]) -> float:
    run()
    taken = []
    for _ in range(5):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
