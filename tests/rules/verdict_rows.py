"""Short ways to a rule's verdicts for tests."""

from types import ModuleType
from typing import Any

import pyarrow as pa

from datasets_pipeline.rules.verdicts import Verdicts


def rows(verdicts: Verdicts) -> list[tuple[str | None, float | None, float | None, bool]]:
    """(reason, score, threshold, abstained) per document."""
    columns = (verdicts.reason, verdicts.score, verdicts.threshold, verdicts.abstained)
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def reasons(rule: ModuleType, features: pa.Table, **options: Any) -> list[str | None]:
    """Reasons that a rule configured with these options gives."""
    return rule.judge(rule.Config(**options), features).reason.to_pylist()
