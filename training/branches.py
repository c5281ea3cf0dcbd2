"""Branches of a trunk: a stage that goes on where a warmup-stable-decay run stood before its decay.

On the trunk's own data a branch reads on in the trunk's order from the row where it stood, so a branch as long as
the trunk's own decay gives the trunk's own weights, bit for bit. On other data it begins that data's order.
WSD and decays from its trunk: Hu et al. 2024 (MiniCPM, arXiv:2404.06395); Haegele et al. 2024 (arXiv:2405.18392).
"""

from dataclasses import replace

from ingot.errors import RecipeError
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.storage import Store
from training.batches import Sampler, data_digest
from training.checkpoints import CheckpointManifest, read_manifest
from training.mixtures import MixtureSampler, SamplerPart, check_budget, read_sampler
from training.skips import data_step
from training.stages.pretrain import Config, order_of, plan


def goes_on(config: Config) -> bool:
    """Whether a stage continues the optimizer of its start."""
    return getattr(config, "schedule", None) == "decay_only"


def order_from(
    store: Store, config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef
) -> Sampler | MixtureSampler:
    """The order of a stage's windows; that of a branch goes on in its trunk's where it reads the same data."""
    fresh = order_of(config, data)
    if start is None or not goes_on(config):
        return fresh
    trunk = read_manifest(store, start.key)
    if trunk.data_digest != data_digest(data):
        return fresh
    onward = _onward(trunk, fresh.rows_per_step)
    if onward.sequence_length != fresh.sequence_length:
        raise RecipeError(
            f"train.sequence_length {fresh.sequence_length} cuts the trunk's data, read in windows of "
            f"{onward.sequence_length}, anew; leave it out, it is taken over"
        )
    if isinstance(fresh, MixtureSampler) and _shares(onward) != _shares(fresh):
        return fresh
    check_budget(onward, plan(config, data.vocab_size).total_steps)
    return onward


def _onward(trunk: CheckpointManifest, rows_per_step: int) -> MixtureSampler:
    sampler = read_sampler(trunk.sampler)
    row = trunk.step * sampler.rows_per_step
    if isinstance(sampler, MixtureSampler):
        return replace(sampler, first_row=sampler.first_row + row, rows_per_step=rows_per_step)
    row = data_step(trunk.step, sampler.skipped) * sampler.rows_per_step
    part = SamplerPart(trunk.corpus, trunk.data_digest, sampler.seed, sampler.num_windows, 1, None)
    return MixtureSampler((part,), sampler.sequence_length, rows_per_step, first_row=row)


def _shares(sampler: MixtureSampler) -> list[tuple[int, int | None]]:
    return [(part.weight, part.max_rows) for part in sampler.parts]
