"""A run that diverged goes back to its last checkpoint and passes by the data it read since, a few times at most.

The data it passes by is recorded in the sampler of every later checkpoint, which also counts how often this happened:
a run killed in between diverges again at the same step and goes back again, to the same end.
"""

import logging
from dataclasses import replace

from ingot.errors import TrainingError
from training.batches import Sampler
from training.checkpoints import list_steps
from training.models import build_model
from training.runs import Run, resume_run, wait_for_checkpoint

logger = logging.getLogger(__name__)


class Diverged(Exception):
    """The update of `step` was not made, nor any after it; `error` is what a person is told."""

    def __init__(self, step: int, error: TrainingError) -> None:
        super().__init__(step, error)
        self.step = step
        self.error = error


def roll_back(run: Run, diverged: Diverged) -> None:
    """Make the run what it was at its last checkpoint, past the data up to the step that diverged.

    Raises the error a person is told when the run may not go back (again). All ranks call it.
    """
    allowed = run.config.roll_back
    if allowed is None or not isinstance(run.sampler, Sampler):
        raise diverged.error from None
    skipped = run.sampler.skipped
    if len(skipped) >= allowed.times:
        raise TrainingError(
            f"{diverged.error} (went back {len(skipped)} times before, as train.roll_back allows)"
        ) from None
    logger.warning("goes back to the last checkpoint: %s", diverged.error)
    wait_for_checkpoint(run)
    _forget(run)
    found = resume_run(run, keep_metrics=True)
    if run.spikes is not None:
        run.spikes.start_over()
    run.start_step = found.step if found else 0
    passed_by = diverged.step + 1 - run.start_step
    sampler = replace(run.sampler, skipped=(*skipped, (run.start_step, passed_by)))
    run.sampler = sampler
    if run.rank == 0:
        rollbacks = len(sampler.skipped)
        run.metrics.write({"step": diverged.step, "rolled_back_to_step": run.start_step, "rollbacks": rollbacks})
    logger.warning("is at step %d again and passes by the data of %d steps", run.start_step, passed_by)


def _forget(run: Run) -> None:
    run.optimizer.state.clear()
    if run.spikes is not None:
        run.spikes.restore(None)
    if list_steps(run.store, run.job.fingerprint):
        return  # a checkpoint brings its weights
    fresh = build_model(
        run.config.model,
        vocab_size=run.job.data.vocab_size,
        context_length=run.config.sequence_length,
        seed=run.config.seed,
    )
    if run.sharded is not None:
        run.sharded.put_weights(fresh.state_dict())
    else:
        run.model.load_state_dict(fresh.state_dict())
