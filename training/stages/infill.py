"""Infilling: a model that fills a hole given what stands before and after it, for damaged texts and for code.

Trains as `pretrain` does, with the same loop and checkpoints, on windows that are rewritten when they are read
(`training/infilling.py`). `evaluation/infilling.py` fills holes with the result. The tokenizer must have
reserved the tokens for it: `tokenizer: {infill_lengths: ...}`. Costs nothing to import.
"""

from typing import Any

from pydantic import Field

from ingot.infill_tokens import read_infill_vocabulary
from ingot.refs import CheckpointRef, MixtureRef, TokensRef
from ingot.storage import Store
from training.infilling import REWRITE_KIND, HoleShape
from training.job import StageOutput
from training.stages import pretrain
from training.stages.pretrain import Plan, find_finished, plan

__all__ = ["NEEDS_INFILL_TOKENS", "VERSION", "Config", "Plan", "find_finished", "identity_values", "plan", "run"]

VERSION = "1"
STAGE = "infill"
NEEDS_INFILL_TOKENS = True
"""A recipe with this stage must set `tokenizer.infill_lengths`."""


class Config(pretrain.Config):
    """The options of `pretrain`, and the holes."""

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


def identity_values(config: Config) -> dict[str, Any]:
    """The values the final weights depend on, for the stage's fingerprint."""
    return {**pretrain.identity_values(config), "rewrite": REWRITE_KIND}


def hole_shape(config: Config) -> HoleShape:
    """What of the config decides about holes."""
    return HoleShape(**{name: getattr(config, name) for name in HoleShape.__dataclass_fields__})


def run(
    config: Config, start: CheckpointRef | None, data: TokensRef | MixtureRef, output: StageOutput
) -> CheckpointRef:
    """Train to the end, as `pretrain.run`; DataError when the tokenizer reserved no tokens for infilling."""
    store = Store(output.store_root, scratch_root=output.scratch_root)
    read_infill_vocabulary(store.read_bytes(f"{data.tokenizer_key}/tokenizer.json").decode())
    return pretrain.run_stage(STAGE, config, start, data, output)
