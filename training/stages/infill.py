"""Infilling: a model that fills a hole given what stands before and after it, for damaged texts and for code.

Trains as `pretrain` does, with the same loop and checkpoints, on windows that are rewritten when they are read
(`training/infilling.py`). `evaluation/infilling.py` fills holes with the result. The tokenizer must have
reserved the tokens for it: `tokenizer: {infill_lengths: ...}`. With a `start` it goes on with a model whose tokenizer
has. Costs nothing to import.
"""

from typing import Any

from pydantic import Field

from ingot.errors import RecipeError
from ingot.infill_tokens import read_infill_vocabulary
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.storage import Store
from training.infilling import REWRITE_KIND, HoleShape
from training.job import StageOutput
from training.models import ModelConfig
from training.stages import pretrain
from training.stages.pretrain import Plan, find_finished, plan
from training.starts import StartFrom

__all__ = ["Config", "Plan", "check", "find_finished", "identity_values", "plan", "run", "take_over"]

VERSION = "1"
STAGE = "infill"
NEEDS_INFILL_TOKENS = True
"""A recipe with this stage must set `tokenizer.infill_lengths`, or start from a model."""


class Config(pretrain.Config):
    """The options of `pretrain`, where it starts, and the holes."""

    start: StartFrom | None = Field(
        default=None,
        description="restorer/3 or {checkpoint: KEY}: a model to go on with, whose tokenizer and shape are taken over; "
        "unset: fresh weights, or the stage before.",
    )
    model: ModelConfig | None = Field(  # type: ignore[assignment]  # None until the start is known
        default=None, description="Shape of the model; unset: the start's, the only one that fits."
    )
    infill_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of documents (or pieces of them) that get a hole; the rest is read as it is. Up to 0.9 "
        "costs plain text nothing (Bavarian et al. 2022, section 4.2).",
    )
    spm_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of holes written suffix first, then prefix, then the filling; the others prefix first. Half "
        "and half is the published default; 1 where every hole is filled in that order.",
    )
    known_length_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of holes whose length in characters is stated, where the tokenizer has a token for it; "
        "half, so that the model can do both.",
    )
    max_span_characters: int | None = Field(
        default=None,
        ge=1,
        description="Holes are 1 to so many characters long, each length as likely; unset: between two cuts anywhere, "
        "as published for code.",
    )
    max_piece_tokens: int | None = Field(
        default=None,
        ge=8,
        description="Longer documents are cut into pieces of an eighth of it to it, each length as likely, and each "
        "piece may get a hole: more of what is read is fillings. Unset: one hole for what a window has of a document.",
    )


def take_over(config: Config, start: dict[str, Any], *, vocab_size: int, learning_rate: float) -> Config:
    """The config with the shape that the start decides; start is the config of the run that made the checkpoint.

    Raises RecipeError when the recipe asks for another shape, and for an adopted model, whose tokenizer has no tokens
    for holes.
    """
    if start["model"]["family"] == "adopted":
        raise RecipeError(
            "train.start is an adopted model or began with one, whose tokenizer has no tokens for holes; start from a "
            "model of ours whose recipe has tokenizer.infill_lengths, or from fresh weights"
        )
    model = ModelConfig.model_validate(start["model"])
    if config.model is not None and config.model != model:
        raise RecipeError("train.model is another shape than the start's; take `model` out, it is taken over")
    pretrain.check_sharding(config.sharding, model)
    return config.model_copy(update={"model": model})


def check(config: Config, vocab_size: int) -> None:
    """What can be said before the start is known; raises RecipeError."""
    if config.model is not None:
        plan(config, vocab_size)


def identity_values(config: Config) -> dict[str, Any]:
    """The values the final weights depend on; the start is among the fingerprint's inputs, by its digest."""
    values = pretrain.identity_values(config)
    values.pop("start")
    return {**values, "rewrite": REWRITE_KIND}


def hole_shape(config: Config) -> HoleShape:
    """What of the config decides about holes."""
    return HoleShape(**{name: getattr(config, name) for name in HoleShape.__dataclass_fields__})


def run(
    config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """Train to the end, as `pretrain.run`; DataError when the tokenizer reserved no tokens for infilling.

    RecipeError without a shape.
    """
    if config.model is None:
        raise RecipeError("stage infill has no model; give it a shape, or a start whose shape it takes over")
    store = Store(output.store_root, scratch_root=output.scratch_root)
    read_infill_vocabulary(store.read_bytes(f"{data.tokenizer_key}/tokenizer.json").decode())
    return pretrain.run_stage(STAGE, config, start, data, output)
