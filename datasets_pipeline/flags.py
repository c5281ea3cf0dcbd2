"""Rules that drop suspiciously many documents of one language or source, for a person to look at.

Read from a version's statistics alone.
"""

from collections.abc import Mapping
from typing import Any

GROUPS = ("language", "source")
FLAG_FROM = 50
"""Documents a language or source must have to be flagged: of a handful, a third is one or two."""
FLAG_SHARE = 0.3
"""Share of a group's documents from which a rule that drops them is flagged."""


def flags(statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rules that drop over 30 % of a language's or source's documents, from 50 documents on, worst first."""
    found = [
        {
            "by": group, "name": name, "rule": rule,
            "documents": row["documents"], "dropped": num, "share": round(num / row["documents"], 4),
        }
        for group in GROUPS
        for name, row in statistics.get("verdicts_by", {}).get(group, {}).items()
        if row["documents"] >= FLAG_FROM
        for rule, num in row["dropped"].items()
        if num > FLAG_SHARE * row["documents"]
    ]  # fmt: skip
    return sorted(found, key=lambda flag: (-flag["share"], flag["by"], flag["name"], flag["rule"]))


def sentence(flag: Mapping[str, Any]) -> str:
    """A flag for people."""
    return (
        f"{flag['rule']} drops {flag['share']:.0%} of {flag['by']} {flag['name']} "
        f"({flag['dropped']:,} of {flag['documents']:,} documents)"
    )
