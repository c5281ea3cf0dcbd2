"""The pre-training loop: straight down, one update after the other.

# B rows, T tokens, V vocabulary

Gradients of all parameters live in one flat buffer, beside the step's loss and the wish to stop: one
all-reduce a step for everything, one norm, one clip (`training/gradients.py`; divided among ranks:
`training/sharding.py`). The update is skipped inside the fused kernel
when loss or gradient is not finite, so that no device is waited for to find out.
"""

import logging
import threading
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

from ingot.crashpoints import crashpoint
from ingot.errors import TrainingError
from training.acceleration import autocast
from training.documents import document_positions
from training.energy import energy_meter
from training.gradients import FlatGradients
from training.heldout import open_heldout
from training.job import Job, Outcome
from training.losses import chunked_loss
from training.metrics import Heartbeat
from training.optimizers import learning_rate_factor
from training.preflight import record_preflight
from training.rollbacks import Diverged, roll_back
from training.runs import Rewrite, Run, finish_run, resume_run, save_run, set_up_run
from training.sharding import ShardedGradients
from training.skips import data_step
from training.throughput import flops_per_token, peak_flops, peak_memory_bytes

logger = logging.getLogger(__name__)


def train(
    job: Job, stop: threading.Event, *, rank: int, num_ranks: int, rewrite: Rewrite | None = None
) -> Outcome:
    """Train until the last step or until asked to stop; every rank returns the same outcome.

    rewrite is what a stage does to windows after they are read; None leaves them as they are.
    """
    run = set_up_run(job, rank=rank, num_ranks=num_ranks, rewrite=rewrite)
    try:
        resumed = resume_run(run)
        if resumed is not None and resumed.step == run.plan.total_steps:
            return Outcome(attempt=job.attempt, status="finished", checkpoint=resumed)
        if resumed is None and rank == 0:
            record_preflight(run)
        while True:
            try:
                return _train_steps(run, stop)
            except Diverged as diverged:
                roll_back(run, diverged)
    finally:
        run.saver.close()
        if num_ranks > 1:
            dist.destroy_process_group()


def _train_steps(run: Run, stop: threading.Event) -> Outcome:
    config, planned, job = run.config, run.plan, run.job
    gradients = _gradients(run)
    step_loss, stop_votes = gradients.step_loss, gradients.stop_votes
    if run.routers and isinstance(gradients, FlatGradients):  # a mixture is not sharded
        run.routers.write_into(gradients.routed)
    # bad_step is sticky: once a step was not finite no later one updates, until the next look at it.
    not_finite = torch.zeros((), device=run.device)
    bad_step = torch.full((), -1, dtype=torch.int64, device=run.device)
    run.optimizer.found_inf = not_finite  # type: ignore[attr-defined]  # read by the fused kernel
    # Looking is free on a CPU and stalls an accelerator, which therefore looks only when it logs.
    look_every = 1 if run.device.type == "cpu" else config.log_every_steps
    heartbeat = Heartbeat(job.run_dir, job.attempt, planned.total_steps) if run.rank == 0 else None
    meter = energy_meter(run.device, run.num_ranks) if run.rank == 0 else None
    peak = peak_flops(run.device) * run.num_ranks if run.rank == 0 else 0.0
    flops = flops_per_token(config.model, job.data.vocab_size, config.sequence_length)
    heldout = open_heldout(run)
    before_training = heldout.look() if run.start_step == 0 and heldout.is_due(0) else {}
    logged_at, logged_step = time.perf_counter(), run.start_step

    for step in range(run.start_step, planned.total_steps):
        crashpoint("training.step.before", str(step))
        run.saver.check()
        if heartbeat:
            heartbeat.beat(step)
        gradients.zero()
        _accumulate(run, step, step_loss)
        stop_votes.fill_(float(stop.is_set()))
        grad_norm = gradients.reduce()
        bad = ~(torch.isfinite(step_loss) & torch.isfinite(grad_norm))
        spike = None
        if run.spikes is not None:
            spike = run.spikes.is_spike(step_loss, grad_norm)
            bad = bad | run.spikes.lasted
        bad_step.copy_(torch.where((bad_step < 0) & bad, step, bad_step))
        skip = bad_step >= 0 if spike is None else (bad_step >= 0) | spike
        not_finite.copy_(skip.float())
        if config.grad_clip is not None:
            gradients.scale((config.grad_clip / (grad_norm + 1e-6)).clamp(max=1.0))
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
        looks = heldout.is_due(done)
        logs = last or done % config.log_every_steps == 0
        stopping = False
        if saves or logs or looks or step == 0 or done % look_every == 0:
            if bad_step.item() >= 0:
                number = int(bad_step.item())
                if run.spikes is not None and run.spikes.lasted.item():
                    raise Diverged(number, _spike_lasts(run, number))
                raise Diverged(number, _not_finite(number, step_loss.item(), grad_norm.item(), learning_rate))
            # The sum of all ranks' votes: they agree on the step to stop after.
            stopping = stop_votes.item() > 0
        before = time.perf_counter()
        seen = heldout.look() if looks else {}
        logged_at += time.perf_counter() - before
        if run.rank == 0 and (logs or seen or step == 0):
            line = {"loss": step_loss.item(), "learning_rate": learning_rate, "grad_norm": grad_norm.item()}
            if step == 0:
                run.metrics.write(
                    {"step": 0, "loss": line["loss"], "learning_rate": 0.0, "tokens": 0, **before_training}
                )
            if seen and not logs:
                run.metrics.write({"step": done, **seen})
            if logs:
                seconds = time.perf_counter() - logged_at
                speed = (done - logged_step) * config.batch_tokens / seconds
                tokens = done * config.batch_tokens
                epoch = (data_step(step, run.sampler.skipped) + 1) * planned.rows_per_step / run.sampler.num_windows
                if run.sampler.skipped:
                    line["rollbacks"] = len(run.sampler.skipped)
                if run.spikes is not None:
                    line["skipped_updates"] = run.spikes.skipped.item()
                run.metrics.write(
                    {
                        "step": done,
                        **line,
                        **seen,
                        "tokens": tokens,
                        "tokens_per_second": round(speed, 1),
                        "epoch": round(epoch, 4),
                        **(run.routers.told() if run.routers else {}),
                        "mfu": round(speed * flops / peak, 4),
                        "peak_memory_bytes": peak_memory_bytes(run.device),
                        **(meter.used() if meter else {}),
                    }
                )
                logger.info("step %d of %d: loss %.4f, %.0f tokens/s", done, planned.total_steps, line["loss"], speed)
                logged_at, logged_step = time.perf_counter(), done
        if saves or stopping:
            before = time.perf_counter()
            save_run(run, done)
            logged_at += time.perf_counter() - before
            if last or stopping:
                ref = finish_run(run, done)
                return Outcome(attempt=job.attempt, status="finished" if last else "stopped", checkpoint=ref)
    raise AssertionError("the last step returns")


def _gradients(run: Run) -> FlatGradients | ShardedGradients:
    if run.sharded is not None:
        return run.sharded.gradients(run.device)
    num_routed = run.routers.num_numbers if run.routers else 0
    return FlatGradients(list(run.model.parameters()), run.device, run.num_ranks, num_routed)


def _accumulate(run: Run, step: int, step_loss: torch.Tensor) -> None:
    """Add this rank's share of the step to the gradients and to step_loss (mean nats per token, no z-loss)."""
    config = run.config
    windows = run.sampler.rank_windows(step, rank=run.rank, num_ranks=run.num_ranks)
    positions = run.sampler.rank_positions(step, rank=run.rank, num_ranks=run.num_ranks)
    for first in range(0, len(windows), config.micro_batch_rows):
        rows = windows[first : first + config.micro_batch_rows]
        ids = run.stream.read_windows(rows, config.sequence_length)
        if run.rewrite is not None:
            ids = run.rewrite(ids, positions[first : first + config.micro_batch_rows])
        ids_BT = torch.from_numpy(ids)
        if run.device.type == "cuda":
            ids_BT = ids_BT.pin_memory().to(run.device, non_blocking=True)
        loss, cross_entropy = _loss(run, ids_BT) if run.sharded is None else run.sharded(_loss, run, ids_BT)
        step_loss += cross_entropy
        loss.backward()


def _loss(run: Run, ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss to differentiate and the cross-entropy alone, as shares of the step's means."""
    config = run.config
    positions_BT = document_positions(ids_BT[:, :-1], run.job.data.eos_id) if config.document_masking else None
    with autocast(run.device, config.precision):
        hidden_BTD = run.model.model(
            input_ids=ids_BT[:, :-1], position_ids=positions_BT, use_cache=False
        ).last_hidden_state
        # A mixture's own losses; nothing for a dense model, whose loss stays what it was bit for bit.
        routing = run.routers.loss(config.batch_tokens) if run.routers else None
        if config.loss_chunk_tokens is not None:
            loss, cross_entropy = chunked_loss(
                hidden_BTD.flatten(0, 1),
                run.model.lm_head.weight,
                ids_BT[:, 1:].flatten(),
                chunk_tokens=config.loss_chunk_tokens,
                z_loss=config.z_loss,
                num_tokens=config.batch_tokens,
            )
            return loss if routing is None else loss + routing, cross_entropy.detach()
        logits_BTV = run.model.lm_head(hidden_BTD)
    logits = logits_BTV.float().flatten(0, 1)
    loss = F.cross_entropy(logits, ids_BT[:, 1:].flatten(), reduction="sum") / config.batch_tokens
    cross_entropy = loss.detach()
    if config.z_loss is not None:
        loss = loss + config.z_loss * logits.logsumexp(-1).square().sum() / config.batch_tokens
    return loss if routing is None else loss + routing, cross_entropy


def _not_finite(step: int, loss: float, grad_norm: float, learning_rate: float) -> TrainingError:
    return TrainingError(
        f"loss or gradient of step {step} is not finite (now loss {loss}, gradient norm {grad_norm}, learning rate "
        f"{learning_rate:.3g}); the update was not made. Lower train.learning_rate, set train.grad_clip, or add "
        "train.z_loss: 1e-5"
    )


def _spike_lasts(run: Run, step: int) -> TrainingError:
    assert run.config.roll_back is not None, "only then a spike can last"
    return TrainingError(
        f"a spike lasts: {run.config.roll_back.spike_steps} updates in a row up to step {step} were skipped. Lower "
        "train.learning_rate, lengthen train.warmup_steps, or look at the data of these steps"
    )
