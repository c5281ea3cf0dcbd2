"""Verdicts for the models of the tiny store, made by the gate itself from made-up scores."""

import math
import random

from evaluation.gate import decide
from evaluation.verdicts import GateConfig, Verdict
from ingot import ledger, model_versions
from ingot.digests import digest_of
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion
from ingot.storage import Store

SERVICE = Actor("service", "prefect-deployment:tests", "declared")
_DOCUMENTS = 40


def judge(store: Store, version: ModelVersion, *, champion: int | None, gain: float = 0.2) -> Verdict:
    """Gate a version; `gain` is how many bits per byte it is better than the champion, about."""
    mine = _result(version.version, 3.0 - gain)
    theirs = _result(champion, 3.0) if champion else None
    verdict = decide(mine, theirs, config=GateConfig())
    evaluation = digest_of({"scores": mine, "of": version.evidence["checkpoint"], "beside": champion})
    store.put_if_absent(f"evaluations/{evaluation}.json", mine)
    record = {"kind": "verdict", "model": version.name, "version": version.version, "champion": champion,
              "evaluation": evaluation, **verdict.model_dump(mode="json")}  # fmt: skip
    digest = digest_of(record)
    store.put_if_absent(f"evaluations/{digest}.json", record)
    entries = ledger.read(store)
    ledger.append(
        store, actor=SERVICE, verb="gated", subject=version.subject, subject_digest=version.evidence["checkpoint"],
        evidence={"verdict": digest, "evaluation": evaluation},
        attempt=f"{digest}:{model_versions.last_move(entries, version.name)}",
        details={"model": version.name, "version": version.version, "verdict": verdict.verdict, "champion": champion,
                 "bits_per_byte": mine["bits_per_byte"], "reason": verdict.reason},
    )  # fmt: skip
    return verdict


def _result(seed: int, level: float) -> dict:
    draw = random.Random(seed)
    rows = []
    for number in range(_DOCUMENTS):
        size = 900 + 37 * number
        nats = size * math.log(2) * (level + draw.uniform(-0.1, 0.1))
        rows.append({"doc_id": f"{number:032x}", "bytes": size, "nats": nats,
                     "baseline_nats": {"ngram": size * math.log(2) * 2.9}})  # fmt: skip
    total = sum(row["nats"] for row in rows) / (math.log(2) * sum(row["bytes"] for row in rows))
    baselines = {"ngram": {"bits_per_byte": 2.9, "per_document": True}, "xz": {"bits_per_byte": 3.4}}
    return {"suite": "heldout", "version": "1", "bits_per_byte": total, "documents": rows, "baselines": baselines}
