"""From hours to a model: the size, tokens, batch and rate that fit a time on a machine, by the rules of `sizing`.

    size     a width of 64 for each layer, as nanochat (github.com/karpathy/nanochat), the largest whose 20 tokens a
             parameter (Hoffmann et al. 2022) fit the hours, and four readings of the corpus (Muennighoff et al. 2023)
    tokens   what the hours give, at most four readings of the corpus
    batch    Porian et al. 2024; rate: half of theirs, OLMo-core's for warmup-stable-decay

Arithmetic; how many FLOP/s the machine gives is said by the caller, estimated or probed.
"""

from dataclasses import dataclass
from typing import Any

from ingot.errors import RecipeError
from training import sizing
from training.machine import Machine, estimated_memory
from training.models import ModelConfig, non_embedding_parameters, num_parameters
from training.optimizers import default_learning_rate
from training.stage_costs import KEPT_FREE
from training.stage_plans import MANY_EPOCHS
from training.stages.pretrain import Config
from training.throughput import flops_per_token

WIDTH_PER_LAYER = 64
MOST_LAYERS = 48
USED_SHARE = 0.9
"""Of the hours; the rest is start, checkpoints and evaluation."""
LEAST_STEPS = 100
"""Fewer updates than this leave no room for warm-up and decay; the batch gives way."""
MOST_MICRO_ROWS = 64


@dataclass(frozen=True)
class Fit:
    """A stage that fits, and why it is no larger."""

    stage: dict[str, Any]
    """As it stands in a recipe."""
    bound_by: str

    @property
    def config(self) -> Config:
        """The stage's Config."""
        return Config.model_validate({name: value for name, value in self.stage.items() if name != "stage"})


def fit_hours(
    hours: float,
    *,
    flops: float,
    vocab_size: int,
    sequence_length: int,
    corpus_tokens: int,
    here: Machine,
    gpus: int | None = None,
) -> Fit:
    """The stage for so many hours at so many FLOP/s of all ranks; RecipeError when not even the smallest model fits.

    gpus is what the stage is to ask for; None where it takes what is there.
    """
    best: tuple[ModelConfig, int] | None = None
    bound_by = f"{MOST_LAYERS} layers, the largest that is tried"
    for layers in range(2, MOST_LAYERS + 1):
        model = ModelConfig(family="llama", layers=layers, width=WIDTH_PER_LAYER * layers)
        optimum = sizing.chinchilla_tokens(num_parameters(model, vocab_size))
        in_time = int(USED_SHARE * hours * 3600 * flops / flops_per_token(model, vocab_size, sequence_length))
        of_corpus = MANY_EPOCHS * corpus_tokens
        if not _fits_memory(model, vocab_size, sequence_length, here):
            bound_by = f"memory: {here.room_bytes / 1e9:,.1f} GB"
            break
        if best is not None and optimum > min(in_time, of_corpus):
            bound_by = _why(hours, in_time, of_corpus, optimum)
            break
        best = model, min(in_time, of_corpus)
        if optimum > min(in_time, of_corpus):
            bound_by = f"{_why(hours, in_time, of_corpus, optimum)}; it is the smallest that is tried"
            break
    smallest = f"the smallest model (2 layers, width {2 * WIDTH_PER_LAYER})"
    if best is None:
        raise RecipeError(
            f"--max-hours {hours:g}: {smallest} with windows of {sequence_length:,} tokens does not fit "
            f"{here.room_bytes / 1e9:,.1f} GB of memory; take a machine with more, or shorten train.0.sequence_length"
        )
    if best[1] < (least := LEAST_STEPS * sequence_length):
        is_short_of_text = best[1] == MANY_EPOCHS * corpus_tokens
        given = f"{MANY_EPOCHS} readings of the documents" if is_short_of_text else f"{hours:g} hours"
        raise RecipeError(
            f"--max-hours {hours:g}: not even {LEAST_STEPS} steps of {smallest} fit: they read {least:,} tokens, and "
            f"{given} give {best[1]:,}; give more {'documents' if is_short_of_text else 'hours'}, or a shorter "
            "train.0.sequence_length"
        )
    model, tokens = best
    blocks = non_embedding_parameters(model)
    rows = min(sizing.porian_batch_tokens(blocks), tokens / LEAST_STEPS) / sequence_length
    batch = max(1, round(rows)) * sequence_length
    stage = {
        "stage": "pretrain",
        "model": {"family": "llama", "layers": model.layers, "width": model.width},
        "tokens": max(1, tokens // batch) * batch,
        "sequence_length": sequence_length,
        "batch_tokens": batch,
        "micro_batch_rows": _micro_rows(model, batch, vocab_size, sequence_length, here),
        "learning_rate": float(f"{default_learning_rate(blocks):.2g}"),
        "beta2": sizing.usual_beta2(batch),
        "decay": "wsd",
        **({"gpus": gpus} if gpus else {}),
    }
    return Fit(stage, bound_by)


def train_section(fit: Fit) -> str:
    """The stage as YAML for a recipe."""
    model = ", ".join(f"{name}: {value}" for name, value in fit.stage["model"].items())
    lines = [f"  - stage: {fit.stage['stage']}", f"    model: {{{model}}}"]
    lines += [f"    {name}: {_yaml(value)}" for name, value in fit.stage.items() if name not in ("stage", "model")]
    return "\n".join(["train:", *lines])


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.8f}".rstrip("0")  # YAML 1.1 reads 2e-05 as text
    return f"{value:_}" if isinstance(value, int) else str(value)


def _why(hours: float, in_time: int, of_corpus: int, optimum: int) -> str:
    if of_corpus < in_time:
        return (
            f"the documents: {MANY_EPOCHS} readings of the corpus are {of_corpus:,} tokens, and the next size wants "
            f"{optimum:,}"
        )
    return f"{hours:g} hours: they give {in_time:,} tokens of the next size, which wants {optimum:,}"


def _fits_memory(model: ModelConfig, vocab_size: int, sequence_length: int, here: Machine) -> bool:
    config = Config(model=model, tokens=1, sequence_length=sequence_length, batch_tokens=sequence_length)
    return estimated_memory(config, vocab_size, on_gpu=here.num_gpus > 0) <= KEPT_FREE * here.room_bytes


def _micro_rows(model: ModelConfig, batch: int, vocab_size: int, sequence_length: int, here: Machine) -> int:
    """The default on a CPU, where more rows leave its caches; on a GPU what its memory holds, a power of two."""
    default = int(Config.model_fields["micro_batch_rows"].default)
    rows = batch // sequence_length
    if not here.num_gpus:
        return min(default, rows)
    best = 1
    while 2 * best <= min(rows, MOST_MICRO_ROWS):
        config = Config(
            model=model, tokens=batch, sequence_length=sequence_length, batch_tokens=batch, micro_batch_rows=2 * best
        )
        if estimated_memory(config, vocab_size, on_gpu=True) > KEPT_FREE * here.room_bytes:
            break
        best *= 2
    return best
