"""What a recipe's training stages come to, each value with its rule and source, before anything is trained.

Arithmetic on configs: no torch, no store, milliseconds. Rules are for fresh weights; a stage that goes on from others
is told in steps and tokens, and not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingot.config import Recipe
from training import sizing
from training.loss_prediction import FinishedRun, LossBand, predict_loss
from training.sizing import Check
from training.stage_costs import StageCost
from training.stages import continued_pretrain, pretrain

MANY_EPOCHS = 4
"""Up to here repeated text is about as good as new: Muennighoff et al. 2023, arXiv:2305.16264."""
RATE_WORDS = f"{sizing.OLMO}, held at its bounds"
WARMUP_WORDS = "a token a parameter (OLMo-core's model ladder), at most a tenth of the steps"


@dataclass(frozen=True)
class Planned:
    """One value: what it will be, and what that rests on."""

    name: str
    value: float | int | str
    rule: str


@dataclass
class StagePlan:
    """A stage before it is paid for."""

    name: str
    values: list[Planned] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    loss: LossBand | None = None
    """At the end of training; None where nothing predicts it: weights not fresh, several corpora, other stages."""
    cost: StageCost | None = None
    """None where nobody asked, or the shape is not known."""


def plan_stage(
    name: str, config: pretrain.Config, *, vocab_size: int, corpus_tokens: int | None, fresh: bool
) -> StagePlan:
    """Steps, batch, rate and schedule of a stage, and what rules for its size say.

    name is the stage's place in the recipe, `train.0`; corpus_tokens are those of the corpus it reads, None when it
    reads several or nobody knows; fresh weights are judged by the rules.
    """
    found = StagePlan(name)
    given = config.model_fields_set
    steps = -(-config.tokens // config.batch_tokens)
    tokens = steps * config.batch_tokens
    found.values += [
        Planned("tokens", tokens, "the recipe, in whole steps"),
        Planned("steps", steps, "tokens / batch_tokens, rounded up"),
        Planned("batch_tokens", config.batch_tokens, _basis("batch_tokens" in given, "the default")),
    ]
    if corpus_tokens:
        _tell_epochs(found, tokens, corpus_tokens)
    if fresh:
        _tell_sizes(found, config, pretrain.plan(config, vocab_size), tokens)
    return found


def tell_taken_over(found: StagePlan, config: pretrain.Config, *, given: set[str], start: str, vocab_size: int) -> None:
    """What a stage that goes on from other weights will have, told and not judged: the rules are for fresh ones.

    config is the stage with what it takes over filled in, given the fields that the recipe states, start the name of
    what it goes on from.
    """
    planned = pretrain.plan(config, vocab_size)
    rate = warmup = "taken over from the start"
    if isinstance(config, continued_pretrain.Config) and config.schedule != "decay_only":
        rate = f"{continued_pretrain.LEARNING_RATE_SHARE:.0%} of the rate of fresh weights"
        warmup = f"a {continued_pretrain.WARMUP_SHARE.denominator}th of the steps"
    found.values += [
        Planned("start", start, _basis("start" in given, "the stage before")),
        Planned("parameters", planned.num_parameters, "the start's shape"),
        Planned("learning_rate", planned.learning_rate, _basis("learning_rate" in given, rate)),
        Planned("warmup_steps", planned.warmup_steps, _basis("warmup_steps" in given, warmup)),
        Planned("schedule", _schedule(config), _basis(bool({"decay", "schedule"} & given), "the default")),
    ]
    replay = getattr(config, "replay", None)
    if replay is not None:
        found.values.append(Planned("replay", f"{replay.share:.0%} of {replay.corpus}", "the recipe"))


def _tell_sizes(found: StagePlan, config: pretrain.Config, planned: pretrain.Plan, tokens: int) -> None:
    given = config.model_fields_set
    active = planned.num_active_parameters
    optimum = sizing.chinchilla_tokens(active)
    found.values.append(
        Planned("parameters", planned.num_parameters, f"{planned.num_non_embedding_parameters:,} of them in blocks")
    )
    if active != planned.num_parameters:
        found.values.append(Planned("active parameters", active, "those one token meets; the rules go by them"))
    found.values += [
        Planned("tokens a parameter", tokens / active,
                f"{sizing.TOKENS_PER_PARAMETER} are compute-optimal, {optimum:,} in all: {sizing.CHINCHILLA}"),
        Planned("learning_rate", planned.learning_rate, _basis(config.learning_rate is not None, RATE_WORDS)),
        Planned("warmup_steps", planned.warmup_steps, _basis(config.warmup_steps is not None, WARMUP_WORDS)),
        Planned("schedule", _schedule(config), _basis("decay" in given or "decay_fraction" in given, "the default")),
        Planned(
            "beta2",
            config.beta2,
            f"{_basis('beta2' in given, 'the default')}; {sizing.usual_beta2(config.batch_tokens):g} for this batch in "
            "OLMo-core's model ladder",
        ),
        Planned(
            "weight_decay",
            config.weight_decay,
            f"{_basis('weight_decay' in given, 'the default')}; 0.1, none on embeddings, in OLMo-core's model ladder",
        ),
    ]
    _judge(found, config, planned, tokens)


def _tell_epochs(found: StagePlan, tokens: int, corpus_tokens: int) -> None:
    epochs = tokens / corpus_tokens
    found.values.append(Planned("epochs", epochs, f"over about {corpus_tokens:,} tokens of text kept"))
    if epochs > MANY_EPOCHS:
        found.warnings.append(
            f"{found.name}.tokens reads the corpus {epochs:,.1f} times; beyond {MANY_EPOCHS} a repeat adds little "
            "(Muennighoff et al. 2023, arXiv:2305.16264). Train on fewer tokens or add sources"
        )


def _judge(found: StagePlan, config: pretrain.Config, planned: pretrain.Plan, tokens: int) -> None:
    size = planned.num_active_non_embedding_parameters
    found.checks += [
        sizing.check_batch_tokens(config.batch_tokens, parameters=size, tokens=tokens),
        sizing.check_learning_rate(planned.learning_rate, parameters=size, tokens=tokens),
    ]
    for check in found.checks:
        if not check.far_off:
            continue
        refused = sizing.verdict(size, [check]) == "refused"
        (found.refusals if refused else found.warnings).append(far_off(found.name, check, config.sequence_length))


def far_off(stage: str, check: Check, sequence_length: int) -> str:
    """What is wrong with the value, by which rules, and about what to set."""
    said = ", ".join(f"{number(rule.value)} ({rule.source})" for rule in check.far_off)
    side = "above" if check.value > check.far_off[0].value else "below"
    # The nearest of the rules is the smallest change that agrees with one.
    near = min(check.far_off, key=lambda rule: max(rule.value / check.value, check.value / rule.value)).value
    if check.name == "batch_tokens":
        near = max(1, round(near / sequence_length)) * sequence_length
    return (
        f"{stage}.{check.name} {number(check.value)} is more than {sizing.FAR_OFF:g} times {side} what "
        f"{len(check.far_off)} rules say: {said}. Set it to about {number(near)}"
    )


def number(value: float | int | str) -> str:
    """As people write it: whole from a hundred on, three digits below."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3g}"


def _basis(is_given: bool, otherwise: str) -> str:
    return "the recipe" if is_given else otherwise


def _schedule(config: pretrain.Config) -> str:
    return "cosine" if config.decay == "cosine" else f"wsd, falling over the last {config.decay_fraction:.0%}"


def plan_stages(
    recipe: Recipe,
    *,
    corpus_tokens: int | None,
    vocab_size: int | None = None,
    bytes_per_token: float | None = None,
    runs: Sequence[FinishedRun] = (),
) -> list[StagePlan]:
    """Every stage of a recipe that pre-trains, in order; the first one's weights are fresh unless it names a start.

    vocab_size is that of a tokenizer taken over, None for one that the recipe trains. bytes_per_token is the corpus's,
    and None leaves losses out; runs are earlier ones on the same corpus.
    """
    found = []
    vocab_size = vocab_size or recipe.tokenizer.vocab_size
    for index, entry in enumerate(recipe.train):
        config = entry.config
        if isinstance(config, pretrain.Config):
            fresh = index == 0 and config.model is not None and getattr(config, "start", None) is None
            tokens = None if config.parts else corpus_tokens
            found.append(
                plan_stage(f"train.{index}", config, vocab_size=vocab_size, corpus_tokens=tokens, fresh=fresh)
            )
            if fresh and entry.name == pretrain.STAGE and tokens and bytes_per_token:
                planned = pretrain.plan(config, vocab_size)
                found[-1].loss = predict_loss(
                    parameters=planned.num_parameters, blocks=planned.num_non_embedding_parameters,
                    tokens=planned.total_steps * config.batch_tokens, bytes_per_token=bytes_per_token,
                    vocab_size=vocab_size, unique_tokens=tokens,
                    # Earlier runs are of dense models.
                    runs=() if config.model.is_mixture else runs,
                    active=(planned.num_active_parameters, planned.num_active_non_embedding_parameters),
                )  # fmt: skip
    return found
