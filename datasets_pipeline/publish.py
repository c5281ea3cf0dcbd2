"""Write the shards that were decided, then publish the version by putting its manifest (CONTRACTS 7, 9).

A run that changes nothing publishes nothing; a version that breaches the recipe's expectations is put under `held/`,
and the last good one stays the newest. The version number is the fence between two runs on one
corpus: the loser adopts the winner when it is the same version, else it takes the next number.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from datasets_pipeline.content_order import ContentOrder
from datasets_pipeline.decide import MANY_DOCUMENTS, DecisionsRef
from datasets_pipeline.expectations import breaches
from datasets_pipeline.flags import flags
from datasets_pipeline.identity import NO_TOMBSTONES, recipe_values, stage_versions
from datasets_pipeline.overrides import record_overrides
from datasets_pipeline.parallel import Pool
from datasets_pipeline.shards import write_shards
from datasets_pipeline.worker_units import give_back_memory
from ingot import ledger
from ingot.config import Expectations, Recipe
from ingot.crashpoints import crashpoint
from ingot.digests import digest_of
from ingot.errors import BusyError, HeldError
from ingot.manifest import (
    MANIFEST_VERSION,
    Identity,
    Manifest,
    content_digest_in_order,
    held_key,
    hold,
    identity_digest,
    key_of,
    publish,
    read,
    ref_of,
    root_digest,
    versions_of,
)
from ingot.refs import CorpusRef
from ingot.storage import Store

logger = logging.getLogger(__name__)

_MAX_RACES = 3


def publish_corpus(
    store: Store,
    recipe: Recipe,
    decided: DecisionsRef,
    pool: Pool,
    *,
    salt: bytes,
    actor: ledger.Actor,
    provenance: Mapping[str, Any],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> CorpusRef:
    """Write what is missing and publish the next version, or name the one that is the same already.

    HeldError when the version is not what the recipe expects after the last one.
    """
    give_back_memory()  # what deciding held: this process keeps little while workers write shards
    if decided.accounting["occurrences"] >= MANY_DOCUMENTS:
        pool.renew()
    known = versions_of(store, recipe.corpus)
    parent = read(store, recipe.corpus, known[-1]) if known else None
    earlier = {shard.list_digest: shard for shard in parent.identity.shards} if parent else {}
    with store.scratch("the order of the content") as folder:
        content = ContentOrder(folder)
        shards, counts = write_shards(
            store, decided.plan, recipe.shards, earlier, pool, content, on_progress=on_progress
        )
        content_digest = content_digest_in_order(content.rows())
    identity = Identity(
        manifest_version=MANIFEST_VERSION,
        corpus=recipe.corpus,
        snapshot_digest=decided.snapshot_digest,
        recipe=recipe_values(recipe),
        tombstones_digest=NO_TOMBSTONES,
        versions=stage_versions(recipe, salt),
        content_digest=content_digest,
        root_digest=root_digest(shards),
        shards=shards,
        decisions=list(decided.decisions),
        accounting=decided.accounting,
        statistics=decided.statistics,
    )
    numbers = {**provenance, "shards": counts, "pairs": decided.pairs}
    return _publish(store, identity, recipe.expectations, numbers, actor)


def _publish(
    store: Store, identity: Identity, expectations: Expectations, provenance: Mapping[str, Any], actor: ledger.Actor
) -> CorpusRef:
    digest = identity_digest(identity)
    for _ in range(_MAX_RACES):
        known = versions_of(store, identity.corpus)
        latest = None
        if known:
            latest = read(store, identity.corpus, known[-1])
            record_publication(store, latest, known[-1], actor)
            if latest.identity_digest == digest:
                logger.info("nothing changed: same as %s@%d", identity.corpus, known[-1])
                return ref_of(latest, known[-1], reused=True)
        version = known[-1] + 1 if known else 1
        sequence, head = ledger.head(store)
        by = {"kind": actor.kind, "id": actor.id, "established_by": actor.established_by}
        body = {
            **provenance,
            "actor": by,
            "ledger_head": f"{sequence}:{head}",
            "expectations": expectations.model_dump(mode="json"),
            "flags": flags(identity.statistics),
        }
        last = (f"{identity.corpus}@{known[-1]}", latest.identity) if latest else None
        found = breaches(identity, last, expectations, provenance.get("sources", {}))
        if found:
            _hold_back(store, identity, {**body, "breaches": found}, version, actor)
        if publish(store, identity, body, version):
            manifest = read(store, identity.corpus, version)
            record_publication(store, manifest, version, actor)
            logger.info(
                "published %s@%d: %d documents in %d shards", identity.corpus, version,
                identity.accounting["kept"], len(identity.shards),
            )  # fmt: skip
            return ref_of(manifest, version)
    raise BusyError(f"corpus {identity.corpus}: lost {_MAX_RACES} races for the next version; run again")


def _hold_back(
    store: Store, identity: Identity, provenance: Mapping[str, Any], version: int, actor: ledger.Actor
) -> NoReturn:
    number = hold(store, identity, provenance, version)
    reason = "; ".join(provenance["breaches"])
    ledger.append(
        store,
        actor=actor,
        verb="held_back",
        subject=f"{identity.corpus}@{number}",
        subject_digest=identity_digest(identity),
        evidence={"manifest": digest_of(store.read_json(held_key(identity.corpus, number)))},
        attempt=identity_digest(identity),
        details={"reason": reason},
    )
    stays = f"{identity.corpus}@{version - 1} stays the newest" if version > 1 else "nothing is published"
    raise HeldError(
        f"{identity.corpus}@{number} was held back, {stays}: {reason}. Mend the source or the rule "
        f"(`ingot diff {identity.corpus} {identity.corpus}@held/{number}` shows what changed), or run again with the "
        "expectation changed in the recipe or by `--set expectations.NAME=VALUE`"
    )


def record_publication(store: Store, manifest: Manifest, version: int, actor: ledger.Actor) -> None:
    """Make sure the ledger says that a version was published; a crash may have come between."""
    name = f"{manifest.identity.corpus}@{version}"
    # Who repairs the record is not who published.
    by = manifest.provenance.get("actor")
    crashpoint("publish.ledger.before", name)
    ledger.append(
        store,
        actor=ledger.Actor(**by) if by else actor,
        verb="published",
        subject=name,
        subject_digest=manifest.identity_digest,
        evidence={
            "manifest": digest_of(store.read_json(key_of(manifest.identity.corpus, version))),
            "content_digest": manifest.identity.content_digest,
            "root_digest": manifest.identity.root_digest,
        },
        attempt=manifest.identity_digest,
        details={"documents": manifest.identity.accounting["kept"], "heldout": manifest.identity.accounting["heldout"]},
    )
    record_overrides(store, manifest, version, actor)
    crashpoint("publish.ledger.after", name)
