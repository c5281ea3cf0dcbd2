"""Keep recognized text that the text recognition was sure of.

Its confidence is the mean over the words of a document, as `ocr_confidence` in the metadata; documents whose text was
not recognized from pictures are not judged.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from datasets_pipeline.rules.verdicts import Floats, Verdicts, below, first_failing

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere: the confidence is of the language data that was used."""


class Config(BaseModel):
    """Options of `- rule: ocr_quality`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_confidence: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Smallest mean confidence of the recognized words, 0 to 1. Clean pages reach 0.95; a "
        "page of which every seventh word was wrong had 0.81, one of which two in five were wrong 0.71.",
    )


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reason ocr_confidence_too_low; the score is the document's confidence."""
    confidence = _confidences(features["metadata"])
    threshold = np.full(len(confidence), config.min_confidence)
    return first_failing([below("ocr_confidence_too_low", confidence, threshold)], ~np.isnan(confidence))


def _confidences(metadata: pa.ChunkedArray) -> Floats:
    """ocr_confidence of each row, NaN where there is none. Only rows that may have one are parsed."""
    found = np.full(len(metadata), np.nan)
    for row in np.flatnonzero(pc.match_substring(metadata, '"ocr_confidence"').to_numpy(zero_copy_only=False)):
        value = json.loads(metadata[int(row)].as_py()).get("ocr_confidence")
        if isinstance(value, (int, float)):
            found[row] = value
    return found
