"""Damaged Greek and Latin inscriptions: our model beside a character 6-gram with a beam of 40, on the same holes.

    python benchmarks/infill.py [--short] [--holes development] [--home FOLDER] [--set train.0.tokens=2_000_000]

Makes the files (`ancient_texts.py`), curates and trains as the recipes `infill_ancient_texts` (literature and
inscriptions) and `infill_ancient_texts_inscriptions` (from that checkpoint) say, and fills holes of known length.
No text, group or near copy is on both sides, and the training text is cleaned against the holes with their context; the
hits are printed. The 6-gram has the same text, counted once, with the inscriptions as often as the model read them, and
with all the Latin there is, where ours has as much as there is Greek. --short trains on a part of the literature;
`make recipes` holds that against a band. What is done already is found in --home.
"""

import argparse
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.ancient_texts import LANGUAGES, literature, prepare
from benchmarks.store_salt import SALT
from datasets_pipeline import tokens as token_files
from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import Pool, open_pool
from evaluation.character_ngram import CharacterNgram
from evaluation.generation import TransformersModel
from evaluation.infill_scores import InfillScores, error_rate_interval, score_fillings
from evaluation.infilling import Filling, Hole, Infiller, Options
from ingot import manifest, registry, store_identity
from ingot.config import Recipe, recipe_digest
from ingot.ledger import Actor
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.recipe_files import load_recipe
from ingot.refs import CheckpointRef, TokensRef
from ingot.settings import Settings
from ingot.storage import Store
from tasks.starts import begun, find_start
from tasks.training import stage_fingerprint, with_seed
from training.job import StageOutput

ORDER, BEAM, TOP = 6, 40, 20
FULL_CHARACTERS = 8_300_000
"""Of each literature: what there is in Greek, and as much Latin, as half of the holes are Greek."""
SHORT = {"characters": 1_500_000, "tokens": 700_000, "inscription_tokens": 200_000}
Items = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "ingot-infill")
    parser.add_argument("--holes", choices=("test", "development"), default="test")
    parser.add_argument("--short", action="store_true", help="eight minutes at most")
    parser.add_argument("--no-ngram", action="store_true", help="leave the baseline out")
    parser.add_argument("--set", action="append", default=[], help="path=value of the first recipe")
    parser.add_argument("--set-second", action="append", default=[], help="path=value of the second recipe")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # Dask tells of every worker
    run(options)


def run(options: argparse.Namespace) -> None:
    home = options.home / ("short" if options.short else "full")
    first_set, second_set = pairs(options.set), pairs(options.set_second)
    characters = SHORT["characters"] if options.short else FULL_CHARACTERS
    if options.short:
        often = {"train.0.log_every_steps": "2"}  # a curve of some fifty steps
        first_set = {"train.0.tokens": str(SHORT["tokens"]), **often, **first_set}
        second_set = {"train.0.tokens": str(SHORT["inscription_tokens"]), **often, **second_set}
    os.environ["ANCIENT_TEXTS"] = str(home / "texts")
    if not (home / "texts/holes/test.jsonl").is_file():
        with timed("files"):
            print("\n".join(prepare(home / "texts", literature_characters=characters)))
    settings = Settings.from_environment({**os.environ, "INGOT_HOME": str(home)})
    store = Store(str(home / "store"), scratch_root=home / "scratch")
    if store_identity.initialise(store, salt=SALT) != SALT:
        raise SystemExit(f"the store in {home} holds other documents out than this measures; name another --home")
    first = load_recipe("infill_ancient_texts", first_set)
    second = load_recipe("infill_ancient_texts_inscriptions", second_set)
    numba_cache = home / "numba"
    with timed("data"), open_pool(settings.workers, scratch=settings.scratch, numba_cache=numba_cache) as pool:
        corpus = curated(store, first, settings, pool)
        tokenizer = token_files.train_tokenizer(store, corpus[1], first.tokenizer)
        tokens = token_files.tokenize(store, corpus[0], corpus[1], tokenizer, pool)
        inscriptions = curated(store, second, settings, pool)
        inscription_tokens = token_files.tokenize(store, inscriptions[0], inscriptions[1], tokenizer, pool)
    tell_hits(corpus[1])
    checkpoint = trained(store, home, first, tokens, None)
    # As `ingot build` would with the first part's model; here nothing is registered.
    second = load_recipe("infill_ancient_texts_inscriptions", {**second_set, "train.0.start": checkpoint.key})
    second = begun(second, find_start(store, second))
    checkpoint = trained(store, home, second, inscription_tokens, checkpoint)

    items = read_items(home / f"texts/holes/{options.holes}.jsonl")
    epochs = max(1, round(inscription_passes(second, inscription_tokens)))
    results: dict[str, list[list[str]]] = {}
    holes = [Hole(item["prefix"], item["suffix"], len(item["answer"])) for item in items]
    model = TransformersModel(Path(store.root) / checkpoint.key)
    with timed("Ingot"):
        results["Ingot"] = texts_of(Infiller(model, Options(beam=BEAM, top=TOP)).fill(holes))
    if not options.no_ngram:
        texts = training_texts(store, corpus[1])
        if not options.short:
            with timed("6-gram, all literature"):
                everything = [*weighted(texts, epochs, only="inscriptions"), *all_literature()]
                results["6-gram, all literature"] = filled_by(CharacterNgram(everything, order=ORDER), holes)
        for name, repeats in (("6-gram", 1), (f"6-gram, inscriptions {epochs} times", epochs)):
            with timed(name):
                ngram = CharacterNgram(weighted(texts, repeats), order=ORDER)
                results[name] = filled_by(ngram, holes)
        with timed("Ingot with a 6-gram"):
            results["Ingot with a 6-gram"] = texts_of(Infiller(model, Options(beam=BEAM, top=TOP), ngram).fill(holes))
    told = report(options, items, results)
    if options.json:
        told["data"] = {
            name: {"root_digest": found.identity.root_digest, "tokens": read.num_tokens}
            for (name, found), read in ((corpus, tokens), (inscriptions, inscription_tokens))
        }
        told["metrics"] = (home / "runs" / checkpoint.fingerprint / "metrics.jsonl").read_text().splitlines()
        options.json.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def curated(store: Store, recipe: Recipe, settings: Settings, pool: Pool) -> tuple[str, Manifest]:
    """(name, manifest) of a recipe's corpus version."""
    ref = curate(store, recipe, settings, pool, actor=Actor("service", "benchmark", "declared"))
    return ref.name, manifest.read(store, ref.corpus, ref.version)


def tell_hits(found: Manifest) -> None:
    for entry in found.identity.statistics.get("reports", {}).values():
        for name, told in entry["report"].items():
            print(
                f"decontamination against {told['searchable']} of {told['items']} {name} (the others are too short to "
                f"look for): {told['seen']} were seen, in {told['documents']} documents that were dropped, "
                f"by source {told['sources']}"
            )


def trained(
    store: Store, home: Path, recipe: Recipe, tokens: TokensRef, start: CheckpointRef | None
) -> CheckpointRef:
    """The last checkpoint of a recipe's stages, trained as a flow trains them."""
    for given in recipe.train:
        entry = with_seed(given, recipe)
        digest = stage_fingerprint(entry, recipe, tokens, start)
        output = StageOutput(
            store_root=store.root,
            fingerprint=digest,
            run_dir=home / "runs" / digest,
            recipe_digest=recipe_digest(recipe),
            scratch_root=home / "scratch",
        )
        started = time.perf_counter()
        start = registry.load("stage", entry.name).run(entry.config, start, tokens, output)
        assert start is not None
        seconds = time.perf_counter() - started
        lines = [json.loads(line) for line in (output.run_dir / "metrics.jsonl").read_text().splitlines()]
        print(
            f"{entry.name} on {tokens.corpus}: {start.num_parameters:,} parameters, {start.tokens_seen:,} tokens of "
            f"{tokens.num_tokens:,} ({tokens.num_bytes / tokens.num_tokens:.2f} bytes a token), loss "
            f"{lines[0]['loss']:.3f} to {lines[-1]['loss']:.3f} ({bits(lines[-1]['loss'], tokens):.2f} bits a byte), "
            f"{seconds:.0f} s"
            + (" (found)" if start.reused else f", {start.tokens_seen / seconds:,.0f} tokens/s")
        )
    assert start is not None
    return start


def bits(loss: float, tokens: TokensRef) -> float:
    """Nats a token as bits a byte; of rewritten windows, so only about those of the text."""
    return loss * tokens.num_tokens / (math.log(2) * tokens.num_bytes)


def inscription_passes(recipe: Recipe, tokens: TokensRef) -> float:
    return float(recipe.train[-1].config.tokens / tokens.num_tokens)


def texts_of(found: list[list[Filling]]) -> list[list[str]]:
    return [[filling.text for filling in fillings] for fillings in found]


def filled_by(ngram: CharacterNgram, holes: Sequence[Hole]) -> list[list[str]]:
    return [ngram.propose(hole, beam=BEAM)[:TOP] for hole in holes]


def weighted(texts: list[tuple[str, str]], repeats: int, only: str | None = None) -> list[tuple[str, int]]:
    """(text, how often it counts) of all sources or one."""
    chosen = [(source, text) for source, text in texts if only in (None, source)]
    return [(text, repeats if source == "inscriptions" else 1) for source, text in chosen]


def all_literature() -> Iterator[tuple[str, int]]:
    """What there is of both languages, as it comes: not cleaned, so if anything the 6-gram has too much."""
    for tag, name in LANGUAGES.items():
        for piece in literature(name.lower(), tag, None):
            yield piece["text"], 1


def training_texts(store: Store, found: Manifest) -> list[tuple[str, str]]:
    """(source, text) of what was trained on."""
    texts: list[tuple[str, str]] = []
    for shard in found.identity.shards:
        if shard.split == "train":
            table = read_table(store, f"shards/{shard.sha256}.parquet", columns=["source", "text"])
            texts += zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True)
    return texts


def read_items(path: Path) -> Items:
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(options: argparse.Namespace, items: Items, results: dict[str, list[list[str]]]) -> dict[str, Any]:
    """Print the table; the numbers."""
    answers = [item["answer"] for item in items]
    sets = {name: [n for n, item in enumerate(items) if item["language"] == tag] for tag, name in LANGUAGES.items()}
    sets["both"] = list(range(len(items)))
    told: dict[str, Any] = {}
    print(f"\n{options.holes} holes of known length; no accents, lower case; character error rate, 90 % interval")
    for name, rows in sets.items():
        print(f"\n{name}, {len(rows)} holes")
        for method, fillings in results.items():
            own, asked = [fillings[n] for n in rows], [answers[n] for n in rows]
            scores = score_fillings(own, asked)
            low, high = error_rate_interval(own, asked)
            print(
                f"  {method:36s} CER {scores.character_error_rate:.3f} ({low:.3f} to {high:.3f})"
                f"  top-1 {scores.top_1:6.1%}  top-{TOP} {scores.top_k:6.1%}"
            )
            told[f"{name}, {method}"] = {**as_numbers(scores), "interval": [low, high]}
        for better, worse in versus(results):
            low, high = error_rate_interval(
                [results[better][n] for n in rows], [answers[n] for n in rows], than=[results[worse][n] for n in rows]
            )
            print(f"  {better} is lower than {worse} by {low:.3f} to {high:.3f}")
            told[f"{name}, {better} below {worse}"] = [low, high]
    return told


def versus(results: dict[str, list[list[str]]]) -> Iterator[tuple[str, str]]:
    """Each of ours against each 6-gram."""
    for better in results:
        for worse in results:
            if better.startswith("Ingot") and worse.startswith("6-gram"):
                yield better, worse


def as_numbers(scores: InfillScores) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(scores).items()}


def pairs(settings: Sequence[str]) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in settings)


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
