"""Pre-training: token shards in, a language model out, from fresh weights or from a checkpoint.

This module is the stage's face (config, plan, `run`) and costs nothing to import; the ranks do the
work in `training/loops/pretrain.py`. A 1M-parameter model trains at about 10,000 tokens/s on 2 cores.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingot.errors import IntegrityError, RecipeError
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.storage import Store
from training.acceleration import Precision
from training.adopted_shape import AdoptedShape
from training.batches import Sampler, data_digest
from training.checkpoints import key_of, list_steps, read_manifest, verify_checkpoint
from training.data_parts import DataPart, check_parts
from training.job import StageOutput
from training.launch import deliver_metrics, run_group
from training.mixtures import MixtureSampler, sampler_of
from training.models import (
    ModelConfig,
    active_non_embedding_parameters,
    active_parameters,
    identity_of_model,
    non_embedding_parameters,
    num_parameters,
)
from training.optimizers import (
    DecayShape,
    OptimizerName,
    decay_start,
    default_learning_rate,
    default_warmup_steps,
)
from training.spikes import RollBack, SkipSpikes

Sharding = Literal["none", "full"]

VERSION = "1"
STAGE = "pretrain"


class Config(BaseModel):
    """What to train and how. Every value is part of the run's fingerprint but those of `identity_values`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = Field(description="Shape of the model.")
    tokens: int = Field(gt=0, description="Tokens to train on, repeats included; rounded up to whole steps.")
    data: tuple[DataPart, ...] | None = Field(
        default=None,
        min_length=1,
        description="What is read, by weight, e.g. [{corpus: this, weight: 0.7}, {corpus: handbook@3, weight: 0.3, "
        "max_epochs: 2}]; unset: the recipe's own corpus alone, as often as `tokens` needs.",
    )
    sequence_length: int = Field(
        default=256, ge=8, description="Tokens a model sees at once; 256 keeps attention cheap on a CPU."
    )
    batch_tokens: int = Field(
        default=4096,
        gt=0,
        description="Tokens of one step, a multiple of sequence_length; 4096 gives a short run enough updates.",
    )
    micro_batch_rows: int = Field(
        default=4, gt=0, description="Windows in one forward pass; 4 of 256 tokens keep the logits in a CPU's cache."
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Peak rate; unset: half of Porian et al. 2024 for the model's size, clipped to [1e-4, 4.1e-3].",
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="Steps of linear rise; unset: one token per parameter, at most 10 % of the run."
    )
    decay: DecayShape = Field(
        default="wsd",
        description="wsd: constant, then a linear fall, so that the run can be continued from before it; or cosine.",
    )
    decay_fraction: float = Field(
        default=0.2, gt=0, le=1, description="Share of the steps over which wsd falls; 10 to 20 % are usual."
    )
    weight_decay: float = Field(
        default=0.1, ge=0, description="AdamW's decay of the blocks' matrices; embeddings and norms have none."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's memory of the gradient.")
    beta2: float = Field(
        default=0.95, ge=0, lt=1, description="AdamW's memory of its square; 0.95 forgets a start-up within 20 steps."
    )
    grad_clip: float | None = Field(
        default=1.0, gt=0, description="Largest norm of a step's gradient; unset (null): no clipping."
    )
    z_loss: float | None = Field(
        default=None,
        gt=0,
        description="Weight of the squared log-normaliser; 1e-5 steadies large runs, small ones do not need it.",
    )
    balance_loss: float = Field(
        default=0.01,
        ge=0,
        description="Of a mixture of experts: weight of the loss that shares tokens out among experts, 1 when even; "
        "OLMoE's.",
    )
    router_z_loss: float = Field(
        default=0.001,
        ge=0,
        description="Of a mixture of experts: weight of the squared log-normaliser of the router; OLMoE's.",
    )
    optimizer: OptimizerName = Field(
        default="adamw",
        description="muon orthogonalises the updates of the blocks' matrices, at AdamW's rates; adamw, which every "
        "published recipe of a small model was tuned with.",
    )
    skip_spikes: SkipSpikes | None = Field(
        default=None,
        description="Skip the update of a step whose loss or gradient norm leaves the range of the last ones; unset: "
        "every finite update is made, which small models bear.",
    )
    roll_back: RollBack | None = Field(
        default=None,
        description="Go back to the last checkpoint and pass by the data read since, when a step is not finite or a "
        "spike lasts; unset: stop before the update, so that a person looks at the rate and the data.",
    )
    loss_chunk_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Compute the loss over so many tokens at a time, so that the logits of a micro batch never exist; "
        "1024 suit a vocabulary of 50,000 and more. Unset: at once, which is right for small ones.",
    )
    document_masking: bool = Field(
        default=False,
        description="Attention does not cross from one document into another in a window; off, because nanochat "
        "measured no gain at 2,048 tokens.",
    )
    precision: Precision | None = Field(
        default=None,
        description="Of matrix products, weights staying float32; unset: bfloat16 on a GPU, float32 on a CPU, which is "
        "often slow in bfloat16.",
    )
    compile: bool | None = Field(
        default=None,
        description="Compile the blocks at the first step, within rounding of what they are; unset: on a GPU, because "
        "on a CPU a short run ends before it pays.",
    )
    sharding: Sharding = Field(
        default="none",
        description="full: weights, gradients and moments are divided among the ranks, for models that one GPU does "
        "not hold; none: every rank has all of them, which is faster while it fits.",
    )
    gpus: int | None = Field(
        default=None,
        ge=1,
        description="GPUs to train on, one rank each; the stage waits until so many are free. Unset: INGOT_RANKS ranks "
        "on what is there, without waiting. Does not change what is trained.",
    )
    seed: int = Field(default=0, ge=0, description="Of the fresh weights and the order of windows.")
    checkpoint_every_steps: int = Field(
        default=50, gt=0, description="Steps between checkpoints: what a kill can cost. Does not change the weights."
    )
    log_every_steps: int = Field(
        default=10, gt=0, description="Steps between lines of metrics.jsonl. Does not change the weights."
    )
    heldout_every_steps: int | None = Field(
        default=None,
        ge=0,
        description="Steps between looks at the bits per byte of held-out text; 0: none. Unset: ten looks, 2 % "
        "of a short run's time. Does not change the weights.",
    )
    async_checkpoints: bool = Field(
        default=True,
        description="Write checkpoints beside training, from a copy in main memory of three times the weights; false: "
        "stop for them, where memory is short. Does not change the weights.",
    )

    @model_validator(mode="after")
    def _steps_are_whole(self) -> "Config":
        if self.batch_tokens % self.sequence_length:
            near = max(1, round(self.batch_tokens / self.sequence_length)) * self.sequence_length
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of sequence_length {self.sequence_length}; "
                f"{near} is the nearest"
            )
        return self

    @model_validator(mode="after")
    def _divided_tensors_are_updated_one_by_one(self) -> "Config":
        if self.model is not None:
            check_sharding(self.sharding, self.model)
        if self.sharding == "full" and self.optimizer == "muon":
            raise ValueError(
                "optimizer muon needs whole matrices, and sharding full leaves no rank one; write optimizer: adamw, or "
                "sharding: none"
            )
        return self

    @model_validator(mode="after")
    def _data_is_one_mixture(self) -> "Config":
        if self.data is not None:
            check_parts(self.data)
        if self.roll_back is not None and self.parts:
            raise ValueError(
                "roll_back passes data by, and the order of several corpora has no place for that; take roll_back out, "
                "or train on one corpus"
            )
        return self

    @property
    def parts(self) -> tuple[DataPart, ...]:
        """What is read by weight; empty for the recipe's own corpus alone."""
        return self.data or ()


ADDED_OPTIONS = (
    "balance_loss",
    "router_z_loss",
    "optimizer",
    "skip_spikes",
    "roll_back",
    "loss_chunk_tokens",
    "document_masking",
    "precision",
    "compile",
    "sharding",
)
"""Options that came later and do nothing by default: left out of the identity then, so that old runs are found."""


WITHOUT_EFFECT = ("checkpoint_every_steps", "log_every_steps", "heldout_every_steps", "gpus", "async_checkpoints")
"""Options the final weights do not depend on."""


def check_sharding(sharding: Sharding, model: ModelConfig | AdoptedShape) -> None:
    """Raise RecipeError for a model whose weights in files are named otherwise than those that are divided."""
    if sharding == "full" and (model.is_mixture or model.family == "adopted"):
        raise RecipeError(
            f"train.sharding full of a model of family {model.family} cannot read its checkpoints yet; write sharding: "
            "none, or choose a dense family of ours"
        )


def identity_values(config: Config) -> dict[str, Any]:
    """The values the final weights depend on, for the stage's fingerprint; of its data, what no digest of it says."""
    unset = {name for name in ADDED_OPTIONS if getattr(config, name) == Config.model_fields[name].default}
    values = config.model_dump(mode="json", exclude={*WITHOUT_EFFECT, *unset})
    if values["model"] is not None:
        values["model"] = identity_of_model(values["model"])
    return values | {"data": identity_of_parts(config.parts)}


def identity_of_parts(parts: tuple[DataPart, ...]) -> list[dict[str, Any]] | None:
    """Weights and caps without names: which corpus versions they are is among the fingerprint's inputs."""
    return [part.model_dump(mode="json", exclude={"corpus"}) for part in parts] or None


def order_of(config: Config, data: TokensRef | MixtureRef) -> Sampler | MixtureSampler:
    """Which windows every step reads; RecipeError, with the numbers, when the data's caps leave too few."""
    planned = plan(config, data.vocab_size)
    return sampler_of(
        data,
        config.parts,
        seed=config.seed,
        sequence_length=config.sequence_length,
        rows_per_step=planned.rows_per_step,
        total_steps=planned.total_steps,
    )


@dataclass(frozen=True)
class Plan:
    """What the config comes to for a vocabulary: every default resolved."""

    total_steps: int
    rows_per_step: int
    learning_rate: float
    warmup_steps: int
    num_parameters: int
    num_non_embedding_parameters: int
    num_active_parameters: int
    """Those that one token meets; all of them but in a mixture of experts."""
    num_active_non_embedding_parameters: int
    """The same in the blocks: what rules of a model's size go by."""
    milestone_step: int | None
    """Steps done when wsd begins to fall: that checkpoint is kept, because a longer run starts there."""

    def is_milestone(self, step: int) -> str | None:
        """Why the checkpoint after `step` steps is kept for good; None when it is not."""
        if step == self.total_steps:
            return "final"
        return "before_decay" if step == self.milestone_step else None


def plan(config: Config, vocab_size: int) -> Plan:
    """Resolve the defaults that depend on the model's size."""
    total_steps = -(-config.tokens // config.batch_tokens)
    parameters = num_parameters(config.model, vocab_size)
    active_blocks = active_non_embedding_parameters(config.model)
    warmup = config.warmup_steps
    if warmup is None:
        warmup = default_warmup_steps(parameters, config.batch_tokens, total_steps)
    start = decay_start(total_steps, config.decay_fraction) if config.decay == "wsd" else 0
    if warmup >= total_steps > 1:
        raise RecipeError(
            f"train.warmup_steps {warmup} leaves nothing of {total_steps} steps; lower it or train longer"
        )
    return Plan(
        total_steps=total_steps,
        rows_per_step=config.batch_tokens // config.sequence_length,
        learning_rate=config.learning_rate or default_learning_rate(active_blocks),
        warmup_steps=warmup,
        num_parameters=parameters,
        num_non_embedding_parameters=non_embedding_parameters(config.model),
        num_active_parameters=active_parameters(config.model, vocab_size),
        num_active_non_embedding_parameters=active_blocks,
        milestone_step=start if start > warmup else None,
    )


def run(
    config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """Train to the end, continuing whatever an earlier start of the same fingerprint left.

    A finished run is verified and returned (`reused`) without training. start gives the weights to begin
    with; None means fresh ones. Raises TrainingInterrupted when stopped (start it again to continue),
    TrainingError when the group failed, BusyError when the run is in progress elsewhere, RecipeError when the
    caps of the data leave less than `tokens`.
    """
    return run_stage(STAGE, config, start, data, output)


def run_stage(
    stage: str, config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """The same for a stage of another name that has its own Config and this loop."""
    finished = find_finished(config, data, output)
    if finished is not None:
        deliver_metrics(output, finished.key)
        return finished
    order_of(config, data)
    return run_group(stage, config.model_dump(mode="json"), start, data, output)


def find_finished(config: Config, data: TokensRef | MixtureRef, output: StageOutput) -> CheckpointRef | None:
    """The verified final checkpoint of this fingerprint; None when it is not there or is damaged."""
    store = Store(output.store_root, scratch_root=output.scratch_root)
    total_steps = plan(config, data.vocab_size).total_steps
    if total_steps not in list_steps(store, output.fingerprint):
        return None
    key = key_of(output.fingerprint, total_steps)
    try:
        if read_manifest(store, key).data_digest != data_digest(data):
            return None
        _, ref = verify_checkpoint(store, key)
    except IntegrityError:
        # The ranks report it, move it aside and make it again from the checkpoint before.
        return None
    return ref.model_copy(update={"reused": True})
