"""Hours, energy, money, memory and disk of a stage, each with what it rests on; arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

from ingot.errors import RecipeError
from training import machine
from training.history import EarlierRun
from training.machine import Machine
from training.probe import Probe
from training.stages.pretrain import Config
from training.throughput import accelerator, flops_per_token

KEPT_FREE = 0.9
"""Of memory that a stage may plan for; the rest is fragments and what else runs."""


@dataclass(frozen=True)
class Prices:
    """What an hour of the machine and a kWh cost, in any currency; None where nobody said."""

    per_hour: float | None = None
    per_kwh: float | None = None


def prices_from(environ: Mapping[str, str]) -> Prices:
    """Of the settings INGOT_PRICE_PER_HOUR and INGOT_PRICE_PER_KWH; RecipeError for what is no price."""

    def price(name: str) -> float | None:
        text = environ.get(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise RecipeError(f"setting {name} is {text!r}; give a price as a number from 0 on, e.g. 2.5")
        return value

    return Prices(price("INGOT_PRICE_PER_HOUR"), price("INGOT_PRICE_PER_KWH"))


@dataclass(frozen=True)
class StageCost:
    """What a stage takes; None where nothing is known."""

    machine: str
    tokens_per_second: float | None
    speed_basis: str
    hours: float | None
    memory_bytes: int
    """Of one rank at its peak."""
    memory_basis: str
    room_bytes: int
    """For one rank."""
    kwh: float | None
    power_basis: str
    cost: float | None
    checkpoint_bytes: int
    free_bytes: int | None
    refusals: tuple[str, ...] = ()


def stage_cost(
    name: str,
    config: Config,
    vocab_size: int,
    here: Machine,
    *,
    ranks: int,
    prices: Prices,
    probe: Probe | None = None,
    earlier: EarlierRun | None = None,
    corpus_bytes: int = 0,
) -> StageCost:
    """What the stage will take on this machine: as probed, else as an earlier run of its shape went, else estimated.

    name is the stage's place in the recipe; corpus_bytes are those of its token files, whose pages a CPU counts as
    memory of the rank that reads them.
    """
    steps = -(-config.tokens // config.batch_tokens)
    speed, speed_basis = _speed(config, vocab_size, here, ranks, probe, earlier)
    hours = steps * config.batch_tokens / speed / 3600 if speed else None
    on_gpu = here.num_gpus > 0
    if probe is not None:
        memory, memory_basis = probe.peak_memory_bytes, "the probe's peak"
    else:
        memory = machine.estimated_memory(config, vocab_size, on_gpu=on_gpu, ranks=ranks)
        memory_basis = "estimated: weights, gradients, moments, activations and logits of a micro batch"
    if not on_gpu and corpus_bytes:
        memory += corpus_bytes
        memory_basis += f", and {corpus_bytes / 1e6:,.0f} MB of token files"
    watts, power_basis = _power(here, ranks, probe)
    kwh = hours * watts / 1000 if hours is not None and watts is not None else None
    needed = machine.checkpoint_bytes(config, vocab_size)
    return StageCost(
        machine=here.kind, tokens_per_second=speed, speed_basis=speed_basis, hours=hours, memory_bytes=memory,
        memory_basis=memory_basis, room_bytes=here.room_bytes, kwh=kwh, power_basis=power_basis,
        cost=money(hours, kwh, prices), checkpoint_bytes=needed, free_bytes=here.free_bytes,
        refusals=_refusals(name, memory, needed, here, ranks),
    )  # fmt: skip


def _speed(
    config: Config, vocab_size: int, here: Machine, ranks: int, probe: Probe | None, earlier: EarlierRun | None
) -> tuple[float | None, str]:
    if probe is not None:
        less = "" if probe.batch_tokens == config.batch_tokens else f", of {probe.batch_tokens:,} tokens each"
        return probe.tokens_per_second, f"five steps of this model on this machine{less}"
    if earlier is not None and accelerator(earlier.device) == accelerator(here.name):  # else of another machine
        which = f"run {earlier.fingerprint[:12]} of {earlier.finished:%Y-%m-%d}"
        return earlier.tokens_per_second, f"{which}, of this shape"
    flops = machine.estimated_flops(here, ranks)
    if flops is None:
        return None, f"not known: nothing is known of {here.name}"
    per_token = flops_per_token(config.model, vocab_size, config.sequence_length)
    what = f"{machine.GPU_SHARE:.0%} of the maker's peak" if here.num_gpus else (
        f"{machine.CPU_SHARE:.0%} of what matrix products reach here"
    )
    return flops / per_token, f"estimated: {what}"


def _power(here: Machine, ranks: int, probe: Probe | None) -> tuple[float | None, str]:
    if probe is not None and probe.watts is not None:
        how = "counted by the devices" if probe.is_measured_power else "estimated"
        return probe.watts, f"{probe.watts:,.1f} W during the probe, {how}"
    watts = machine.power_watts(here, ranks)
    if watts is None:
        return None, f"not known: nothing is known of {here.name}"
    what = "the design power of the GPUs" if here.num_gpus else "3.5 W a busy core"
    return watts, f"{watts:,.1f} W estimated, {what}"


def money(hours: float | None, kwh: float | None, prices: Prices) -> float | None:
    """The sum of what has a price; None without one, or where a part with a price is not known."""
    parts = [(hours, prices.per_hour), (kwh, prices.per_kwh)]
    priced = [(amount, price) for amount, price in parts if price is not None]
    if not priced or any(amount is None for amount, _ in priced):
        return None
    return sum(amount * price for amount, price in priced if amount is not None)


def _refusals(name: str, memory: int, needed: int, here: Machine, ranks: int) -> tuple[str, ...]:
    found = []
    # Ranks on GPUs have one each; on a CPU they share.
    all_ranks = memory * (1 if here.num_gpus else ranks)
    if all_ranks > KEPT_FREE * here.room_bytes:
        found.append(
            f"{name} needs about {all_ranks / 1e9:,.2f} GB of memory, {KEPT_FREE:.0%} of "
            f"{here.room_bytes / 1e9:,.1f} GB are to be had; "
            "lower micro_batch_rows, set loss_chunk_tokens, or take fewer layers or less width"
        )
    if here.free_bytes is not None and needed > here.free_bytes:
        found.append(
            f"{name} keeps checkpoints of {needed / 1e9:,.2f} GB, {here.free_bytes / 1e9:,.1f} GB are free; free space "
            "(`ingot gc --dry-run`), or put the store elsewhere with INGOT_STORE"
        )
    return tuple(found)
