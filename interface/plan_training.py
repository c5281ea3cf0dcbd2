"""The training half of `ingot plan`: data, machine, time, energy, money and loss of every stage; no Prefect."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ingot import gpu_slots, ledger, manifest
from ingot.config import NamedConfig, Recipe
from ingot.errors import IngotError, RecipeError
from ingot.settings import Settings
from ingot.storage import Store
from interface.output import Printer

if TYPE_CHECKING:
    from datasets_pipeline.insight.plan import Plan
    from tasks.starts import Start
    from training.fit_hours import Fit
    from training.machine import Machine
    from training.probe import Probe
    from training.stage_costs import Prices, StageCost
    from training.stage_plans import StagePlan
    from training.stages.pretrain import Config


@dataclass(frozen=True)
class DataFacts:
    """The text that a recipe trains on."""

    tokens: int
    tokens_basis: str
    """Counted in a version, or predicted from the sample."""
    bytes_per_token: float | None
    documents: int
    duplicates: int | None
    """Near-duplicates dropped; None when nothing says how many."""
    sources: dict[str, int]
    """Tokens by source, where they were counted."""


@dataclass(frozen=True)
class TrainingPlan:
    """All of it, as `--json` has it."""

    data: DataFacts
    machine: "Machine"
    stages: "list[StagePlan]"
    fit: "Fit | None"
    """With --max-hours: the stage that was chosen."""


def check_options(recipe: Recipe, store: Store, settings: Settings, options: Namespace) -> "Start | None":
    """What the plan's stages start from; None for fresh weights, which a stage that --max-hours chooses has.

    Refuses what no sample is needed for: a start, GPU or price that is none, options that exclude each other.
    """
    from tasks.starts import begun, find_start
    from training.machine import machine_of

    if options.gpu is not None:
        machine_of(options.gpu, num_gpus=1)
        if options.probe:
            raise RecipeError(
                f"--probe measures this machine, and --gpu {options.gpu} plans for another; leave one of them out"
            )
    prices_of(settings, options)
    start = find_start(store, recipe)
    begun(recipe, start)
    return start if options.max_hours is None else None


def plan_training(
    recipe: Recipe, start: "Start | None", found: "Plan", store: Store, settings: Settings, options: Namespace
) -> tuple[TrainingPlan, Recipe]:
    """The plan of the recipe's stages, and the recipe it is for: with --max-hours another than was given."""
    from tasks.starts import begun, vocabulary_size
    from training.history import finished_on
    from training.stage_plans import plan_stages, tell_taken_over

    data = data_facts(store, recipe, found, start)
    here = _machine(recipe, found, settings, options)
    fit = None
    if options.max_hours is not None:
        fit = _fit(recipe, data, here, store, settings, options)
        recipe = recipe.model_copy(update={"train": [NamedConfig(kind="stage", name="pretrain", config=fit.config)]})
    entries = ledger.read(store)
    vocab_size = vocabulary_size(store, recipe, start)
    stages = plan_stages(
        recipe, corpus_tokens=data.tokens, vocab_size=vocab_size, bytes_per_token=data.bytes_per_token,
        runs=finished_on(store, entries, recipe.corpus),
    )  # fmt: skip
    if fit is not None:
        for stage in stages:
            # The stage is not the recipe's.
            rules = [value.rule.replace("the recipe", "chosen for --max-hours") for value in stage.values]
            stage.values = [replace(value, rule=rule) for value, rule in zip(stage.values, rules, strict=True)]
    whole = begun(recipe, start)
    configs = {f"train.{index}": pair for index, pair in enumerate(zip(whole.train, recipe.train, strict=True))}
    for stage in stages:
        entry, written = configs[stage.name]
        if getattr(entry.config, "model", None) is not None:
            goes_on = getattr(written.config, "start", None) is not None
            if goes_on or entry is not whole.train[0]:
                name = start.name if goes_on and start is not None else "the stage before"
                given = written.config.model_fields_set
                tell_taken_over(stage, entry.config, given=given, start=name, vocab_size=vocab_size)
            asked = getattr(entry.config, "gpus", None) or 0
            if options.gpu is None and asked > here.num_gpus:
                stage.warnings.append(
                    f"{stage.name}.gpus asks for {asked} and this machine has {here.num_gpus}, so a training here is "
                    "refused and the numbers are this machine's own; plan for another with --gpu NAME"
                )
            stage.cost = _cost(stage.name, entry, vocab_size, here, store, settings, options, data)
    return TrainingPlan(data, here, stages, fit), recipe


def _machine(recipe: Recipe, found: "Plan", settings: Settings, options: Namespace) -> "Machine":
    """This machine, or the one that --gpu names, with as many GPUs as a stage asks for."""
    from training.machine import look, machine_of

    if options.gpu is not None:
        asked = [getattr(entry.config, "gpus", None) or settings.ranks for entry in recipe.train]
        return machine_of(options.gpu, num_gpus=max(asked, default=settings.ranks))
    return look(
        num_gpus=len(gpu_slots.devices(settings)), memory_bytes=found.available_bytes, free_bytes=found.free_bytes
    )


def data_facts(store: Store, recipe: Recipe, found: "Plan", start: "Start | None") -> DataFacts:
    """What the plan of the curation says, and where the newest version has token files, what they count."""
    from datasets_pipeline.token_counts import count_tokens
    from datasets_pipeline.tokenizer_sources import find_made
    from datasets_pipeline.tokens import find_tokens_by
    from tasks.starts import given_tokenizer

    per_token = found.kept_bytes / found.tokens if found.tokens else None
    basis = "of the whole corpus" if found.is_whole else "predicted from the sample"
    facts = DataFacts(found.tokens, basis, per_token, found.kept, found.duplicates, {})
    known = manifest.versions_of(store, recipe.corpus)
    if not known:
        return facts
    newest = manifest.read(store, recipe.corpus, known[-1])
    name = f"{recipe.corpus}@{known[-1]}"
    tokenizer = given_tokenizer(store, recipe, start) or find_made(store, newest, recipe.tokenizer)
    tokens = find_tokens_by(store, name, newest, tokenizer) if tokenizer else None
    if tokens is None or not tokens.num_tokens:
        return facts
    return replace(
        facts,
        tokens=tokens.num_tokens,
        tokens_basis=f"counted in {name}; the sample predicts {found.tokens:,} of the next version",
        bytes_per_token=tokens.num_bytes / tokens.num_tokens,
        documents=tokens.num_documents,
        sources=count_tokens(store, tokens)["source"],
    )


def prices_of(settings: Settings, options: Namespace) -> "Prices":
    """From the command line, else from the settings."""
    from training.stage_costs import Prices, prices_from

    set_here = prices_from(settings.environ)
    hour, kwh = options.price_per_hour, options.price_per_kwh
    return Prices(set_here.per_hour if hour is None else hour, set_here.per_kwh if kwh is None else kwh)


def _cost(
    name: str, entry: NamedConfig, vocab_size: int, here: "Machine", store: Store, settings: Settings,
    options: Namespace, data: DataFacts,
) -> "StageCost":  # fmt: skip
    from ingot.config import resolved
    from training.history import newest_of_shape
    from training.stage_costs import stage_cost

    config: Config = entry.config
    ranks = config.gpus or settings.ranks
    measured, why_not = _probe(config, vocab_size, here, store, settings, options, ranks)
    earlier = newest_of_shape(store, ledger.read(store), resolved(entry), vocab_size) if measured is None else None
    read = min(data.tokens, config.tokens) * (4 if vocab_size > 1 << 16 else 2)
    found = stage_cost(
        name, config, vocab_size, here, ranks=ranks, prices=prices_of(settings, options), probe=measured,
        earlier=earlier, corpus_bytes=read,
    )  # fmt: skip
    hint = why_not or ("--probe measures it" if measured is None and earlier is None else "")
    return replace(found, speed_basis=f"{found.speed_basis}; {hint}") if hint else found


def _probe(
    config: "Config", vocab_size: int, here: "Machine", store: Store, settings: Settings, options: Namespace, ranks: int
) -> "tuple[Probe | None, str]":
    """The probe, and why there is none; it is made unasked when it is expected to take less than half a minute."""
    from training import probe as probing
    from training.machine import estimated_flops
    from training.throughput import flops_per_token

    if options.gpu is not None:
        return None, "of another machine than this one, so it is not probed"
    if options.probe is False:
        return None, ""
    if options.max_hours is not None:
        # The stage that was chosen was probed to choose it.
        known = probing.recall(settings.home, probing.probe_config(config), vocab_size, here, ranks)
        if known is not None:
            return known, ""
    flops = estimated_flops(here, ranks)
    per_token = flops_per_token(config.model, vocab_size, config.sequence_length)
    seconds = None if flops is None else probing.seconds_expected(config, per_token, flops)
    if options.probe is None and (seconds is None or seconds > probing.BY_DEFAULT_SECONDS):
        about = "an unknown time" if seconds is None else f"about {seconds:,.0f} s"
        return None, f"not probed: it would take {about}, --probe does it"
    if here.num_gpus and sum(slot.is_free for slot in gpu_slots.describe(settings)) < ranks:
        return None, "not probed: the GPUs are in use"
    devices = None
    if here.num_gpus:
        devices = tuple(slot.device for slot in gpu_slots.describe(settings) if slot.is_free)[:ranks]
    rows = None
    if seconds is not None and seconds > probing.LIMIT_SECONDS / 2:
        rows = ranks * config.micro_batch_rows * probing.MICRO_BATCHES
    threads = settings.train_threads if settings.environ.get("INGOT_TRAIN_THREADS") else None
    with store.scratch("probe") as folder:
        scratch = Store(str(folder / "store"), scratch_root=folder / "scratch")
        try:
            found = probing.probe(
                probing.probe_config(config, rows=rows), vocab_size, scratch, ranks=ranks, threads=threads,
                devices=devices,
            )  # fmt: skip
        except IngotError as error:
            return None, f"the probe failed: {error}"
    if found is not None:
        probing.remember(settings.home, found, probing.probe_config(config), vocab_size, here, ranks)
    return found, "" if found else f"the probe's five steps took more than {probing.LIMIT_SECONDS:.0f} s"


def _fit(
    recipe: Recipe, data: DataFacts, here: "Machine", store: Store, settings: Settings, options: Namespace
) -> "Fit":
    """The stage for --max-hours; chosen by estimate, probed, and chosen again at the speed that was measured."""
    from tasks.starts import vocabulary_size
    from training.fit_hours import fit_hours
    from training.machine import estimated_flops
    from training.throughput import flops_per_token

    first = next((entry.config for entry in recipe.train if hasattr(entry.config, "sequence_length")), None)
    length = int(first.sequence_length) if first is not None else 256
    vocab_size = vocabulary_size(store, recipe, None)
    gpus = getattr(first, "gpus", None)
    ranks = gpus or settings.ranks
    flops = estimated_flops(here, ranks)
    if flops is None:
        raise RecipeError(
            f"--max-hours: nothing is known of {here.name}; give train a stage and --probe it, and divide by hand"
        )
    for _ in range(2):
        fit = fit_hours(
            options.max_hours, flops=flops, vocab_size=vocab_size, sequence_length=length, corpus_tokens=data.tokens,
            here=here, gpus=gpus,
        )  # fmt: skip
        measured, _ = _probe(fit.config, vocab_size, here, store, settings, options, ranks)
        if measured is None:
            break
        flops = measured.tokens_per_second * flops_per_token(fit.config.model, vocab_size, length)
    return fit_hours(
        options.max_hours, flops=flops, vocab_size=vocab_size, sequence_length=length, corpus_tokens=data.tokens,
        here=here, gpus=gpus,
    )  # fmt: skip


def print_training(found: TrainingPlan, printer: Printer) -> None:
    """For people."""
    from training.fit_hours import train_section

    data = found.data
    if found.fit is None and not found.stages:
        return
    printer.heading("Text to train on")
    rows: list[list[object]] = [
        ["tokens", f"{data.tokens:,}", data.tokens_basis],
        ["bytes a token", f"{data.bytes_per_token:.2f}" if data.bytes_per_token else "not known", ""],
        ["documents", f"{data.documents:,}", ""],
        ["near-duplicates", "not known" if data.duplicates is None else f"{data.duplicates:,}", "not among them"],
    ]
    rows += [[f"of {name}", f"{num:,}", f"{num / max(1, data.tokens):.1%} of the tokens"]
             for name, num in sorted(data.sources.items(), key=lambda row: -row[1])]  # fmt: skip
    printer.table(rows, ["", "value", ""])
    for stage in found.stages:
        print_stage(stage, printer)
    if found.fit is not None:
        printer.heading("The stage that fits")
        printer.line(train_section(found.fit))
        printer.line(f"  no larger because of {found.fit.bound_by}")


def print_stage(stage: "StagePlan", printer: Printer) -> None:
    """One stage: values with rules, checks, loss, cost, warnings."""
    from training.stage_plans import number

    printer.heading(f"Training, {stage.name}")
    printer.table([[row.name, number(row.value), row.rule] for row in stage.values], ["", "value", "rule"])
    for check in stage.checks:
        said = ", ".join(f"{number(rule.value)} ({rule.source})" for rule in check.rules)
        printer.line(f"  {check.name} {number(check.value)}; rules say {said}")
    if stage.loss is not None:
        bits = stage.loss.bits_per_byte
        printer.line(
            f"  loss at the end {stage.loss.middle:.2f} nats a token, {stage.loss.low:.2f} to {stage.loss.high:.2f}; "
            f"{bits[1]:.2f} bits a byte, {bits[0]:.2f} to {bits[2]:.2f}; by {stage.loss.basis}; "
            f"so wide because: {stage.loss.why_so_wide}"
        )
    if stage.cost is not None:
        printer.table(cost_rows(stage.cost), ["", "about", "by"])
    for warning in stage.warnings:
        printer.line(f"  warning: {warning}")


def cost_rows(cost: "StageCost") -> list[list[object]]:
    """Speed, time, memory, disk, energy and money, each with what it rests on."""
    speed, hours, kwh, money = cost.tokens_per_second, cost.hours, cost.kwh, cost.cost
    free = "" if cost.free_bytes is None else f"{cost.free_bytes / 1e9:,.1f} GB are free"
    return [
        ["machine", cost.machine, ""],
        ["tokens/s", "not known" if speed is None else f"{speed:,.0f}", cost.speed_basis],
        ["time", "not known" if hours is None else _time(hours), "tokens over speed, without the start"],
        ["memory", f"{cost.memory_bytes / 1e9:,.2f} GB", f"{cost.memory_basis}; {cost.room_bytes / 1e9:,.1f} GB there"],
        ["checkpoints", f"{cost.checkpoint_bytes / 1e9:,.2f} GB", free],
        ["energy", "not known" if kwh is None else f"{kwh:,.3g} kWh", cost.power_basis],
        ["cost", "not known" if money is None else f"{money:,.2f}",
         "hours and kWh times their prices" if money is not None else "no price was given (--price-per-hour)"],
    ]  # fmt: skip


def _time(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 3600:,.0f} s"


def as_values(found: TrainingPlan) -> Mapping[str, object]:
    """For `--json`."""
    fit = None if found.fit is None else {"train": [found.fit.stage], "bound_by": found.fit.bound_by}
    return {"data": asdict(found.data), "machine": asdict(found.machine), "fit": fit}
