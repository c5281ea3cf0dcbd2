"""Published rules of pre-training from scratch: learning rate, batch, warm-up and horizon for a size and a budget.

Pure arithmetic, for plans; costs nothing. N is non-embedding parameters, D is tokens trained on, C = 6ND. The fits
were made on models of 20M parameters and more: below, they are extrapolated, so a value that is off is a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.optimizers import default_learning_rate

PORIAN = "Porian et al. 2024, arXiv:2406.19146"
OLMO = "half of Porian et al. 2024, as OLMo-core's model ladder for warmup-stable-decay"
STEP_LAW = "StepLaw, arXiv:2503.04715"
DEEPSEEK = "DeepSeek LLM, arXiv:2401.02954"
CHINCHILLA = "Hoffmann et al. 2022, arXiv:2203.15556"

REFUSED_FROM_PARAMETERS = 50_000_000
"""From this N on a value far off is refused: there a failed run costs GPU hours, and the fits are no extrapolation."""
FAR_OFF = 3.0
"""Times above, or below, what two rules say."""
TOKENS_PER_PARAMETER = 20
LARGE_BATCH_TOKENS = 524_288


@dataclass(frozen=True)
class Rule:
    """What one rule says."""

    value: float
    source: str


@dataclass(frozen=True)
class Check:
    """A value beside the rules for it."""

    name: str
    value: float
    rules: tuple[Rule, ...]

    @property
    def far_off(self) -> tuple[Rule, ...]:
        """The rules that the value is more than 3 times above, or below; empty unless two agree on the side.

        A value between two rules that disagree is off from neither side.
        """
        above = tuple(rule for rule in self.rules if self.value > FAR_OFF * rule.value)
        below = tuple(rule for rule in self.rules if self.value * FAR_OFF < rule.value)
        return next((side for side in (above, below) if len(side) > 1), ())


def porian_learning_rate(parameters: int) -> float:
    """0.0047 * (N / 108e6)^(-1/3): Porian et al. 2024 (arXiv:2406.19146), for a cosine or constant schedule."""
    return 0.0047 * (parameters / 108e6) ** (-1 / 3)


def porian_batch_tokens(parameters: int) -> float:
    """160 windows of 2,048 tokens at 108M parameters, growing as N^(2/3): Porian et al. 2024 (arXiv:2406.19146)."""
    return 2048 * 160 * (parameters / 108e6) ** (2 / 3)


def step_law_learning_rate(parameters: int, tokens: int) -> float:
    """1.79 * N^-0.713 * D^0.307: StepLaw (arXiv:2503.04715)."""
    return 1.79 * parameters**-0.713 * tokens**0.307  # type: ignore[no-any-return]  # int ** float is Any to mypy


def step_law_batch_tokens(tokens: int) -> float:
    """0.58 * D^0.571: StepLaw (arXiv:2503.04715)."""
    return 0.58 * tokens**0.571  # type: ignore[no-any-return]


def deepseek_learning_rate(parameters: int, tokens: int) -> float:
    """0.3118 * C^-0.125: DeepSeek LLM (arXiv:2401.02954)."""
    return 0.3118 * (6.0 * parameters * tokens) ** -0.125


def deepseek_batch_tokens(parameters: int, tokens: int) -> float:
    """0.2920 * C^0.3271: DeepSeek LLM (arXiv:2401.02954)."""
    return 0.2920 * (6.0 * parameters * tokens) ** 0.3271


def usual_beta2(batch_tokens: int) -> float:
    """AdamW's beta2 in OLMo-core's model ladder: 0.95 for batches of 524,288 tokens and more, 0.99 below."""
    return 0.95 if batch_tokens >= LARGE_BATCH_TOKENS else 0.99


def chinchilla_tokens(all_parameters: int) -> int:
    """Compute-optimal horizon, 20 tokens a parameter, embeddings included: Hoffmann et al. 2022 (arXiv:2203.15556)."""
    return TOKENS_PER_PARAMETER * all_parameters


def check_learning_rate(value: float, *, parameters: int, tokens: int) -> Check:
    """A peak rate of AdamW for fresh weights beside three rules."""
    rules = (
        Rule(default_learning_rate(parameters), OLMO),
        Rule(step_law_learning_rate(parameters, tokens), STEP_LAW),
        Rule(deepseek_learning_rate(parameters, tokens), DEEPSEEK),
    )
    return Check("learning_rate", value, rules)


def check_batch_tokens(value: int, *, parameters: int, tokens: int) -> Check:
    """Tokens of a step beside three rules."""
    rules = (
        Rule(porian_batch_tokens(parameters), PORIAN),
        Rule(step_law_batch_tokens(tokens), STEP_LAW),
        Rule(deepseek_batch_tokens(parameters, tokens), DEEPSEEK),
    )
    return Check("batch_tokens", value, rules)


def verdict(parameters: int, checks: Sequence[Check]) -> Literal["accepted", "warned", "refused"]:
    """Whether values as these are trained with."""
    if not any(check.far_off for check in checks):
        return "accepted"
    return "refused" if parameters >= REFUSED_FROM_PARAMETERS else "warned"
