"""What a corpus version is a function of, beside its snapshot: recipe values and versions (CONTRACTS 1)."""

import hashlib
from typing import Any

import pyarrow as pa

from datasets_pipeline import heldout
from datasets_pipeline.acquire import ACQUIRE_VERSION, extraction_versions
from datasets_pipeline.analyse import feature_version, rule_inputs, rule_version
from datasets_pipeline.dedup.minhash import SIGNATURE_VERSION, VERIFIER_VERSION
from datasets_pipeline.edits import EDITS_VERSION
from ingot.config import Recipe, resolved, without_places
from ingot.digests import digest_of
from ingot.overrides import values_of
from ingot.parquet import WRITER_VERSION
from ingot.schemas import SCHEMA_VERSION

DECIDE_VERSION = "3"
# No tombstones yet: erasure brings them; their digest is part of every version from the start.
NO_TOMBSTONES = digest_of([])
_SECTIONS = ("seed", "sources", "classifications", "rules", "dedup", "heldout", "shards")


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe sections a corpus version is a function of; places are left out."""
    sections = {name: getattr(recipe, name) for name in _SECTIONS}
    values = {name: resolved(section) for name, section in sections.items() if section is not None}
    values["sources"] = sorted(without_places(values["sources"]), key=lambda source: str(source["name"]))
    values["rules"] = without_places(values["rules"])
    if recipe.overrides:
        values["overrides"] = values_of(recipe.overrides)
    return values


def stage_versions(recipe: Recipe, salt: bytes) -> dict[str, str]:
    """Versions of everything that shapes the bytes of a version."""
    versions = {
        "schema": str(SCHEMA_VERSION),
        "parquet_writer": WRITER_VERSION,
        "pyarrow": pa.__version__,
        "acquire": ACQUIRE_VERSION,
        "extract": digest_of(
            [extraction_versions(entry) for entry in sorted(recipe.sources, key=lambda e: e.config.name)]
        ),
        "features": feature_version(),
        "signature": SIGNATURE_VERSION,
        "verifier": VERIFIER_VERSION,
        "edits": EDITS_VERSION,
        "decide": DECIDE_VERSION,
        "heldout": heldout.HELDOUT_VERSION,
        # Only a digest of the salt: whoever knows it can predict what is held out.
        "salt": hashlib.sha256(b"ingot-salt" + salt).hexdigest()[:16],
    }
    for entry in recipe.rules:
        versions[f"rule.{entry.id}"] = rule_version(entry.rule)
        versions |= {f"rule.{entry.id}.{name}": digest for name, digest in rule_inputs(entry).items()}
    return versions
