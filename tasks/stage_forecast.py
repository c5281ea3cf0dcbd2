"""What a training stage was predicted to come to, kept with its run, and shown beside what came true.

The prediction is made from the token files that are read (so counts are exact), the newest run of the same shape or the
probe that `ingot plan` left on this machine, else an estimate. Nothing is trained for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_pipeline.insight.process_meter import available_bytes
from ingot import gpu_slots, ledger, markdown
from ingot.config import NamedConfig, resolved
from ingot.errors import IntegrityError, NotFoundError
from ingot.pictures import html_page, table_html
from ingot.refs import CheckpointRef, MixtureRef, TokensRef, parts_of
from ingot.storage import Store
from tasks.live_artifacts import LiveArtifact
from tasks.runtime import Runtime
from training import probe
from training.history import finished_on, newest_of_shape
from training.job import METRICS_FILE
from training.loss_prediction import predict_loss
from training.machine import look
from training.plan_actual import PLAN_FILE, actual_rows, against_actual, plan_values
from training.preflight import free_bytes
from training.stage_costs import prices_from, stage_cost
from training.stage_plans import plan_stage
from training.stages import pretrain

ARTIFACT_KEY = "plan-against-actual"
HEADER = ("", "planned", "actual", "actual / planned", "planned by")


@dataclass(frozen=True)
class Outcome:
    """The table of a finished run, in the forms that MLflow and Prefect show."""

    values: Mapping[str, Any]
    html: str
    markdown: str


def forecast(
    here: Runtime, entry: NamedConfig, data: TokensRef | MixtureRef, start: CheckpointRef | None
) -> dict[str, Any] | None:
    """The plan of a stage as JSON values; None for a stage that does not pre-train."""
    config = entry.config
    if not isinstance(config, pretrain.Config):
        return None
    settings, store = here.settings, here.store
    prices = prices_from(settings.environ)
    one = data if isinstance(data, TokensRef) else None
    found = plan_stage(
        entry.name, config, vocab_size=data.vocab_size, corpus_tokens=one.num_tokens if one else None,
        fresh=start is None,
    )  # fmt: skip
    entries = ledger.read(store)
    is_predicted = start is None and entry.name == pretrain.STAGE
    if one and is_predicted and one.num_tokens and one.num_bytes:
        planned = pretrain.plan(config, data.vocab_size)
        found.loss = predict_loss(
            parameters=planned.num_parameters, blocks=planned.num_non_embedding_parameters,
            tokens=planned.total_steps * config.batch_tokens, bytes_per_token=one.num_bytes / one.num_tokens,
            vocab_size=data.vocab_size, unique_tokens=one.num_tokens,
            # Earlier runs are of dense models.
            runs=() if config.model.is_mixture else finished_on(store, entries, data.corpus.rpartition("@")[0]),
            active=(planned.num_active_parameters, planned.num_active_non_embedding_parameters),
        )  # fmt: skip
    machine = look(
        num_gpus=len(gpu_slots.devices(settings)), memory_bytes=available_bytes(), free_bytes=free_bytes(store)
    )
    ranks = config.gpus or settings.ranks
    wide = 4 if data.vocab_size > 1 << 16 else 2
    found.cost = stage_cost(
        entry.name, config, data.vocab_size, machine, ranks=ranks, prices=prices,
        probe=probe.recall(settings.home, probe.probe_config(config), data.vocab_size, machine, ranks),
        earlier=newest_of_shape(store, entries, resolved(entry), data.vocab_size),
        corpus_bytes=min(config.tokens, sum(part.num_tokens for part in parts_of(data))) * wide,
    )  # fmt: skip
    return plan_values(found, prices)


def outcome(store: Store, run_key: str, checkpoint_key: str, title: str) -> Outcome | None:
    """The table of a finished run; None for a run that kept no plan or no metrics."""
    try:
        artifacts = store.read_record(f"runs/{run_key}.json").get("artifacts", {})
        lines = [json.loads(line) for line in store.read_bytes(f"{checkpoint_key}/{METRICS_FILE}").splitlines()]
    except (IntegrityError, NotFoundError, ValueError):
        return None
    if PLAN_FILE not in artifacts:
        return None
    found = against_actual(json.loads(artifacts[PLAN_FILE]), lines)
    rows = actual_rows(found)
    heading = f"Plan against actual: {title}"
    return Outcome(
        values=found,
        html=html_page(heading, [("Plan against actual", table_html(HEADER, rows))]),
        markdown="\n".join([f"# {markdown.plain(heading)}", *markdown.table(HEADER, rows)]),
    )


def for_card(store: Store, checkpoint: CheckpointRef) -> dict[str, Any]:
    """What a registered version keeps of it; nothing for a run without a plan."""
    found = outcome(store, checkpoint.fingerprint, checkpoint.key, "")
    return {"plan_against_actual": dict(found.values)} if found else {}


def show(found: Outcome, title: str) -> None:
    """The table as an artifact of the control room."""
    artifact = LiveArtifact(ARTIFACT_KEY, "markdown")  # a control room that is away stops no run
    artifact.show(found.markdown, title)
    artifact.flush()
