"""The pre-training loop: straight down, one update after the other.

# B rows, T tokens, V vocabulary

Gradients of all parameters live in one flat buffer, beside the step's loss and the wish to stop: one
all-reduce a step for everything, one norm, one clip. The update is skipped inside the fused kernel
when loss or gradient is not finite, so that no device is waited for to find out.
"""

import contextlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from ingot.crashpoints import crashpoint
from ingot.errors import TrainingError
from ingot.refs import CheckpointRef
from ingot.storage import Store
from training.batches import Sampler, TokenStream, data_digest, sampler_for
from training.checkpoints import (
    CheckpointManifest,
    checkpoint_ref,
    copy_files,
    key_of,
    newest_valid,
    open_checkpoint,
    save_checkpoint,
)
from training.environment import differences, environment_record
from training.job import METRICS_FILE, Job, Outcome
from training.metrics import Heartbeat, MetricsWriter
from training.models import build_model
from training.optimizers import build_optimizer, learning_rate_factor, optimizer_tensors, restore_optimizer
from training.stages.pretrain import Config, Plan, plan

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
GROUP_TIMEOUT = timedelta(minutes=30)


@dataclass
class Run:
    """Everything a rank holds while it trains."""

    job: Job
    config: Config
    plan: Plan
    store: Store
    device: torch.device
    rank: int
    num_ranks: int
    stream: TokenStream
    sampler: Sampler
    model: LlamaForCausalLM
    optimizer: torch.optim.AdamW
    metrics: MetricsWriter
    environment: dict[str, Any]
    exact: bool = True
    start_step: int = 0


def train(job: Job, stop: threading.Event, *, rank: int, num_ranks: int) -> Outcome:
    """Train until the last step or until asked to stop; every rank returns the same outcome."""
    run = _set_up(job, rank=rank, num_ranks=num_ranks)
    try:
        resumed = _resume(run)
        if resumed is not None and resumed.step == run.plan.total_steps:
            return Outcome(attempt=job.attempt, status="finished", checkpoint=resumed)
        return _train_steps(run, stop)
    finally:
        if num_ranks > 1:
            dist.destroy_process_group()


def _set_up(job: Job, *, rank: int, num_ranks: int) -> Run:
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(job.threads)
    device = _open_device()
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    if num_ranks > 1:
        # A file store on this machine: torch's TCP store would listen on every network interface.
        rendezvous = dist.FileStore(str(job.run_dir / f".group-{job.attempt}"), num_ranks)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=rendezvous, rank=rank, world_size=num_ranks, timeout=GROUP_TIMEOUT)
    config = Config.model_validate(job.config)
    planned = plan(config, job.data.vocab_size)
    store = Store(job.store_root, scratch_root=job.scratch_root)
    model = build_model(
        config.model, vocab_size=job.data.vocab_size, context_length=config.sequence_length, seed=config.seed
    )
    model.to(device)  # type: ignore[arg-type]  # transformers hides the signature behind a decorator
    held = sum(parameter.numel() for parameter in model.parameters())
    assert held == planned.num_parameters, f"the model holds {held} weights, the plan says {planned.num_parameters}"
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return Run(
        job=job,
        config=config,
        plan=planned,
        store=store,
        device=device,
        rank=rank,
        num_ranks=num_ranks,
        # One rank's look is enough: the others map the same files.
        stream=TokenStream(store, job.data, verify=rank == 0),
        sampler=sampler_for(
            job.data,
            seed=config.seed,
            sequence_length=config.sequence_length,
            rows_per_step=planned.rows_per_step,
        ),
        model=model.train(),
        optimizer=build_optimizer(
            model,
            learning_rate=planned.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        ),
        metrics=MetricsWriter(job.run_dir),
        environment=environment_record(threads=job.threads, num_ranks=num_ranks, device=name),
        exact=device.type == "cpu",
    )


def _open_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high")
    return device


def _resume(run: Run) -> CheckpointRef | None:
    """Continue from the newest valid checkpoint of this run, else begin; None when it begins."""
    digests = {"data_digest": data_digest(run.job.data), "tokenizer_digest": run.job.data.tokenizer_digest}
    # Rank 0 alone may move damaged checkpoints aside; the others then find the same newest one.
    found = newest_valid(run.store, run.job.fingerprint, expected=digests) if run.rank == 0 else None
    _barrier(run)
    if run.rank != 0:
        found = newest_valid(run.store, run.job.fingerprint, expected=digests)
    if found is None:
        _begin(run)
        return None
    manifest, ref = found
    changed = differences(manifest.environment, run.environment)
    run.exact = run.exact and manifest.exact and not changed
    if not run.exact:
        logger.warning("continues, not bit-exact: %s", ", ".join(changed) or "an earlier part of the run was not")
    with open_checkpoint(run.store, ref.key) as (_, files):
        _load_weights(run.model, files["model.safetensors"], ref.key)
        state = json.loads(files["state.json"].read_text())
        if Sampler.from_record(state["sampler"]) != run.sampler:
            raise TrainingError(
                f"{ref.key} was read in another order ({state['sampler']}) than this run's ({run.sampler.record()}); "
                "the fingerprint must change with the recipe"
            )
        restore_optimizer(run.model, run.optimizer, load_file(files["optimizer.safetensors"]))
        _restore_random_state(state["random"])
        if run.rank == 0:
            run.metrics.restart(files[METRICS_FILE])
    run.start_step = ref.step
    logger.info("continues at step %d of %d", ref.step, run.plan.total_steps)
    return ref


def _begin(run: Run) -> None:
    if run.rank == 0:
        run.metrics.restart(None)
    start = run.job.start
    if start is None:
        logger.info("begins with fresh weights, %d parameters", run.plan.num_parameters)
        return
    with open_checkpoint(run.store, start.key) as (manifest, files):
        if manifest.tokenizer_digest != run.job.data.tokenizer_digest:
            raise TrainingError(
                f"start {start.key} has tokenizer {manifest.tokenizer_digest[:12]}, the tokens have "
                f"{run.job.data.tokenizer_digest[:12]}; tokenize the corpus with the checkpoint's tokenizer"
            )
        _load_weights(run.model, files["model.safetensors"], start.key)
    logger.info("begins with the weights of %s", start.key)


def _load_weights(model: LlamaForCausalLM, path: Path, key: str) -> None:
    try:
        missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    except RuntimeError as error:
        raise TrainingError(
            f"{key} has weights of another shape than train.model; use the shape it was made with"
        ) from error
    tied = set(model.config.tie_word_embeddings * ["lm_head.weight"])
    if set(missing) - tied or unexpected:
        raise TrainingError(
            f"{key} lacks {len(set(missing) - tied)} weights of train.model and has {len(unexpected)} others; "
            "use the shape it was made with"
        )


def _train_steps(run: Run, stop: threading.Event) -> Outcome:
    config, planned, job = run.config, run.plan, run.job
    parameters = list(run.model.parameters())
    gradients, step_loss, stop_votes, shared = _flat_gradients(parameters, run.device)
    # Sticky: once a step was not finite no later one updates, until the next look at it.
    not_finite = torch.zeros((), device=run.device)
    bad_step = torch.full((), -1, dtype=torch.int64, device=run.device)
    run.optimizer.found_inf = not_finite  # type: ignore[attr-defined]  # read by the fused kernel
    # Looking is free on a CPU and stalls an accelerator, which therefore looks only when it logs.
    look_every = 1 if run.device.type == "cpu" else config.log_every_steps
    heartbeat = Heartbeat(job.run_dir, job.attempt, planned.total_steps) if run.rank == 0 else None
    logged_at, logged_step = time.perf_counter(), run.start_step

    for step in range(run.start_step, planned.total_steps):
        crashpoint("training.step.before", str(step))
        if heartbeat:
            heartbeat.beat(step)
        shared.zero_()
        _accumulate(run, step, step_loss)
        stop_votes.fill_(float(stop.is_set()))
        if run.num_ranks > 1:
            dist.all_reduce(shared)
        grad_norm = gradients.norm()
        finite = torch.isfinite(step_loss) & torch.isfinite(grad_norm)
        bad_step.copy_(torch.where((bad_step < 0) & ~finite, step, bad_step))
        not_finite.copy_((bad_step >= 0).float())
        if config.grad_clip is not None:
            gradients.mul_((config.grad_clip / (grad_norm + 1e-6)).clamp(max=1.0))
        learning_rate = planned.learning_rate * learning_rate_factor(
            step,
            total_steps=planned.total_steps,
            warmup_steps=planned.warmup_steps,
            decay=config.decay,
            decay_fraction=config.decay_fraction,
        )
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate
        run.optimizer.step()

        done = step + 1
        last = done == planned.total_steps
        saves = last or done % config.checkpoint_every_steps == 0 or done == planned.milestone_step
        logs = last or done % config.log_every_steps == 0
        stopping = False
        if saves or logs or step == 0 or done % look_every == 0:
            if bad_step.item() >= 0:
                raise _not_finite(int(bad_step.item()), step_loss.item(), grad_norm.item(), learning_rate)
            # The sum of all ranks' votes: they agree on the step to stop after.
            stopping = stop_votes.item() > 0
        if run.rank == 0 and (logs or step == 0):
            line = {"loss": step_loss.item(), "learning_rate": learning_rate, "grad_norm": grad_norm.item()}
            if step == 0:
                run.metrics.write({"step": 0, "loss": line["loss"], "learning_rate": 0.0, "tokens": 0})
            if logs:
                seconds = time.perf_counter() - logged_at
                speed = (done - logged_step) * config.batch_tokens / seconds
                tokens = done * config.batch_tokens
                epoch = done * planned.rows_per_step / run.sampler.num_windows
                run.metrics.write(
                    {
                        "step": done,
                        **line,
                        "tokens": tokens,
                        "tokens_per_second": round(speed, 1),
                        "epoch": round(epoch, 4),
                    }
                )
                logger.info("step %d of %d: loss %.4f, %.0f tokens/s", done, planned.total_steps, line["loss"], speed)
                logged_at, logged_step = time.perf_counter(), done
        if saves or stopping:
            before = time.perf_counter()
            ref = _save(run, done)
            logged_at += time.perf_counter() - before
            if last or stopping:
                return Outcome(attempt=job.attempt, status="finished" if last else "stopped", checkpoint=ref)
    raise AssertionError("the last step returns")


def _flat_gradients(
    parameters: list[torch.nn.Parameter], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """One buffer holding every gradient, the loss and the stop votes: its parts, and the whole."""
    size = sum(parameter.numel() for parameter in parameters)
    shared = torch.zeros(size + 2, device=device)
    offset = 0
    for parameter in parameters:
        parameter.grad = shared[offset : offset + parameter.numel()].view_as(parameter)
        offset += parameter.numel()
    return shared[:size], shared[size], shared[size + 1], shared


def _accumulate(run: Run, step: int, step_loss: torch.Tensor) -> None:
    """Add this rank's share of the step to the gradients and to step_loss (mean nats per token, no z-loss)."""
    config = run.config
    windows = run.sampler.rank_windows(step, rank=run.rank, num_ranks=run.num_ranks)
    for first in range(0, len(windows), config.micro_batch_rows):
        rows = windows[first : first + config.micro_batch_rows]
        ids_BT = torch.from_numpy(run.stream.read_windows(rows, config.sequence_length))
        if run.device.type == "cuda":
            ids_BT = ids_BT.pin_memory().to(run.device, non_blocking=True)
        with _autocast(run.device):
            hidden_BTD = run.model.model(input_ids=ids_BT[:, :-1], use_cache=False).last_hidden_state
            logits_BTV = run.model.lm_head(hidden_BTD)
        logits = logits_BTV.float().flatten(0, 1)
        loss = F.cross_entropy(logits, ids_BT[:, 1:].flatten(), reduction="sum") / config.batch_tokens
        step_loss += loss.detach()
        if config.z_loss is not None:
            loss = loss + config.z_loss * logits.logsumexp(-1).square().sum() / config.batch_tokens
        loss.backward()


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    # float32 on a CPU: bfloat16 is slow where the units are missing, and rounds by machine.
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def _not_finite(step: int, loss: float, grad_norm: float, learning_rate: float) -> TrainingError:
    return TrainingError(
        f"loss or gradient of step {step} is not finite (now loss {loss}, gradient norm {grad_norm}, learning rate "
        f"{learning_rate:.3g}); the update was not made. Lower train.learning_rate, set train.grad_clip, or add "
        "train.z_loss: 1e-5"
    )


def _save(run: Run, done: int) -> CheckpointRef:
    """Write the checkpoint after `done` steps; rank 0 writes, all ranks return its ref."""
    if run.rank == 0:
        with run.store.scratch() as folder:
            _write_folder(run, done, folder)
            save_checkpoint(run.store, folder, _manifest(run, done))
        logger.info("checkpoint of step %d written", done)
    _barrier(run)
    return checkpoint_ref(run.store, key_of(run.job.fingerprint, done))


def _write_folder(run: Run, done: int, folder: Path) -> None:
    run.model.save_pretrained(folder)
    copy_files(run.store, run.job.data.tokenizer_key, TOKENIZER_FILES, folder)
    save_file(optimizer_tensors(run.model, run.optimizer), folder / "optimizer.safetensors")
    state = {
        "step": done,
        "tokens": done * run.config.batch_tokens,
        "sampler": run.sampler.record(),
        "random": _random_state(),
    }
    (folder / "state.json").write_text(json.dumps(state, sort_keys=True))
    run.metrics.copy_to(folder)


def _manifest(run: Run, done: int) -> CheckpointManifest:
    data = run.job.data
    return CheckpointManifest(
        fingerprint=run.job.fingerprint,
        step=done,
        total_steps=run.plan.total_steps,
        tokens_seen=done * run.config.batch_tokens,
        num_parameters=run.plan.num_parameters,
        milestone=run.plan.is_milestone(done),
        files=(),
        recipe_digest=run.job.recipe_digest,
        data_digest=data_digest(data),
        tokenizer_digest=data.tokenizer_digest,
        corpus=data.corpus,
        start=run.job.start.key if run.job.start else None,
        sampler=run.sampler.record(),
        environment=run.environment,
        exact=run.exact,
    )


def _random_state() -> dict[str, str]:
    state = {"torch": bytes(torch.get_rng_state().tolist()).hex()}
    if torch.cuda.is_available():
        state["cuda"] = bytes(torch.cuda.get_rng_state().tolist()).hex()
    return state


def _restore_random_state(state: dict[str, str]) -> None:
    torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["torch"])), dtype=torch.uint8))
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(torch.tensor(list(bytes.fromhex(state["cuda"])), dtype=torch.uint8))


def _barrier(run: Run) -> None:
    if run.num_ranks > 1:
        dist.barrier()
