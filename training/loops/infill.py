"""The infilling loop: the pre-training loop over rewritten windows."""

import threading

from ingot.storage import Store
from training.infilling import InfillRewrite
from training.job import Job, Outcome
from training.loops import pretrain
from training.stages.infill import Config, hole_shape


def train(job: Job, stop: threading.Event, *, rank: int, num_ranks: int) -> Outcome:
    """As `training.loops.pretrain.train`."""
    config = Config.model_validate(job.config)
    store = Store(job.store_root, scratch_root=job.scratch_root)
    tokenizer_json = store.read_bytes(f"{job.data.tokenizer_key}/tokenizer.json").decode()
    rewrite = InfillRewrite(hole_shape(config), tokenizer_json, seed=config.seed)
    return pretrain.train(job, stop, rank=rank, num_ranks=num_ranks, rewrite=rewrite)
