"""Damaged checkpoints: what our pre-training does, and what the plain Hugging Face Trainer does with the same damage.

    python benchmarks/checkpoint_damage.py

Both train a Llama of 31,000 weights on the same tokens for 12 steps on one CPU thread, with a checkpoint every third,
and are killed after step 10. The checkpoint of step 9 is damaged in each way of `tests/training/damages.py` (the
Trainer's files stand in for ours: `optimizer.pt`, `rng_state.pth`, `trainer_state.json`), and the run is started again
with its usual words (`resume_from_checkpoint=True`). Final weights are compared with those of an undisturbed run. Takes
a minute or two.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", TOKENIZERS_PARALLELISM="false")

import torch

from ingot.digests import sha256_file
from tests.training.conftest import TINY, Place, make_tokens
from tests.training.damages import DAMAGES, flip_a_bit, truncate, zero_a_block
from training.batches import TokenStream, sampler_for
from training.models import build_model
from training.stages.pretrain import plan
from training.worker import run_rank

WEIGHTS, OPTIMIZER, STATE, RECORD = "model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"


def _swap(name: str) -> Callable[[Path], None]:
    return lambda folder: Path(shutil.copyfile(folder.parent / "checkpoint-6" / name, folder / name)).touch()


def _edit_record(folder: Path) -> None:
    path = folder / RECORD
    path.write_text(path.read_text().replace('"global_step": 9', '"global_step": 8', 1))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


TRAINER_DAMAGES: dict[str, Callable[[Path], None] | None] = {
    "weights missing": lambda folder: (folder / WEIGHTS).unlink(),
    "optimizer missing": lambda folder: (folder / OPTIMIZER).unlink(),
    "state missing": lambda folder: (folder / STATE).unlink(),
    "weights truncated": lambda folder: truncate(folder / WEIGHTS),
    "weights empty": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "bit flipped in the weights": lambda folder: flip_a_bit(folder / WEIGHTS),
    "bit flipped in the optimizer": lambda folder: flip_a_bit(folder / OPTIMIZER),
    "block of zeros in the optimizer": lambda folder: zero_a_block(folder / OPTIMIZER),
    "optimizer of another step": _swap(OPTIMIZER),
    "weights of another step": _swap(WEIGHTS),
    "another tokenizer": None,  # its checkpoints hold none unless one is given
    "record of the run truncated": lambda folder: truncate(folder / RECORD),
    "record of the run edited": _edit_record,
    "record of another step": _swap(RECORD),
    "folder empty": _empty,
}


class Killed(BaseException):
    """Ends training as a kill would, with nothing written after it."""


def ours(folder: Path, damage: Callable[[Path], None] | None) -> str:
    """What a run of ours does with the damage; None kills nothing and damages nothing."""
    place = Place(folder, make_tokens(folder))
    place.run_dir.mkdir(exist_ok=True)
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.loops.pretrain", "training.worker"])

    def start(crash_at: str) -> int:
        process = context.Process(target=_rank, args=(place, crash_at))
        process.start()
        process.join()
        return int(process.exitcode or 0)

    if damage is None:
        assert start("") == 0
        return place.weights_sha256()
    assert start("training.step.before@10") == -9
    damage(folder / "checkpoints" / ("f" * 64) / "00000009")
    if start("") != 0:
        return f"refused: {place.failure().message}"
    return place.weights_sha256()


def _rank(place: Place, crash_at: str) -> None:
    from threading import Event

    from training.worker import log_to_file

    os.environ["INGOT_CRASH_AT"] = crash_at
    log_to_file(place.run_dir / "rank0.log")
    os._exit(run_rank(place.job(), Event(), rank=0, num_ranks=1))


def trainer(folder: Path, place: Place, damage: Callable[[Path], None] | None) -> str:
    """Digest of the Trainer's final weights after the damage, or the error it ended with."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    planned = plan(TINY, place.tokens.vocab_size)
    stream = TokenStream(place.store, place.tokens)
    sampler = sampler_for(place.tokens, seed=0, sequence_length=TINY.sequence_length, rows_per_step=8)
    rows = [window for step in range(planned.total_steps) for window in sampler.windows(step)]
    ids = torch.from_numpy(stream.read_windows(rows, TINY.sequence_length))
    data = [{"input_ids": row[:-1], "labels": row[:-1]} for row in ids]

    class KillAt(TrainerCallback):  # type: ignore[misc]  # an untyped base
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 10 and damage is not None:
                raise Killed

    def make(*, killed: bool) -> Any:
        torch.set_num_threads(1)
        model = build_model(TINY.model, vocab_size=place.tokens.vocab_size, context_length=32, seed=0)
        arguments = TrainingArguments(
            output_dir=str(folder), max_steps=12, per_device_train_batch_size=8, learning_rate=0.01, save_steps=3,
            report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no", seed=0, adam_beta2=0.95,
            weight_decay=0.1, lr_scheduler_type="constant",
        )  # fmt: skip
        return Trainer(model, arguments, train_dataset=data, callbacks=[KillAt()] if killed else [])

    try:
        make(killed=True).train()
    except Killed:
        if damage is not None:
            damage(folder / "checkpoint-9")
            try:
                make(killed=False).train(resume_from_checkpoint=True)
            except Exception as error:
                return f"stopped: {type(error).__name__}"
    return sha256_file(folder / "checkpoint-12" / WEIGHTS)


def main() -> None:
    """Print one row a kind of damage."""
    print(f"ingot beside transformers {version('transformers')}, torch {version('torch')}, one CPU thread\n")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name in ("ours", "corpus"):
            (root / name).mkdir()
        clean = ours(root / "ours", None)
        place = Place(root / "corpus", make_tokens(root / "corpus"))
        clean_trainer = trainer(root / "trainer", place, None)
        undamaged = trainer(root / "undamaged", place, lambda _: None)
        same = "the same" if undamaged == clean_trainer else "OTHER"
        print(f"killed, not damaged: the Trainer ends with {same} weights\n")
        print("| damage to the newest checkpoint | Ingot | Hugging Face Trainer |\n|---|---|---|")
        for number, (name, damage) in enumerate(DAMAGES.items()):
            (root / f"ours-{number}").mkdir()
            answer = ours(root / f"ours-{number}", damage)
            told = "goes on from the one before, same weights" if answer == clean else f"NOT AS PROMISED: {answer}"
            theirs = TRAINER_DAMAGES[name]
            if theirs is None:
                says = "keeps none"
            else:
                found = trainer(root / f"trainer-{number}", place, theirs)
                same = "trains on, same weights" if found == clean_trainer else "**trains on silently, other weights**"
                says = found if found.startswith("stopped") else same
            print(f"| {name} | {told} | {says} |", flush=True)


if __name__ == "__main__":
    main()
