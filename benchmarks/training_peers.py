"""Other loops over the model, data and batch of one of our training jobs; each runs in a process of its own.

    python -m benchmarks.training_peers bare|trainer|sft JOB.json WARM_STEPS

`bare` is the loop that one writes by hand in PyTorch, computing what our job computes; `trainer` is the Hugging Face
Trainer and `sft` is trl's SFTTrainer, with the flags that make them fast: fixed shapes, no padding, no attention mask,
fused AdamW, no gradient checkpointing, no filter that waits for the loss of every step. On a GPU all use bfloat16 and
compiled code. Prints one JSON line: tokens/s after WARM_STEPS steps, the last loss and the peak of memory.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ingot.storage import Store
from training.batches import sampler_for
from training.job import Job
from training.models import build_model
from training.optimizers import learning_rate_factor
from training.stages.pretrain import Config, Plan, plan
from training.throughput import peak_memory_bytes

LOG_EVERY = 10


class Clock:
    """Seconds from the end of the warm steps to the end of the last."""

    def __init__(self, warm_steps: int, total_steps: int, device: torch.device) -> None:
        self._ends = {warm_steps: 0.0, total_steps: 0.0}
        self._device = device
        self._done = 0

    def step_ended(self) -> None:
        self._done += 1
        if self._done in self._ends:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self._ends[self._done] = time.perf_counter()

    def tokens_per_second(self, batch_tokens: int) -> float:
        (first, began), (last, ended) = self._ends.items()
        return (last - first) * batch_tokens / (ended - began)


class Windows:
    """The windows of the job in its order, read from the memory-mapped shard when they are asked for."""

    def __init__(self, job: Job, config: Config, planned: Plan, *, with_target: bool) -> None:
        [shard] = job.data.shards  # type: ignore[union-attr]  # the benchmarks train on one token set of one shard
        self._ids = np.memmap(Store(job.store_root).local_path(shard.bin_key), dtype=np.uint16, mode="r")
        self._length = config.sequence_length
        self._past = 1 if with_target else 0
        sampler = sampler_for(
            job.data,  # type: ignore[arg-type]
            seed=config.seed,
            sequence_length=config.sequence_length,
            rows_per_step=planned.rows_per_step,
        )
        self._order = np.concatenate([sampler.windows(step) for step in range(planned.total_steps)])

    def __len__(self) -> int:
        return len(self._order)

    def read(self, row: int) -> torch.Tensor:
        start = int(self._order[row]) * self._length
        return torch.from_numpy(self._ids[start : start + self._length + self._past].astype(np.int64))

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        ids = self.read(row)
        return {"input_ids": ids, "labels": ids}


def bare(job: Job, config: Config, planned: Plan, device: torch.device, clock: Clock) -> float:
    """The loop by hand; returns the last loss."""
    on_gpu = device.type == "cuda"
    model = _model(job, config).to(device).train()
    if on_gpu:
        for block in model.model.layers:
            block.compile(dynamic=False)
    rows = Windows(job, config, planned, with_target=True)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        betas=(config.beta1, config.beta2),
        fused=True,
    )
    row, loss = 0, 0.0
    for step in range(planned.total_steps):
        total = torch.zeros((), device=device)
        for first in range(0, planned.rows_per_step, config.micro_batch_rows):
            count = min(config.micro_batch_rows, planned.rows_per_step - first)
            ids = torch.stack([rows.read(row + n) for n in range(count)])
            row += count
            if on_gpu:
                ids = ids.pin_memory().to(device, non_blocking=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu):
                logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            micro = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum")
            micro = micro / config.batch_tokens
            micro.backward()
            total += micro.detach()
        if config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = planned.learning_rate * learning_rate_factor(
                step,
                total_steps=planned.total_steps,
                warmup_steps=planned.warmup_steps,
                decay=config.decay,
                decay_fraction=config.decay_fraction,
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step_ended()
        if (step + 1) % LOG_EVERY == 0 or step + 1 == planned.total_steps:
            loss = total.item()
    return loss


def trainer(job: Job, config: Config, planned: Plan, device: torch.device, clock: Clock) -> float:
    """The Hugging Face Trainer; returns the last loss it logged."""
    from transformers import Trainer, TrainingArguments, default_data_collator

    with tempfile.TemporaryDirectory() as folder:
        loop = Trainer(
            _model(job, config),
            TrainingArguments(**_arguments(config, planned, device, folder)),
            train_dataset=Windows(job, config, planned, with_target=False),
            data_collator=default_data_collator,
            callbacks=[_callback(clock)],
        )
        loop.train()
    return _last_loss(loop)


def sft(job: Job, config: Config, planned: Plan, device: torch.device, clock: Clock) -> float:
    """trl's SFTTrainer on tokens that are packed already; returns the last loss it logged."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    windows = Windows(job, config, planned, with_target=False)
    ids = [windows.read(row).tolist() for row in range(len(windows))]
    tokenizer = AutoTokenizer.from_pretrained(
        Store(job.store_root).local_path(f"{job.data.tokenizer_key}/tokenizer.json").parent
    )
    tokenizer.pad_token = tokenizer.eos_token
    with tempfile.TemporaryDirectory() as folder:
        loop = SFTTrainer(
            _model(job, config),
            SFTConfig(
                **_arguments(config, planned, device, folder),
                gradient_checkpointing=False,
                max_length=config.sequence_length,
                packing=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
            processing_class=tokenizer,
            callbacks=[_callback(clock)],
        )
        loop.train()
    return _last_loss(loop)


def _model(job: Job, config: Config) -> Any:
    return build_model(
        config.model, vocab_size=job.data.vocab_size, context_length=config.sequence_length, seed=config.seed
    )


def _arguments(config: Config, planned: Plan, device: torch.device, folder: str) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    return {
        "output_dir": folder,
        "max_steps": planned.total_steps,
        "per_device_train_batch_size": config.micro_batch_rows,
        "gradient_accumulation_steps": planned.rows_per_step // config.micro_batch_rows,
        "learning_rate": planned.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": planned.warmup_steps,
        "optim": "adamw_torch_fused",
        "adam_beta1": config.beta1,
        "adam_beta2": config.beta2,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.grad_clip or 0.0,
        "logging_steps": LOG_EVERY,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "tf32": on_gpu or None,
        "torch_compile": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "dataloader_num_workers": 2 if on_gpu else 0,
        "dataloader_persistent_workers": on_gpu,
        "seed": config.seed,
    }


def _callback(clock: Clock) -> Any:
    from transformers import TrainerCallback

    class Told(TrainerCallback):  # type: ignore[misc]  # an untyped base
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step_ended()

    return Told()


def _last_loss(loop: Any) -> float:
    return float(next(line["loss"] for line in reversed(loop.state.log_history) if "loss" in line))


PEERS: dict[str, Callable[..., float]] = {"bare": bare, "trainer": trainer, "sft": sft}


def main(name: str, job_path: str, warm_steps: str) -> None:
    """Run one peer over the job and print what was seen."""
    job = Job.model_validate_json(Path(job_path).read_text())
    config = Config.model_validate(job.config)
    planned = plan(config, job.data.vocab_size)
    torch.set_num_threads(job.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    clock = Clock(int(warm_steps), planned.total_steps, device)
    loss = PEERS[name](job, config, planned, device, clock)
    speed = clock.tokens_per_second(config.batch_tokens)
    print(json.dumps({"tokens_per_second": speed, "loss": loss, "peak_memory_bytes": peak_memory_bytes(device)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
