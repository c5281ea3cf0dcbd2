"""What the gate is asked (`GateConfig`) and what it answers (`Verdict`); frozen, JSON-able values."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GateConfig(BaseModel):
    """What the gate asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_documents: int = Field(
        default=30,
        ge=2,
        description="Fewer common documents are not judged; below 30 a bootstrap interval is too narrow.",
    )
    margin_bits_per_byte: float = Field(
        default=0.01,
        ge=-8,
        le=8,
        allow_inf_nan=False,
        description="So much worse is still accepted; half a per cent of 2 bits, about what 1 to 2 MB of "
        "text can "
        "resolve. Zero forbids any loss, a negative value demands an improvement.",
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="1 - level of the two-sided interval; each side errs with half.",
    )
    power: float = Field(default=0.8, gt=0, lt=1, description="Of the estimate of how many documents are needed.")
    resamples: int = Field(default=10_000, ge=100, description="Bootstrap resamples.")
    seed: int = Field(default=0, ge=0, description="Of the resampling.")


class BaselineComparison(BaseModel):
    """The candidate beside one baseline on the candidate's own held-out documents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    bits_per_byte: float
    difference: float = Field(description="Candidate minus baseline, bits per byte; negative: the candidate is better.")
    low: float | None = Field(default=None, description="Interval; None for a baseline without a number per document.")
    high: float | None = None
    p_value: float | None = Field(default=None, description="Two-sided, Holm-corrected over the baselines.")
    beats: Literal["yes", "no", "unclear"] = Field(
        description="By the corrected p-value; by the plain difference where there is no interval."
    )


class Verdict(BaseModel):
    """The gate's answer with every number it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "FIRST"]
    reason: str
    suite: str
    suite_version: str
    num_documents: int = Field(description="Documents compared.")
    num_bytes: int = Field(default=0, description="Their bytes.")
    candidate_bits_per_byte: float | None = Field(default=None, description="On the documents compared.")
    champion_bits_per_byte: float | None = None
    difference: float | None = Field(
        default=None, description="Candidate minus champion, bits per byte; negative is better."
    )
    low: float | None = None
    high: float | None = None
    p_value: float | None = Field(default=None, description="Two-sided, of no difference.")
    num_needed: int | None = Field(
        default=None, description="Documents that would probably decide; None: decided or unknown."
    )
    num_only_candidate: int = Field(default=0, description="Left out: held out for the candidate only.")
    num_only_champion: int = Field(default=0, description="Left out: held out for the champion only.")
    num_seen_by_candidate: int = Field(default=0, description="Left out: stated as seen in the candidate's training.")
    num_seen_by_champion: int = Field(default=0, description="Left out: stated as seen in the champion's training.")
    num_scored_differently: int = Field(
        default=0, description="Left out: the two scored different parts of the document."
    )
    baselines: tuple[BaselineComparison, ...] = ()
    config: GateConfig
