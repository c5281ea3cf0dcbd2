"""Every recipe that two cores can run, run again and held against its evidence; exit 1 outside a band.

    python benchmarks/recipes.py [NAME ...] [--home FOLDER] [--record --seeds 0 1 2]

The evidence of a recipe is `recipes/evidence/NAME.json`: the data by digest, the changes that make it short, the seeds,
what was measured (the loss in ten equal parts of the run, and what the recipe is for: bits per byte or error rates on
text that was held out) with the band it must lie in, the processor, the versions and the date. --record measures with
every seed and writes the file: a band is the range over the seeds and a margin on both sides, because other processors
and, where documents of the machine are read, other documents move the numbers a little. What is done already is found
in --home.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.store_salt import SALT  # noqa: E402
from ingot import manifest, model_versions, store_identity  # noqa: E402
from ingot.digests import digest_of  # noqa: E402
from ingot.model_versions import ModelVersion  # noqa: E402
from ingot.revision import code_revision  # noqa: E402
from ingot.settings import Settings  # noqa: E402
from ingot.storage import Store  # noqa: E402
from training.environment import cpu_name  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "recipes/evidence"
MARGIN, LEAST_MARGIN = 0.03, 0.03
"""Share of a value, and nats, bits or rate at least, on both sides of what the seeds gave: other kernels and a package
more or less stay inside it."""
CURVE_PARTS = 10
INFILL_CHANGES = ["--short", "--holes", "development"]


@dataclass
class Measured:
    """What a run of a recipe gave."""

    data: dict[str, Any]
    """Digests and counts of what was read."""
    curve: list[float]
    """Mean training loss in nats per token of ten equal parts of the run."""
    values: dict[str, float]
    """What the recipe is for, by name, on text that was held out."""


def main() -> int:
    """Run, compare or record, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; unset: all")
    parser.add_argument("--home", type=Path, help="where stores are kept; unset: a folder that is removed")
    parser.add_argument("--record", action="store_true", help="write the evidence instead of comparing with it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of --record")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(RUNS))
    if unknown:
        parser.error(f"no recipe {', '.join(unknown)}; there are {', '.join(RUNS)}")
    outside = []
    with tempfile.TemporaryDirectory() as scratch:
        home = (options.home or Path(scratch)).absolute()
        for name in options.names or RUNS:
            if options.record:
                record(name, home, options.seeds)
            else:
                outside += compare(name, home)
    print(f"\n{len(outside)} of the values lie outside their bands" + "".join(f"\n  {line}" for line in outside))
    return 1 if outside else 0


def record(name: str, home: Path, seeds: list[int]) -> None:
    """Measure with every seed and write the evidence."""
    found, seconds = [], []
    for seed in seeds:
        began = time.perf_counter()
        found.append(RUNS[name](home, seed))
        seconds.append(round(time.perf_counter() - began))
        print(f"{name}, seed {seed}: {seconds[-1]} s, {found[-1].values}", flush=True)
    evidence = {
        "recipe": name,
        "recipe_file_digest": file_digest(name),
        "data": found[0].data,
        "seeds": [{"seed": seed, **asdict(one)} for seed, one in zip(seeds, found, strict=True)],
        "curve_band": [band(part) for part in zip(*(one.curve for one in found), strict=True)],
        "bands": {key: band([one.values[key] for one in found]) for key in found[0].values},
        "seconds": seconds,
        "hardware": f"{cpu_name().split(' / ')[0]}, {os.cpu_count()} cores",
        "versions": {each: version(each) for each in ("torch", "transformers")} | {"ingot": code_revision()["version"]},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    for one in evidence["seeds"]:
        one.pop("data")
    EVIDENCE.mkdir(exist_ok=True)
    (EVIDENCE / f"{name}.json").write_text(json.dumps(evidence, indent=1, sort_keys=True) + "\n")


def compare(name: str, home: Path) -> list[str]:
    """Run once with the first recorded seed; the lines of what lies outside. Without evidence that is said as one."""
    if not (EVIDENCE / f"{name}.json").is_file():
        return [f"{name}: recipes/evidence has nothing of it; benchmarks/recipes.py {name} --record measures it"]
    evidence = json.loads((EVIDENCE / f"{name}.json").read_text())
    began = time.perf_counter()
    measured = RUNS[name](home, evidence["seeds"][0]["seed"])
    print(f"\n{name}: {time.perf_counter() - began:.0f} s; evidence of {evidence['date']}, {evidence['hardware']}")
    if file_digest(name) != evidence["recipe_file_digest"]:
        print("  the recipe was changed since; --record makes new evidence")
    if measured.data != evidence["data"]:
        print(f"  other data than recorded: {json.dumps(measured.data)}, was {json.dumps(evidence['data'])}")
    rows = [(key, value, evidence["bands"][key]) for key, value in measured.values.items()]
    parts = zip(measured.curve, evidence["curve_band"], strict=True)
    rows += [(f"loss, part {number} of {CURVE_PARTS}", loss, limits) for number, (loss, limits) in enumerate(parts, 1)]
    outside = []
    for label, value, (low, high) in rows:
        inside = low <= value <= high
        line = f"{label}: {value:.4f} is {'inside' if inside else 'OUTSIDE'} {low:.4f} to {high:.4f}"
        print(f"  {line}")
        if not inside:
            outside.append(f"{name}: {line}")
    return outside


def band(values: Iterable[float]) -> tuple[float, float]:
    """The range of the values, and the margin on both sides of it."""
    seen = sorted(values)
    spare = max(LEAST_MARGIN, MARGIN * max(abs(seen[0]), abs(seen[-1])))
    return round(seen[0] - spare, 4), round(seen[-1] + spare, 4)


def file_digest(name: str) -> str:
    """Of the text of a recipe without its comments."""
    lines = (ROOT / f"recipes/{name}.yaml").read_text().splitlines()
    return digest_of([line.split(" #")[0].rstrip() for line in lines if line.split("#")[0].strip()])


def ten_parts(lines: Iterable[str]) -> list[float]:
    """Mean loss of ten equal parts of a run, from the lines of its metrics.jsonl; between its neighbours where a part
    has no line."""
    entries = [entry for entry in map(json.loads, lines) if "loss" in entry]
    last = entries[-1]["step"]
    parts: list[list[float]] = [[] for _ in range(CURVE_PARTS)]
    for entry in entries:
        parts[min(CURVE_PARTS - 1, entry["step"] * CURVE_PARTS // last)].append(entry["loss"])
    steps, losses = [entry["step"] for entry in entries], [entry["loss"] for entry in entries]
    middles = [(number + 0.5) * last / CURVE_PARTS for number in range(CURVE_PARTS)]
    between = np.interp(middles, steps, losses)
    return [round(mean(part) if part else float(between[number]), 4) for number, part in enumerate(parts)]


def built(name: str) -> Callable[[Path, int], Measured]:
    """A recipe that `ingot build` runs whole."""

    def run(home: Path, seed: int) -> Measured:
        environ = {**os.environ, "INGOT_HOME": str(home / "built")}
        # Which documents are held out follows from the store's salt: by chance, it would move the number more than
        # the band is wide.
        store = Store(Settings.from_environment(environ).store)
        store_identity.initialise(store, salt=SALT)
        command = [sys.executable, "-m", "interface.cli"]
        try:
            done = subprocess.run(
                [*command, "build", name, "--set", f"seed={seed}", "--json"],
                cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        finally:
            subprocess.run([*command, "down"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
        if done.returncode not in (0, 3):  # 3: the gate says FAIL, which another seed's champion may bring about
            raise SystemExit(f"ingot build {name} ended with {done.returncode}: {done.stdout[-2000:]}")
        told = json.loads(done.stdout)
        model = model_versions.resolve(store, f"{told['model']['name']}/{told['model']['version']}")
        lines = store.read_bytes(f"{model.checkpoint_key}/metrics.jsonl").decode().splitlines()
        return Measured(data_of(store, model), ten_parts(lines), {"bits_per_byte": bits_per_byte(store, told)})

    return run


def data_of(store: Store, model: ModelVersion) -> dict[str, Any]:
    """Digests and counts of the corpus that a model version was trained on."""
    corpus, number = manifest.find(store, model.details["corpus"])
    ref = manifest.ref_of(manifest.read(store, corpus, number), number, reused=True)
    return {
        "corpus": corpus,
        "root_digest": ref.root_digest,
        "documents": ref.num_documents,
        "held_out": ref.num_heldout,
        "tokens": model.details["num_tokens"],
    }


def bits_per_byte(store: Store, told: dict[str, Any]) -> float:
    """Of the evaluation that the gate judged, on documents held out."""
    verdict = store.read_record(told["verdict"]["key"])
    evaluation = store.read_record(f"evaluations/{verdict['evaluation']}.json")
    return round(float(evaluation["bits_per_byte"]), 4)


def continued(home: Path, seed: int) -> Measured:
    """The demo's model goes on with source code, with replay and without: benchmarks/continued_pretraining.py."""
    folder = home / "continued"
    told = script("continued_pretraining", ["--seeds", str(seed), "--folder", str(folder)], home)
    row = told["seeds"][0]
    bits = {
        f"bits_per_byte of {corpus}, {how}": row[how][corpus]
        for how in ("before", "without replay", "with replay")
        for corpus in ("code", "demo")
    }
    bits["lost of demo without replay"] = round(row["without replay"]["demo"] - row["before"]["demo"], 4)
    bits["lost of demo with replay"] = round(row["with replay"]["demo"] - row["before"]["demo"], 4)
    lines = (folder / "runs" / row["runs"]["with replay"] / "metrics.jsonl").read_text().splitlines()
    return Measured(told["corpora"], ten_parts(lines), bits)


def infill(home: Path, seed: int) -> Measured:
    """Damaged inscriptions, on a part of the literature: benchmarks/infill.py --short."""
    options = [*INFILL_CHANGES, "--home", str(home / "infill"), "--set", f"seed={seed}", "--set-second", f"seed={seed}"]
    told = script("infill", options, home)
    rates = {
        f"character_error_rate of {method}": told[f"both, {method}"]["character_error_rate"]
        for method in ("Ingot", "Ingot with a 6-gram", "6-gram")
    }
    return Measured(told["data"], ten_parts(told["metrics"]), rates)


def script(name: str, options: list[str], home: Path) -> dict[str, Any]:
    """Run a benchmark and read the numbers it wrote."""
    home.mkdir(parents=True, exist_ok=True)
    numbers = home / f"{name}.json"
    numbers.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(numbers)]
    subprocess.run(command, cwd=ROOT, check=True)
    told: dict[str, Any] = json.loads(numbers.read_text())
    return told


RUNS: dict[str, Callable[[Path, int], Measured]] = {
    "demo": built("demo"),
    "tiny_moe": built("tiny_moe"),
    "continued_pretraining": continued,
    "infill_ancient_texts": infill,
}

if __name__ == "__main__":
    sys.exit(main())
