"""Continued pre-training: a checkpoint and new text in, a model that knows both out; or the decay of a trunk.

The loop is that of `pretrain`; this module says what is taken over from the start and what differs by default: the
learning rate is lower and warmed up again, old text is replayed. With `schedule: decay_only` a stage goes on where
a warmup-stable-decay run stood before its decay: same optimizer state, same rate, falling linearly to the end.
"""

from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingot.errors import RecipeError
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from training.adopted_shape import AdoptedShape
from training.data_parts import OWN, DataPart, check_parts
from training.job import StageOutput
from training.models import ModelConfig
from training.stages import pretrain
from training.stages.pretrain import find_finished, plan
from training.starts import StartFrom

__all__ = ["Config", "check", "find_finished", "identity_values", "plan", "run", "take_over"]

VERSION = "1"
STAGE = "continued_pretrain"
NEEDS_START = True
"""As a recipe's first stage it is refused without a `start`."""

LEARNING_RATE_SHARE = 0.25
"""Of the rate for fresh weights of this size: FineMath's continued pre-training of a 3B model used 5e-5, where SmolLM3
trained a 3B model from scratch with 2e-4 (Hugging Face smollm, text/pretraining and text/finemath)."""
WARMUP_SHARE = Fraction(1, 60)
"""Of the steps: 1,000 of 60,000 in the same FineMath run."""
_OF_THE_SCHEDULE = ("learning_rate", "warmup_steps", "decay", "decay_fraction")
_NOT_TAKEN_OVER = ("tokens", "data", *pretrain.WITHOUT_EFFECT)


class Replay(BaseModel):
    """Old text read beside the new, against forgetting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = Field(description="A published corpus version, usually the one the start was trained on: handbook@3.")
    share: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Of the rows; 5 % kept a model's old loss under a weak shift, 25 % under a strong one (Ibrahim et "
        "al. 2024, arXiv:2403.08763).",
    )
    max_epochs: float | None = Field(default=None, gt=0, description="Times the old corpus is read at most.")

    @property
    def parts(self) -> tuple[DataPart, ...]:
        """The same as a mixture."""
        rest = float(1 - Fraction(str(self.share)))
        return (
            DataPart(corpus=OWN, weight=rest),
            DataPart(corpus=self.corpus, weight=self.share, max_epochs=self.max_epochs),
        )


class Config(pretrain.Config):
    """What `pretrain` has, and where it starts."""

    start: StartFrom | None = Field(
        default=None,
        description="mini/3 or mini@champion, {checkpoint: KEY}, {run: FINGERPRINT, at: before_decay}; unset: the "
        "stage before. Its tokenizer and the shape of its model are taken over.",
    )
    model: ModelConfig | AdoptedShape | None = Field(  # type: ignore[assignment]  # None until the start is known
        default=None, description="Shape of the model; unset: the start's, the only one that fits."
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Peak rate; unset: a quarter of what fresh weights of this size would have.",
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="Steps of linear rise to it; unset: a sixtieth of the steps, at least one."
    )
    replay: Replay | None = Field(
        default=None, description="{corpus: old@3, share: 0.1}: short for `data` of the recipe's corpus and an old one."
    )
    schedule: Literal["decay_only"] | None = Field(
        default=None,
        description="decay_only: go on with the optimizer and rate of a run before its decay, falling linearly over "
        "`tokens`; all else is taken over from it. Unset: warm up again, then `decay`.",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Config":
        if self.replay is not None and self.data is not None:
            raise ValueError("replay and data both say what is read; write the old corpus into data, or take data out")
        if self.replay is not None:
            check_parts(self.replay.parts)
        if self.schedule == "decay_only":
            if self.start is None or self.start.at != "before_decay":
                raise ValueError("schedule decay_only needs a start before a decay; write start: {run: ..., "
                                 "at: before_decay}")  # fmt: skip
            given = [name for name in _OF_THE_SCHEDULE if name in self.model_fields_set]
            if given and self.model is None:
                raise ValueError(f"schedule decay_only takes {', '.join(given)} over from the run; take it out")
        return self

    @property
    def parts(self) -> tuple[DataPart, ...]:
        """What is read by weight; empty for the recipe's own corpus alone."""
        return self.replay.parts if self.replay is not None else super().parts


def take_over(config: Config, start: dict[str, Any], *, vocab_size: int, learning_rate: float) -> Config:
    """The config with everything that the start decides filled in.

    start is the config of the run that made the checkpoint, learning_rate its peak rate. Raises RecipeError when
    the recipe asks for another shape.
    """
    model = _shape(start["model"])
    if config.model is not None and config.model != model:
        raise RecipeError("train.model is another shape than the start's; take `model` out, it is taken over")
    pretrain.check_sharding(config.sharding, model)
    if isinstance(model, AdoptedShape) and model.context_tokens and config.sequence_length > model.context_tokens:
        raise RecipeError(
            f"train.sequence_length {config.sequence_length:,} is longer than the {model.context_tokens:,} tokens that "
            "the adopted model sees at once; lower it"
        )
    if config.schedule == "decay_only":
        return _on_the_trunk(config, start, learning_rate)
    filled = config.model_copy(update={"model": model})
    planned = pretrain.plan(filled.model_copy(update={"warmup_steps": 0}), vocab_size)
    values: dict[str, Any] = {}
    if config.learning_rate is None:
        values["learning_rate"] = planned.learning_rate * LEARNING_RATE_SHARE
    if config.warmup_steps is None:
        values["warmup_steps"] = max(1, round(planned.total_steps * WARMUP_SHARE)) if planned.total_steps > 1 else 0
    return filled.model_copy(update=values)


def _shape(model: dict[str, Any]) -> ModelConfig | AdoptedShape:
    """The shape in the config of a run, or of an adopted model."""
    kind = AdoptedShape if model.get("family") == "adopted" else ModelConfig
    return kind.model_validate(model)


def _on_the_trunk(config: Config, trunk: dict[str, Any], learning_rate: float) -> Config:
    """The trunk's own values but for what the recipe states, and the schedule of its decay."""
    mine = {name: value for name, value in config.model_dump(mode="json").items() if name in config.model_fields_set}
    fields = set(Config.model_fields) - set(_NOT_TAKEN_OVER) - {"start", "replay", "schedule"}
    theirs = {name: value for name, value in trunk.items() if name in fields}
    # A linear fall to zero over all steps, as the trunk's own would be over its last ones.
    schedule = {"learning_rate": learning_rate, "warmup_steps": 0, "decay": "wsd", "decay_fraction": 1.0}
    return Config.model_validate({**theirs, **mine, **schedule, "model": trunk["model"]})


def check(config: Config, vocab_size: int) -> None:
    """What can be said before the start is known; raises RecipeError."""
    total_steps = -(-config.tokens // config.batch_tokens)
    if config.warmup_steps is not None and config.warmup_steps >= total_steps > 1:
        raise RecipeError(
            f"train.warmup_steps {config.warmup_steps} leaves nothing of {total_steps} steps; lower it or train longer"
        )


def identity_values(config: Config) -> dict[str, Any]:
    """The values the final weights depend on; the start is among the fingerprint's inputs, by its digest."""
    values = pretrain.identity_values(config)
    return {name: value for name, value in values.items() if name not in ("start", "replay")}


def run(
    config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """Train on from `start` to the end, as `pretrain.run`; raises RecipeError without a start."""
    if start is None or config.model is None:
        raise RecipeError("continued_pretrain has nothing to start from; give it a start, or a stage before it")
    return pretrain.run_stage(STAGE, config, start, data, output)
