"""The loss that a run will end at: a band from published laws, and from earlier runs where there are some.

Arithmetic; no torch. Chinchilla's law as corrected by Besiroglu et al. 2024 (arXiv:2404.10102) is the prediction where
its runs were made. Below it stands beside the law of Kaplan et al. 2020 (arXiv:2001.08361), whose models were smaller:
the band spans both. Laws speak of their own tokenizer: text is what two tokenizers share, so tokens are turned into
bytes and back. What the band rests on, and what it cannot know: docs/decisions/030.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BESIROGLU = "Besiroglu et al. 2024, arXiv:2404.10102"
KAPLAN = "Kaplan et al. 2020, arXiv:2001.08361"

# L(N, D) = E + A / N^alpha + B / D^beta in nats a token; N all weights, D tokens (Besiroglu et al. 2024, table 1).
E, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3658
LAW_BYTES_PER_TOKEN = 3.9
"""MassiveText's mixture: bytes over tokens of its parts, by share (Rae et al. 2021, arXiv:2112.11446, table 2)."""
LEAST_PARAMETERS, LEAST_TOKENS = 44e6, 0.9e9
"""Hoffmann et al. 2022 (arXiv:2203.15556) trained from 44M weights on, here with 20 tokens a weight."""

# L(N, D) = ((Nc / N)^(aN / aD) + Dc / D)^aD; N without embeddings (Kaplan et al. 2020, equation 1.5 and table 2).
KAPLAN_N, KAPLAN_D, KAPLAN_ALPHA_N, KAPLAN_ALPHA_D = 6.4e13, 1.8e13, 0.076, 0.103
KAPLAN_BYTES_PER_TOKEN = 4.3
"""About, for WebText2 in GPT-2's pieces."""

TEXT_SHARE = 0.25
"""How far another text lies above or below the law's: a choice of ours, for the law was fitted on one mixture."""
DECADE_SHARE = 0.1
"""What is added for each factor of ten outside the runs that a law was fitted on."""
RUN_SHARE = 0.05
"""The least width of a band through earlier runs: seeds, and text that changed between versions."""
COMPUTE_EXPONENT = ALPHA * BETA / (ALPHA + BETA)
"""Of the reducible loss over compute, where size and tokens grow together: both terms of the law equal in slope."""
FITTED_FROM_RUNS = 3
FITTED_FROM_RATIO = 4.0
"""From three runs on, whose compute differs fourfold, the exponent is theirs; before, it is the law's."""

REPEATS_WORTH = 15.387756
"""R*_D of Muennighoff et al. 2023 (arXiv:2305.16264): repeats of a text are worth at most so many fresh ones."""


@dataclass(frozen=True)
class LossBand:
    """What a run's training loss will be at its end, in nats a token of its own tokenizer; bits a byte beside it."""

    low: float
    middle: float
    high: float
    bits_per_byte: tuple[float, float, float]
    """The same three over bytes of text: low, middle, high."""
    basis: str
    """The law, or the runs."""
    why_so_wide: str
    is_extrapolation: bool


@dataclass(frozen=True)
class FinishedRun:
    """An earlier run: what it was, and the training loss it ended at."""

    name: str
    parameters: int
    tokens: int
    """Fresh ones that what it read is worth, as `effective_tokens`: those of the run to come are counted so too."""
    bits_per_byte: float

    @property
    def compute(self) -> float:
        """6ND."""
        return 6.0 * self.parameters * self.tokens


def effective_tokens(tokens: float, unique: float | None) -> float:
    """Fresh tokens that so many are worth when the corpus has `unique`: D' of Muennighoff et al. 2023.

    U + U * R * (1 - exp(-r / R)), r repeats after the first reading, R 15.4 (arXiv:2305.16264, equation 5).
    """
    if not unique or tokens <= unique:
        return tokens
    repeats = tokens / unique - 1
    return unique * (1 + REPEATS_WORTH * (1 - math.exp(-repeats / REPEATS_WORTH)))


def chinchilla_bits(parameters: int, num_bytes: float) -> float:
    """Bits a byte of the law on text of so many bytes, with its own tokens."""
    nats = E + A / parameters**ALPHA + B / (num_bytes / LAW_BYTES_PER_TOKEN) ** BETA
    return float(nats / (math.log(2) * LAW_BYTES_PER_TOKEN))


def kaplan_bits(blocks: int, num_bytes: float) -> float:
    """Bits a byte of the law of Kaplan et al. 2020; blocks are weights without embeddings."""
    tokens = num_bytes / KAPLAN_BYTES_PER_TOKEN
    size = (KAPLAN_N / blocks) ** (KAPLAN_ALPHA_N / KAPLAN_ALPHA_D)
    nats = (size + KAPLAN_D / tokens) ** KAPLAN_ALPHA_D
    return float(nats / (math.log(2) * KAPLAN_BYTES_PER_TOKEN))


def predict_loss(
    *,
    parameters: int,
    blocks: int,
    tokens: int,
    bytes_per_token: float,
    vocab_size: int,
    unique_tokens: int | None = None,
    runs: Sequence[FinishedRun] = (),
    active: tuple[int, int] | None = None,
) -> LossBand:
    """The band of the training loss at the end of a run with fresh weights.

    blocks are weights without embeddings; unique_tokens what the corpus has, None when nobody knows; runs are earlier
    ones on the same corpus, and outweigh the law where there are any. active are the weights that one token meets, all
    and those in blocks, where they are fewer: a mixture of experts. The high end is at most ln(vocab_size), what
    guessing costs.
    """
    num_bytes = effective_tokens(tokens, unique_tokens) * bytes_per_token
    nats = math.log(2) * bytes_per_token
    guessing = math.log(vocab_size) / nats
    if runs:
        low, middle, high, basis, why, far = _through(runs, 6.0 * parameters * num_bytes / bytes_per_token)
    else:
        low, middle, high, basis, why, far = _by_law(parameters, blocks, num_bytes, guessing)
        if active is not None and active[0] < parameters:
            _, other, high, basis, why, far = _by_law(*active, num_bytes, guessing)
            middle = math.sqrt(middle * other)
            why += "; and it spans dense models of a token's weights and of all weights, for the law knows no experts"
    low, middle, high = (min(value, guessing) for value in (low, middle, high))
    return LossBand(low * nats, middle * nats, high * nats, (low, middle, high), basis, why, far)


def _by_law(
    parameters: int, blocks: int, num_bytes: float, guessing: float
) -> tuple[float, float, float, str, str, bool]:
    tokens = num_bytes / LAW_BYTES_PER_TOKEN
    decades = max(0.0, math.log10(LEAST_PARAMETERS / parameters), math.log10(LEAST_TOKENS / tokens))
    chinchilla = min(chinchilla_bits(parameters, num_bytes), guessing)
    share = TEXT_SHARE + DECADE_SHARE * decades
    if not decades:
        why = f"{TEXT_SHARE:.0%} for a text that is not the law's mixture"
        return chinchilla * (1 - share), chinchilla, chinchilla * (1 + share), BESIROGLU, why, False
    kaplan = min(kaplan_bits(blocks, num_bytes), guessing)
    low, high = sorted((chinchilla, kaplan))
    why = (
        f"an extrapolation: the law's runs have 44M weights and more, this is {10**decades:,.0f} times below them in "
        f"weights or tokens. It spans both laws and {share:.0%} beyond: {TEXT_SHARE:.0%} for the text, "
        f"{DECADE_SHARE:.0%} for each factor of ten"
    )
    return low * (1 - share), math.sqrt(low * high), high * (1 + share), f"{BESIROGLU}, and {KAPLAN}", why, True


def _through(runs: Sequence[FinishedRun], compute: float) -> tuple[float, float, float, str, str, bool]:
    """A power law of compute above the law's floor, through the runs."""
    # A text more even than the law's can lie near or below its floor: then 3/4 of the best run are the floor.
    floor = min(E / (math.log(2) * LAW_BYTES_PER_TOKEN), 0.75 * min(run.bits_per_byte for run in runs))
    logs = [(math.log(run.compute), math.log(run.bits_per_byte - floor)) for run in runs]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    spread = max(x for x, _ in logs) - min(x for x, _ in logs)
    slope, of_what = -COMPUTE_EXPONENT, "the exponent of the law"
    if len(runs) >= FITTED_FROM_RUNS and spread >= math.log(FITTED_FROM_RATIO):
        slope = sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
        of_what = f"their exponent {slope:.3f}"
    residuals = [y - mean_y - slope * (x - mean_x) for x, y in logs]
    scatter = math.sqrt(sum(residual**2 for residual in residuals) / len(residuals))
    reducible = math.exp(mean_y + slope * (math.log(compute) - mean_x))
    middle = floor + reducible
    nearest = min(abs(math.log(compute) - x) for x, _ in logs)
    share = RUN_SHARE + 2 * scatter * reducible / middle + DECADE_SHARE * nearest / math.log(10)
    names = ", ".join(run.name for run in runs)
    why = (
        f"{share:.0%}: {RUN_SHARE:.0%} for seed and text, twice the scatter of the runs, and {DECADE_SHARE:.0%} for "
        f"each factor of ten in compute from the nearest of them ({math.exp(nearest):,.1f} times away)"
    )
    basis = f"a power law of compute (6ND) through {len(runs)} earlier run{'s' * (len(runs) > 1)} ({names}), {of_what}"
    return middle * (1 - share), middle, middle * (1 + share), basis, why, nearest > math.log(10)
