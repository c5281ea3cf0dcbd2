"""What a version must hold to be published: enough documents, and no source that shrank or grew out of all proportion.

A share that was not mounted or an export that broke half-way looks like a night on which everybody deleted their
pages. Asked of what came in, source by source, so a rule that drops more is not mistaken for a source that is gone,
and a small source's loss does not vanish beside a large one.
"""

from collections.abc import Mapping
from typing import Any

from ingot.config import Expectations
from ingot.manifest import Identity

COMPARED_FROM = 100
"""Documents a source must have had in the last version to be compared, unless none is left: a handful may halve."""


def breaches(
    identity: Identity, last: Identity | None, expectations: Expectations, looks: Mapping[str, Any]
) -> list[str]:
    """What speaks against publishing a version after the last good one, a sentence each; empty when nothing does.

    looks: what was found in each source, as a version's provenance has it under `sources`. A source that left the
    recipe was taken out by a person and is not asked about.
    """
    found = []
    num = identity.accounting["kept"] + identity.accounting["heldout"]
    if num < expectations.min_documents:
        found.append(
            f"{num:,} of {identity.accounting['documents']:,} documents are kept or held out "
            f"(expectations.min_documents is {expectations.min_documents:,})"
        )
    if last is None:
        return found
    asked = {str(source["name"]) for source in identity.recipe["sources"]}
    now = identity.statistics["source"]
    for source, row in sorted(last.statistics["source"].items()):
        before, after = row["documents"], now.get(source, {"documents": 0})["documents"]
        # All of a source is never a change of its pages, however small it is. Its documents may stand in others too,
        # which then count them, so the files decide.
        files = looks.get(source, {}).get("files", {})
        is_empty = not after and not files.get("read", 0) and not files.get("unchanged", 0)
        if source not in asked or (before < COMPARED_FROM and not is_empty):
            continue
        if before - after > expectations.max_lost_share * before:
            found.append(
                f"source {source} has {after:,} documents after {before:,} "
                f"(expectations.max_lost_share is {expectations.max_lost_share:g})"
            )
        elif after > expectations.max_growth * before:
            found.append(
                f"source {source} has {after:,} documents after {before:,} "
                f"(expectations.max_growth is {expectations.max_growth:g})"
            )
    return found
