"""Which corpora a stage reads and how much of each, as a recipe writes it; `training/mixtures.py` reads them so."""

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

from pydantic import BaseModel, ConfigDict, Field, field_validator

from training.shares import MAX_PERIOD

OWN = "this"
"""How a recipe names its own corpus among the others."""


class DataPart(BaseModel):
    """One corpus of a mixture, and how much of it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}(@(latest|[1-9][0-9]*))?$",
        description="`this` for the recipe's own corpus, or a published version: handbook@3, handbook (its newest).",
    )
    weight: float = Field(
        default=1.0, gt=0, description="Share of the rows, relative to the other weights; equal ones by default."
    )
    max_epochs: float | None = Field(
        default=None,
        gt=0,
        description="Times the corpus is read at most; then the others take its share. Unset: as often as it is drawn. "
        "Up to 4 epochs cost little against new text (Muennighoff et al. 2023, arXiv:2305.16264).",
    )
    max_tokens: int | None = Field(
        default=None, gt=0, description="Tokens read of the corpus at most, repeats included; unset: no such bound."
    )

    @field_validator("weight")
    @classmethod
    def _is_written_short(cls, weight: float) -> float:
        if Fraction(str(weight)).denominator > MAX_PERIOD:
            raise ValueError(f"weight {weight} has more digits than shares are kept to; write four, e.g. {weight:.4g}")
        return weight


def check_parts(parts: Sequence[DataPart]) -> None:
    """Raise ValueError unless the parts are one mixture: every corpus once, the recipe's own among them."""
    names = [part.corpus for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"data names {', '.join(twice)} twice; give each corpus one weight")
    if OWN not in names:
        raise ValueError(f"data names {', '.join(names) or 'nothing'} and not the recipe's own corpus; "
                         f"add '- corpus: {OWN}'")  # fmt: skip
    integer_weights(parts)


def integer_weights(parts: Sequence[DataPart]) -> list[int]:
    """The weights as the smallest whole numbers in the same proportion, so that shares are exact."""
    exact = [Fraction(str(part.weight)) for part in parts]
    common = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * common) for weight in exact]
    whole = [weight // gcd(*whole) for weight in whole]
    if sum(whole) > MAX_PERIOD:
        told = ", ".join(f"{part.corpus} {part.weight:g}" for part in parts)
        raise ValueError(f"weights {told} repeat only after {sum(whole):,} rows; write them with fewer digits")
    return whole
