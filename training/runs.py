"""What a rank holds while it pre-trains: setting it up, continuing it, saving it.

Everything that decides the next update is in a checkpoint: weights, moments, sampler and random state,
the metrics so far. What it was computed on (threads, processor, libraries) is recorded beside it.
"""

import importlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from ingot.errors import TrainingError
from ingot.refs import CheckpointRef
from ingot.storage import Store
from training.acceleration import compile_blocks, in_bfloat16
from training.adopted_shape import AdoptedShape
from training.adopted_weights import load_adopted
from training.batches import Sampler, TokenStream, data_digest
from training.branches import goes_on, order_from
from training.checkpoints import (
    CheckpointManifest,
    checkpoint_ref,
    key_of,
    newest_valid,
    open_checkpoint,
)
from training.environment import differences, environment_record
from training.experts import stack_experts
from training.grown_vocabulary import grown, new_pieces
from training.job import METRICS_FILE, Job
from training.metrics import MetricsWriter
from training.mixtures import MixtureSampler, MixtureStream, open_stream, read_sampler, reading_plan
from training.models import build_model
from training.optimizers import build_optimizer, optimizer_tensors, restore_optimizer
from training.router import RouterLosses, watch_routers
from training.saving import Saver, Snapshot, write_snapshot
from training.sharding import Sharded, check_shares
from training.spikes import SpikeWatch, watch_for
from training.stages.pretrain import Config, Plan, plan

logger = logging.getLogger(__name__)

GROUP_TIMEOUT = timedelta(minutes=30)

Rewrite = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""(windows [B, T+1], their positions in the run [B]) -> windows of the same shape."""


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
    stream: TokenStream | MixtureStream
    sampler: Sampler | MixtureSampler
    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    metrics: MetricsWriter
    saver: Saver
    environment: dict[str, Any]
    routers: RouterLosses | None = None
    """Of a mixture of experts; None for a dense model."""
    spikes: SpikeWatch | None = None
    exact: bool = True
    start_step: int = 0
    rewrite: Rewrite | None = None
    """What the stage does to windows after they are read; None leaves them as they are."""
    sharded: Sharded | None = None
    """Holds the model where its weights are divided among the ranks; None: every rank has all of them."""


def set_up_run(job: Job, *, rank: int, num_ranks: int, rewrite: Rewrite | None = None) -> Run:
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
    config = _config_of(job)
    planned = plan(config, job.data.vocab_size)
    store = Store(job.store_root, scratch_root=job.scratch_root)
    model = build_model(
        config.model, vocab_size=job.data.vocab_size, context_length=config.sequence_length, seed=config.seed
    )
    if not isinstance(config.model, AdoptedShape):
        _name_end(model, job.data.eos_id)
    divided = config.sharding == "full" and num_ranks > 1
    if divided:
        check_shares(planned.rows_per_step, num_ranks)
    else:
        model.to(device)  # type: ignore[arg-type]  # transformers hides the signature behind a decorator
    compile_blocks(model.model.layers, device, config.compile)
    # It moves a block at a time to the device.
    sharded = Sharded(model, device, bfloat16=in_bfloat16(device, config.precision)) if divided else None
    held = sum(parameter.numel() for parameter in model.parameters())
    assert held == planned.num_parameters, f"the model holds {held} weights, the plan says {planned.num_parameters}"
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    optimizer = build_optimizer(
        model,
        learning_rate=planned.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        name=config.optimizer,
        bfloat16=in_bfloat16(device, config.precision),
    )
    if sharded is not None:
        sharded.keep_parts(optimizer)
    return Run(
        job=job,
        config=config,
        plan=planned,
        store=store,
        device=device,
        rank=rank,
        num_ranks=num_ranks,
        # One rank's look is enough: the others map the same files.
        stream=open_stream(store, job.data, sequence_length=config.sequence_length, verify=rank == 0),
        sampler=order_from(store, config, job.start, job.data),
        model=model.train(),
        optimizer=optimizer,
        metrics=MetricsWriter(job.run_dir),
        saver=Saver(
            partial(write_snapshot, store, model, job.data.tokenizer_key), device, beside=config.async_checkpoints
        ),
        environment=environment_record(threads=job.threads, num_ranks=num_ranks, device=name),
        routers=watch_routers(model, balance=config.balance_loss, z_loss=config.router_z_loss),
        spikes=watch_for(config.skip_spikes, config.roll_back, device),
        exact=device.type == "cpu",
        rewrite=rewrite,
        sharded=sharded,
    )


def _name_end(model: PreTrainedModel, eos_id: int) -> None:
    """A document ends, and the next one begins, after the end token of the tokenizer."""
    for settings in (model.config, model.generation_config):
        settings.bos_token_id = settings.eos_token_id = eos_id


def _order_of(sampler: Sampler | MixtureSampler) -> dict[str, Any]:
    """The order of a run's data, without what the run passed by."""
    return (replace(sampler, skipped=()) if isinstance(sampler, Sampler) else sampler).record()


def _config_of(job: Job) -> Config:
    """The stage's own Config, which shares the fields of `pretrain`."""
    module = importlib.import_module(f"training.stages.{job.stage}")
    config: Config = module.Config.model_validate(job.config)
    return config


def _open_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high")
    return device


def resume_run(run: Run, *, keep_metrics: bool = False) -> CheckpointRef | None:
    """Continue from the newest valid checkpoint of this run, else begin; None when it begins.

    keep_metrics leaves the lines of metrics.jsonl after the checkpoint where they are.
    """
    digests = {"data_digest": data_digest(run.job.data), "tokenizer_digest": run.job.data.tokenizer_digest}
    # Rank 0 alone may move damaged checkpoints aside; the others then find the same newest one.
    found = newest_valid(run.store, run.job.fingerprint, expected=digests) if run.rank == 0 else None
    _barrier(run)
    if run.rank != 0:
        found = newest_valid(run.store, run.job.fingerprint, expected=digests)
    if found is None:
        _begin(run, keep_metrics=keep_metrics)
        return None
    manifest, ref = found
    changed = differences(manifest.environment, run.environment)
    run.exact = run.exact and manifest.exact and not changed
    if not run.exact:
        logger.warning("continues, not bit-exact: %s", ", ".join(changed) or "an earlier part of the run was not")
    with open_checkpoint(run.store, ref.key) as (_, files):
        _load_weights(run, files, ref.key)
        state = json.loads(files["state.json"].read_text())
        sampler = read_sampler(state["sampler"])
        if _order_of(sampler) != _order_of(run.sampler):
            raise TrainingError(
                f"{ref.key} was read in another order ({state['sampler']}) than this run's ({run.sampler.record()}); "
                "the fingerprint must change with the recipe"
            )
        if isinstance(sampler, Sampler):
            run.sampler = sampler  # with what it passed by
        _load_moments(run, files["optimizer.safetensors"])
        _restore_random_state(state["random"])
        if run.spikes is not None:
            run.spikes.restore(state["spikes"])
        if run.rank == 0 and not keep_metrics:
            run.metrics.restart(files[METRICS_FILE])
    run.start_step = ref.step
    logger.info("continues at step %d of %d", ref.step, run.plan.total_steps)
    return ref


def _begin(run: Run, *, keep_metrics: bool) -> None:
    if run.rank == 0 and not keep_metrics:
        run.metrics.restart(None)
    if isinstance(run.sampler, MixtureSampler):
        for line in reading_plan(run.sampler, run.plan.total_steps):
            logger.info("reads %s", line)
    start = run.job.start
    if start is None:
        logger.info("begins with fresh weights, %d parameters", run.plan.num_parameters)
        return
    with open_checkpoint(run.store, start.key) as (manifest, files):
        _load_weights(run, files, start.key, new_pieces(run.store, run.job.data, manifest))
        if goes_on(run.config):
            _load_moments(run, files["optimizer.safetensors"])
            _restore_random_state(json.loads(files["state.json"].read_text())["random"])
    what = "the weights and the optimizer" if goes_on(run.config) else "the weights"
    logger.info("begins with %s of %s", what, start.key)


def _load_moments(run: Run, path: Path) -> None:
    if run.sharded is not None:
        run.sharded.restore_optimizer(run.optimizer, path)
    else:
        restore_optimizer(run.model, run.optimizer, load_file(path))


def _load_weights(run: Run, files: dict[str, Path], key: str, pieces: dict[int, list[int]] | None = None) -> None:
    """Put the weights of a checkpoint into the model; pieces are what its vocabulary lacks (`new_pieces`)."""
    model = run.model
    if isinstance(run.config.model, AdoptedShape):
        load_adopted(model, files["config.json"].parent, key, pieces)
        return
    if run.sharded is not None:
        if pieces:
            raise TrainingError("sharding full cannot begin with an extended tokenizer yet; write sharding: none")
        run.sharded.load_weights(files["model.safetensors"], key)
        return
    state = stack_experts(load_file(files["model.safetensors"]))
    try:
        missing, unexpected = model.load_state_dict(grown(state, model, pieces) if pieces else state, strict=False)
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


def save_run(run: Run, done: int) -> None:
    """Begin the checkpoint after `done` steps, from the run as it is now; rank 0 writes. All ranks call it."""
    if run.sharded is not None:
        memory = run.saver.free_memory() if run.rank == 0 else None
        weights = run.sharded.gather_weights(memory)
        moments = run.sharded.gather_moments(run.optimizer, memory)
    elif run.rank == 0:
        weights = run.saver.hold(run.model.state_dict())
        moments = run.saver.hold(optimizer_tensors(run.model, run.optimizer))
    if run.rank == 0:
        run.saver.save(Snapshot(weights, moments, _small_files(run, done), _manifest(run, done)))


def wait_for_checkpoint(run: Run) -> None:
    """Until what was begun is whole in the store; all ranks call it."""
    if run.rank == 0:
        run.saver.wait()
    _barrier(run)


def finish_run(run: Run, done: int) -> CheckpointRef:
    """The ref of the last checkpoint that was begun, once it is whole; all ranks return it."""
    wait_for_checkpoint(run)
    return checkpoint_ref(run.store, key_of(run.job.fingerprint, done))


def _small_files(run: Run, done: int) -> dict[str, bytes]:
    state = {
        "step": done,
        "tokens": done * run.config.batch_tokens,
        "sampler": run.sampler.record(),
        "random": _random_state(),
        # What a stage that starts here takes over.
        "config": run.config.model_dump(mode="json"),
        "learning_rate": run.plan.learning_rate,
    }
    if run.spikes is not None:
        state["spikes"] = run.spikes.record()
    return {"state.json": json.dumps(state, sort_keys=True).encode(), METRICS_FILE: run.metrics.so_far()}


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
