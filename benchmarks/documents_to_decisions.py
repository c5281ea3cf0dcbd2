"""Documents to decisions on one core: every feature, every rule, the signature; beside datatrove with --peer-python.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install datatrove==0.10.1 spacy tokenizers regex 'xxhash<4'
    python benchmarks/documents_to_decisions.py --peer-python /tmp/peer/bin/python [--rounds 5]

Ours is what a night does between acquisition and deduplication: it reads the stored documents, computes all features,
the spans of every span rule and signatures of 112 permutations, writes them, reads them back and lets every rule
that needs no option (and `language`) judge every document. datatrove does its Gopher quality, Gopher repetition, C4
and FineWeb filters (without C4's end marks, as FineWeb does) and its MinHash signature of 112 hashes on a part of
the same English documents, without reading or writing anything: as shipped, and patched (words by spaCy's
`nlp.make_doc`, no memory zone). Every document goes through every filter on both sides. Processor time; medians of
interleaved rounds.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from peers import DOCUMENTS, Peer, labelled_texts, num_megabytes
from pydantic import ValidationError
from store_salt import SALT

from datasets_pipeline.acquire import SourceSnapshot, units_of
from datasets_pipeline.analyse import analyse
from datasets_pipeline.census import take_census
from datasets_pipeline.curate import acquire_source
from datasets_pipeline.dedup import minhash
from datasets_pipeline.exchange import workplace
from datasets_pipeline.features import compute_features
from datasets_pipeline.judged_parts import judge_all, judging
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.snapshot import open_units
from ingot import registry, store_identity
from ingot.config import Recipe, parse_recipe
from ingot.settings import Settings
from ingot.storage import Store

_PEER = r"""
import json, sys, tempfile, time
from importlib.metadata import version
texts = json.loads(sys.stdin.readline())
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter)
from datatrove.utils.word_tokenizers import SpaCyTokenizer, strip_strings
filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False),
           FineWebQualityFilter()]
stage = MinhashDedupSignature(output_folder=tempfile.mkdtemp(), config=MinhashConfig(num_buckets=14))
assert stage.num_hashes == 112
shipped = SpaCyTokenizer.word_tokenize, SpaCyTokenizer.sent_tokenize

def words(self, text):
    self.tokenizer.max_length = len(text) + 10
    return strip_strings([token.text for token in self.tokenizer.make_doc(text)])

def sentences(self, text):
    self.tokenizer.max_length = len(text) + 10
    document = self.tokenizer.get_pipe("sentencizer")(self.tokenizer.make_doc(text))
    return strip_strings([sentence.text for sentence in document.sents])

def run():
    for text in texts:
        for each in filters:
            each.filter(Document(text=text, id=""))
        stage.get_signature(stage.get_shingles(text))

def as_shipped():
    SpaCyTokenizer.word_tokenize, SpaCyTokenizer.sent_tokenize = shipped
    run()

def patched():
    SpaCyTokenizer.word_tokenize, SpaCyTokenizer.sent_tokenize = words, sentences
    run()

everything, texts = texts, texts[:2]
as_shipped()
texts = everything
serve({"as shipped": as_shipped, "patched": patched}, {n: version(n) for n in ("datatrove", "spacy")})
"""


def main() -> None:
    """Rounds of both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=Path, default=DOCUMENTS)
    parser.add_argument("--peer-python", help="Python of an environment with datatrove and spaCy")
    parser.add_argument("--megabytes", type=float, help="how much text to measure on; default: all")
    parser.add_argument("--peer-megabytes", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.documents.is_file():
        parser.error(
            f"{options.documents} does not exist; name a JSONL file with 'text' and 'lang', or a tar.xz of one"
        )
    rows = labelled_texts(options.documents, options.megabytes)
    megabytes = num_megabytes([text for _, text in rows])
    part = [text for language, text in labelled_texts(options.documents, options.peer_megabytes) if language == "en"]
    # One process each: words that the patched one keeps in memory would speed up the other.
    peers = (
        {name: Peer(options.peer_python, _PEER, part) for name in ("as shipped", "patched")}
        if options.peer_python
        else {}
    )

    ours: dict[str, list[float]] = {"language stated": [], "language detected": []}
    parts: dict[str, list[float]] = {"features alone": [], "signatures alone": []}
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    with tempfile.TemporaryDirectory() as folder:
        nights = {name: _Night(Path(folder) / name[9:], rows, stated=name.endswith("stated")) for name in ours}
        column = pa.array([text for _, text in rows], pa.large_string())
        media, stated = pa.array(["text/plain"] * len(rows)), pa.array([language for language, _ in rows])
        for night in nights.values():
            night.run()  # machine code on a first run
        for _ in range(options.rounds):
            for name, night in nights.items():
                ours[name].append(megabytes / night.run())
            parts["features alone"].append(megabytes / _seconds(lambda: compute_features(column, media, stated)))
            parts["signatures alone"].append(megabytes / _seconds(lambda: minhash.signatures(column)))
            for name, rates in theirs.items():
                rates.append(num_megabytes(part) / peers[name].seconds(name))
        print(f"{len(rows):,} documents, {megabytes:.1f} MB, rules: {', '.join(nights['language stated'].rules)}")
    for name, rates in {**ours, **parts}.items():
        print(f"{name:20s} {statistics.median(rates):8.2f} MB/s per core ({min(rates):.2f} to {max(rates):.2f})")
    if peers:
        print(f"{len(part):,} of them, {num_megabytes(part):.2f} MB, for {peers['patched'].versions}")
    for name, rates in theirs.items():
        ratios = [a / b for a, b in zip(ours["language stated"], rates, strict=True)]
        print(
            f"datatrove {name:10s} {statistics.median(rates):8.3f} MB/s per core, "
            f"ratio {statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
        )
        peers[name].close()


class _Night:
    """Documents acquired into a store of their own, to be analysed and judged again and again."""

    def __init__(self, folder: Path, rows: list[tuple[str, str]], *, stated: bool) -> None:
        source = folder / "source"
        source.mkdir(parents=True)
        with (source / "documents.jsonl").open("w", encoding="utf-8") as lines:
            for language, text in rows:
                lines.write(json.dumps({"text": text, "lang": language}) + "\n")
        self.recipe = _recipe(source, stated=stated)
        self.rules = [rule.rule for rule in self.recipe.rules]
        settings = Settings.from_environment({"INGOT_HOME": str(folder / "home"), "INGOT_SOURCE_ROOTS": str(source)})
        self._store = Store(str(folder / "store"), scratch_root=settings.scratch)
        store_identity.initialise(self._store, salt=SALT)
        self._pool = InProcessPool()
        now = datetime(2026, 11, 28, tzinfo=UTC)
        self._snapshots: list[SourceSnapshot] = [
            acquire_source(self._store, entry, settings, self._pool, now=now) for entry in self.recipe.sources
        ]
        self._units = units_of(self._store, self._snapshots)
        self._open = open_units(self._store, self.recipe.sources, self._snapshots)

    def run(self) -> float:
        """Processor seconds from stored documents to every rule's judgement."""
        for prefix in ("features/", "spans/"):
            for key in list(self._store.list(prefix)):
                self._store.delete(key)
        return _seconds(self._decide)

    def _decide(self) -> None:
        analyse(self._store, self._units, self.recipe.rules, self._pool)
        with workplace(self._store, "decide") as place:
            census = take_census(place, self._open, self._pool)
            work = judging(place, self.recipe, census, len(self._open), bytes(16))
            judge_all(work, self._open, self._pool)


def _recipe(source: Path, *, stated: bool) -> Recipe:
    """Every rule that needs no option, and the language rule."""
    rules: list[dict[str, Any]] = [{"rule": "language", "keep": ["en", "de", "fr", "es"]}]
    for name in registry.names("rule"):
        with suppress(ValidationError):
            registry.load("rule", name).Config()
            rules.append({"rule": name})
    entry = {"name": "docs", "source": "jsonl", "uri": str(source), "text_column": "text"}
    return parse_recipe(
        {
            "corpus": "measured",
            "sources": [{**entry, "language_column": "lang"} if stated else entry],
            "rules": rules,
            "tokenizer": {"vocab_size": 300},
        }
    )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
