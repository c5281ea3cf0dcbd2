"""What evaluation files a corpus version was cleaned against, and what of them was seen in its documents.

From the manifest alone: the digests stand in `versions`, the counts in `statistics.reports`.
"""

from collections.abc import Sequence
from typing import Any

from ingot.manifest import Identity

RULE = "decontamination"
COLUMNS = ["benchmark", "policy", "items", "searchable", "items seen", "documents", "in sources", "SHA-256"]
"""Header of `cleaned_rows`."""


def cleaned_against(identity: Identity) -> list[dict[str, Any]]:
    """A row a benchmark: rule id, name, policy, digest of its files, counts, sources, and numbers of the items seen."""
    policies = {rule.get("id"): rule.get("policy") for rule in identity.recipe.get("rules", [])}
    return [
        {
            "rule": rule_id,
            "benchmark": name,
            "policy": policies.get(rule_id),
            "sha256": identity.versions[f"rule.{rule_id}.{name}"],
            **numbers,
        }
        for rule_id, told in identity.statistics.get("reports", {}).items()
        if told["rule"] == RULE
        for name, numbers in told["report"].items()
    ]


def cleaned_rows(found: Sequence[dict[str, Any]]) -> list[list[object]]:
    """Table rows under COLUMNS."""
    return [
        [
            row["benchmark"], row["policy"] or "", row["items"], row["searchable"], row["seen"], row["documents"],
            ", ".join(f"{name} {num}" for name, num in row["sources"].items()) or "none", row["sha256"],
        ]
        for row in found
    ]  # fmt: skip
