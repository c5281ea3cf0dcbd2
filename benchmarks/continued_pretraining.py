"""What continued pre-training gains on a new domain and loses on the old one, with and without replay.

    python benchmarks/continued_pretraining.py [--seeds 0 1 2] [--share 0.1] [--tokens 300_000] [--json FILE]

Curates the corpora of recipes/demo.yaml (documentation) and recipes/continued_pretraining.yaml (source code) into a
store of its own, trains the demo's model on the first, and goes on from it on the second, once without and once with
a replay share of the first. Prints bits per byte on the documents held out of each corpus, mean and range over the
seeds; lower is better. Each training and each measurement says how long it took.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.store_salt import SALT  # noqa: E402
from datasets_pipeline import tokens as token_files  # noqa: E402
from datasets_pipeline.curate import curate  # noqa: E402
from datasets_pipeline.parallel import InProcessPool, Pool  # noqa: E402
from evaluation.generation import TransformersModel  # noqa: E402
from evaluation.suites import heldout  # noqa: E402
from ingot import manifest, registry, store_identity  # noqa: E402
from ingot.config import Recipe, recipe_digest  # noqa: E402
from ingot.ledger import Actor  # noqa: E402
from ingot.recipe_files import load_recipe  # noqa: E402
from ingot.refs import CheckpointRef, CorpusRef, MixtureRef, TokensRef  # noqa: E402
from ingot.settings import Settings  # noqa: E402
from ingot.storage import Store  # noqa: E402
from tasks.evaluation import heldout_documents, local_checkpoint, training_texts  # noqa: E402
from tasks.mixtures import mixed  # noqa: E402
from tasks.starts import begun, find_start  # noqa: E402
from tasks.training import stage_fingerprint, with_seed  # noqa: E402
from training.job import StageOutput  # noqa: E402

SCORES_ONLY = {"baselines": [], "num_samples": 0, "max_document_bytes": 4096}
"""Of a document its first 4 KB: long source files would take longer to score than the models to train."""


def main() -> None:
    """Train and measure for each seed; print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--share", type=float, default=0.1, help="replay share of the third model")
    options.add_argument("--tokens", type=int, default=300_000, help="of continued pre-training")
    options.add_argument("--base-tokens", type=int, default=600_000, help="of the first model")
    options.add_argument("--threads", type=int, default=None, help="processor threads of a rank and of scoring")
    options.add_argument("--folder", type=Path, default=None, help="where the store is kept: a second start goes on")
    options.add_argument("--json", type=Path, default=None, help="file for the numbers")
    arguments = options.parse_args()
    # Read by torch when it is imported, for the first evaluation; spinning threads would wait for each other.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if arguments.threads:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(arguments.folder or Path(name), arguments.threads)
        found = [measure_seed(bench, seed, arguments) for seed in arguments.seeds]
        corpora = {c.name: {"root_digest": c.root_digest, "held_out": c.num_heldout} for c in bench.corpora.values()}
    show(found, arguments)
    if arguments.json:
        record = {
            "benchmark": "continued_pretraining", "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "corpora": corpora,
            "share": arguments.share, "tokens": arguments.tokens, "base_tokens": arguments.base_tokens, "seeds": found,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


class Bench:
    """A store with both corpora, and what has been trained in it."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        self.folder, self.threads = folder, threads
        self.store = Store(str(folder / "store"), scratch_root=folder / "scratch")
        store_identity.initialise(self.store, salt=SALT)
        self.pool: Pool = InProcessPool()
        settings = Settings.from_environment({"INGOT_HOME": str(folder / "home")})
        self.corpora: dict[str, CorpusRef] = {}
        for recipe in (load_recipe("demo"), load_recipe("continued_pretraining")):
            self.corpora[recipe.corpus] = ref = curate(
                self.store, recipe, settings, self.pool, actor=Actor("person", "a benchmark", "declared")
            )
            print(f"{ref.name}: {ref.num_documents:,} documents, {ref.num_heldout:,} held out", flush=True)

    def tokenize(self, corpus: CorpusRef, recipe: Recipe, tokenizer: token_files.TokenizerRef | None) -> TokensRef:
        """Token files of a corpus; without a tokenizer one is trained first."""
        found = manifest.read(self.store, corpus.corpus, corpus.version)
        tokenizer = tokenizer or token_files.train_tokenizer(self.store, found, recipe.tokenizer)
        return token_files.tokenize(self.store, corpus.name, found, tokenizer, self.pool)

    def train(self, recipe: Recipe) -> CheckpointRef:
        """The recipe's one stage, from fresh weights or from its start."""
        start = find_start(self.store, recipe)
        recipe = begun(recipe, start)
        own = self.tokenize(self.corpora[recipe.corpus], recipe, start.tokenizer if start else None)
        tokenizer = token_files.tokenizer_of(own)
        entry = with_seed(recipe.train[0], recipe)
        data: TokensRef | MixtureRef | None = mixed(
            self.store, entry, own, lambda corpus: self.tokenize(corpus, recipe, tokenizer)
        )
        assert data is not None, "every corpus was tokenized"
        digest = stage_fingerprint(entry, recipe, data, start.checkpoint if start else None)
        output = StageOutput(
            self.store.root, digest, self.folder / "runs" / digest, recipe_digest(recipe), threads=self.threads,
            scratch_root=self.folder / "scratch",
        )  # fmt: skip
        module = registry.load("stage", entry.name)
        began = time.perf_counter()
        trained: CheckpointRef = module.run(entry.config, start.checkpoint if start else None, data, output)
        print(f"{entry.name} on {data.corpus}: {time.perf_counter() - began:.0f} s", flush=True)
        return trained

    def bits_per_byte(self, checkpoint: CheckpointRef) -> dict[str, float]:
        """By corpus, on what it holds out."""
        told = {}
        for name, corpus in self.corpora.items():
            began, kept = time.perf_counter(), self.folder / f"{checkpoint.manifest_sha256}.{corpus.root_digest}.json"
            if kept.is_file():
                told[name] = float(json.loads(kept.read_text()))
                continue
            found = manifest.read(self.store, corpus.corpus, corpus.version)
            with local_checkpoint(self.store, checkpoint.key) as folder:
                result = heldout.run(
                    heldout.Config.model_validate(SCORES_ONLY),
                    TransformersModel(folder),
                    list(heldout_documents(self.store, found)),
                    lambda found=found: training_texts(self.store, found),  # type: ignore[misc]
                )
            told[name] = round(float(result["bits_per_byte"]), 4)
            kept.write_text(json.dumps(told[name]))
            print(f"{told[name]:.3f} bits per byte on {corpus.name}: {time.perf_counter() - began:.0f} s", flush=True)
        return told


def measure_seed(bench: Bench, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Bits per byte of the first model, and of the two that go on from it."""
    base = bench.train(load_recipe("demo", {"seed": str(seed), "train.0.tokens": str(options.base_tokens)}))
    found: dict[str, Any] = {"seed": seed, "before": bench.bits_per_byte(base), "runs": {"before": base.fingerprint}}
    changes = {"seed": str(seed), "train.0.start": base.key, "train.0.tokens": str(options.tokens)}
    for name, replay in (("without replay", "null"), ("with replay", f"{{corpus: demo, share: {options.share}}}")):
        trained = bench.train(load_recipe("continued_pretraining", {**changes, "train.0.replay": replay}))
        found[name] = bench.bits_per_byte(trained)
        found["runs"][name] = trained.fingerprint
    print(f"seed {seed}: {found}", flush=True)
    return found


def show(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """A line a model: bits per byte on new and old text, and the change against the first model."""
    print(f"\nbits per byte on held-out text, {len(found)} seed(s): mean, change, and its range over the seeds")
    print(f"{'':28} {'new: code':>32} {'old: demo':>32}")
    for name in ("before", "without replay", "with replay"):
        label = f"with replay of {options.share:.0%}" if name == "with replay" else name
        cells = []
        for corpus in ("code", "demo"):
            changes = [row[name][corpus] - row["before"][corpus] for row in found]
            cell = f"{mean(row[name][corpus] for row in found):.3f}"
            if name != "before":
                cell += f" {mean(changes):+.3f}"
                cell += f" ({min(changes):+.3f} to {max(changes):+.3f})" if len(found) > 1 else ""
            cells.append(f"{cell:>32}")
        print(f"{label:28} {' '.join(cells)}")


if __name__ == "__main__":
    main()
