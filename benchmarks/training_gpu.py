"""Tokens per second and MFU on one GPU: our stage, a bare compiled loop and the Hugging Face Trainer, by model size.

    python -m benchmarks.training_gpu [--shapes 124M,350M,1.3B] [--rounds 3] [--write] [--check] [--device cpu]

Windows of 2,048 tokens, bfloat16, compiled blocks, fused AdamW; ours is the real stage in its process group. One kind
after the other in every round, medians are told. `--write` keeps them as `benchmarks/baselines/<GPU>.json`; `--check`
fails where ours is more than 10 % below that file. `--device cpu --shapes tiny` tests this script.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingot.airgap import set_switches

set_switches()

from benchmarks.training_runs import Seen, make_place, ours, peer  # noqa: E402
from training.environment import physical_cores  # noqa: E402
from training.stages.pretrain import Config, plan  # noqa: E402
from training.throughput import flops_per_token, peak_flops  # noqa: E402

BASELINES = Path(__file__).parent / "baselines"
VOCAB_SIZE, TINY_VOCAB_SIZE = 50_257, 512
ALLOWED_LOSS = 0.10
"""Of tokens/s against the baseline: more than what two runs on one machine differ by."""
WARM_STEPS, STEPS = 10, 30
KINDS = ("ours", "bare", "trainer")


def shape(model: dict[str, Any], *, rows: int, micro_batches: int, **changes: Any) -> dict[str, Any]:
    """A config's values: `rows` windows in a forward pass, `micro_batches` of them in a step."""
    length = changes.pop("sequence_length", 2048)
    return {
        "model": {"family": "llama", **model},
        "sequence_length": length,
        "micro_batch_rows": rows,
        "batch_tokens": rows * micro_batches * length,
        "learning_rate": 3e-4,
        "warmup_steps": 5,
        **changes,
    }


SHAPES: dict[str, dict[str, Any]] = {
    # Heads of 64 and 128: what fast attention kernels are made for. Rows fit an H200 without recomputation.
    "124M": shape({"layers": 12, "width": 768, "heads": 12, "mlp_width": 2048}, rows=32, micro_batches=4),
    "350M": shape({"layers": 24, "width": 1024, "heads": 16, "mlp_width": 2816}, rows=16, micro_batches=4),
    "1.3B": shape(
        {"layers": 24, "width": 2048, "heads": 16, "mlp_width": 5632},
        rows=8,
        micro_batches=4,
        loss_chunk_tokens=4096,
    ),
    "tiny": shape({"layers": 2, "width": 32, "heads": 2}, rows=2, micro_batches=2, sequence_length=64),
}


def main() -> int:
    """Measure every shape, print the table, keep or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="124M,350M,1.3B")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--write", action="store_true", help="keep what is seen as this device's baseline")
    parser.add_argument("--check", action="store_true", help="fail where ours is 10 %% below the baseline")
    parser.add_argument("--baselines", type=Path, default=BASELINES, help="where the files are")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    device = _device(options.device)
    name = _name(device)
    seen = {}
    print(f"torch {version('torch')}, transformers {version('transformers')}, {name}\n")
    print("| shape | loop | tokens/s | MFU | peak memory |\n|---|---|---|---|---|")
    for wanted in options.shapes.split(","):
        seen[wanted] = measure(wanted, rounds=options.rounds, peak=peak_flops(device))
        for kind, found in seen[wanted].items():
            told = f"{found['tokens_per_second']:,.0f} | {found['mfu']:.1%} | {found['peak_memory_bytes'] / 1e9:.1f} GB"
            print(f"| {wanted} | {kind} | {told} |", flush=True)
    path = options.baselines / f"{name.lower().replace(' ', '-').replace('/', '-')}.json"
    failures = check(seen, path) if options.check else []
    if options.write:
        path.parent.mkdir(parents=True, exist_ok=True)
        versions = {library: version(library) for library in ("torch", "transformers")}
        path.write_text(json.dumps({"device": name, "versions": versions, "shapes": seen}, indent=1) + "\n")
    told = "\n".join(failures) or "nothing is below its baseline" if options.check else f"not compared with {path.name}"
    print(f"\n{told}")
    return 1 if failures else 0


def measure(wanted: str, *, rounds: int, peak: float) -> dict[str, dict[str, float]]:
    """Medians of every kind for one shape."""
    values, vocab_size = SHAPES[wanted], TINY_VOCAB_SIZE if wanted == "tiny" else VOCAB_SIZE
    # One checkpoint, after the last line: what writing costs is measured by training_loop.py.
    steps = {"tokens": STEPS * values["batch_tokens"], "checkpoint_every_steps": STEPS + 1}
    config = Config.model_validate({**values, **steps})
    runs: dict[str, list[Seen]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder), vocab_size=vocab_size, num_tokens=min(config.tokens, 2_000_000) + 1)
        shared: dict[str, Any] = {"threads": physical_cores(), "warm_steps": WARM_STEPS}
        for number in range(rounds):
            for kind in KINDS:
                if kind == "ours":
                    runs[kind].append(ours(place, config, name=f"ours-{number}", **shared))
                else:
                    runs[kind].append(peer(place, config, name=kind, **shared))
    flops = flops_per_token(config.model, vocab_size, config.sequence_length)
    found = {}
    for kind, seen in runs.items():
        speed = statistics.median(one.tokens_per_second for one in seen)
        memory = max(one.peak_memory_bytes for one in seen)
        found[kind] = {"tokens_per_second": round(speed, 1), "mfu": round(speed * flops / peak, 4),
                       "peak_memory_bytes": memory, "parameters": plan(config, vocab_size).num_parameters}  # fmt: skip
    return found


def check(seen: dict[str, dict[str, dict[str, float]]], path: Path) -> list[str]:
    """What is more than 10 % slower than the baseline; a shape or a file that is missing is told as such."""
    if not path.is_file():
        return [f"{path} is not there: nothing to compare with; measure once with --write"]
    baseline = json.loads(path.read_text())["shapes"]
    failures = []
    for name, kinds in seen.items():
        if name not in baseline:
            failures.append(f"{name} has no baseline in {path.name}; measure it with --write")
            continue
        now, before = (found["ours"]["tokens_per_second"] for found in (kinds, baseline[name]))
        if now < before * (1 - ALLOWED_LOSS):
            failures.append(f"{name}: {now:,.0f} tokens/s, {1 - now / before:.1%} below the baseline of {before:,.0f}")
    return failures


def _device(kind: str) -> Any:
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU is seen; on a machine without one --device cpu --shapes tiny tests this script")
    return torch.device(kind)


def _name(device: Any) -> str:
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    sys.exit(main())
