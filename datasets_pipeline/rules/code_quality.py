"""Source code: long lines, few letters, comments, generated files, dumps of configuration and data.

Valid on media that are code or configuration, whatever language a comment is written in; prose and tables are abstained
from. A check's threshold may differ by medium (`per_medium`). Where they come from:

- mean and longest line, letters and digits: Chen et al. 2021 (Codex, arXiv:2107.03374), section 3.1, as The Stack
  (Kocetkov et al. 2022, arXiv:2211.15533) and StarCoder apply them: 100, 1000, 0.25.
- letters, XML under a wrong name, JSON and YAML of 50 to 5000 characters with half of them letters: Li et al. 2023
  (StarCoder, arXiv:2305.06161), section 3.
- lines of a file and comments: NeMo Curator's code_filter_pipeline.yaml: 5 to 20,000 lines, comments at most 0.85. Its
  smallest share of comments (0.001 there, 0.01 by default) is off: it counts docstrings, we count comment lines.
- names of generated and minified files: ours, after the list of GitHub's linguist.

A comment line begins with # // /* * -- ; % or <!--.
"""

import re
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets_pipeline.rules.applicability import is_code
from datasets_pipeline.rules.verdicts import Bools, Check, Floats, Verdicts, above, below, column, first_failing, ratio

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Of programs, not of people."""


class Thresholds(BaseModel):
    """One complete set of thresholds; null switches a check off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_lines: int | None = Field(default=5, ge=1, description="Fewest lines (NeMo).")
    max_lines: int | None = Field(default=20_000, ge=1, description="Most lines (NeMo).")
    min_chars: int | None = Field(default=None, ge=1, description="Fewest characters (StarCoder: 50 for JSON, YAML).")
    max_chars: int | None = Field(default=None, ge=1, description="Most characters (StarCoder: 5000 for JSON, YAML).")
    max_mean_line_chars: float | None = Field(
        default=100, gt=0, description="Largest mean length of a line (Codex, The Stack); above it a file is minified."
    )
    max_line_chars: int | None = Field(
        default=1000, ge=1, description="Length of the longest line (Codex, The Stack); above it a file holds data."
    )
    min_alphanumeric_share: float | None = Field(
        default=0.25, gt=0, le=1, description="Smallest share of letters and digits (The Stack)."
    )
    min_alphabetic_share: float | None = Field(
        default=0.25, gt=0, le=1, description="Smallest share of letters (StarCoder); below it are tensors and tables."
    )
    min_comment_share: float | None = Field(
        default=None, gt=0, le=1, description="Smallest share of characters in comment lines; off (see the module)."
    )
    max_comment_share: float | None = Field(
        default=0.85, gt=0, le=1, description="Largest share of characters in comment lines (NeMo)."
    )
    drop_xml_headers: bool = Field(
        default=True, description="Drop what begins as XML under another name (StarCoder); XML itself is not asked."
    )
    drop_generated: bool = Field(
        default=True, description="Drop files that tools write, by their names: *.min.js, *_pb2.py, package-lock.json."
    )


_DATA = Thresholds(min_lines=None, min_chars=50, max_chars=5000, min_alphabetic_share=0.5)
PUBLISHED_BY_MEDIUM: dict[str, Thresholds] = {
    "application/json": _DATA,
    "application/yaml": _DATA,
    "text/yaml": _DATA,
}
"""StarCoder's limits for configuration: short, and made of words."""

_GENERATED = re.compile(
    r"""(?:^|/)(?:
        [^/]*[.-]min\.(?:js|mjs|css)
      | [^/]*(?:_pb2(?:_grpc)?\.pyi?|\.pb(?:\.gw|_grpc)?\.go|\.pb\.(?:cc|h)|\.g\.dart|\.freezed\.dart)
      | [^/]*(?:\.designer\.(?:cs|vb)|\.generated\.[a-z]+|_generated\.[a-z]+|\.bundle\.js|-bundle\.js)
      | (?:package-lock|npm-shrinkwrap|composer\.lock|project\.assets)(?:\.json)?
      | (?:yarn|pnpm-lock|poetry|Pipfile|Cargo|Gemfile|uv|go)\.(?:lock|sum|yaml)
      | zz_generated[^/]*\.go
    )$ | (?:^|/)(?:node_modules|__generated__)/""",
    re.VERBOSE | re.IGNORECASE,
)


def _media(values: dict[str, Thresholds]) -> dict[str, Thresholds]:
    for medium in values:
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", medium):
            raise ValueError(f"{medium!r} is no media type; write one such as text/x-python")
    return values


class Config(Thresholds):
    """Options of `- rule: code_quality`."""

    per_medium: Annotated[dict[str, Thresholds], AfterValidator(_media)] = Field(
        default_factory=dict,
        description="A complete other set of thresholds for a media type; JSON and YAML have one of StarCoder's "
        "unless they are named here.",
    )


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons code_<what is wrong>, in the order of the options."""
    limit = _Limits(features, config)
    chars, lines = column(features, "num_chars"), column(features, "num_newlines") + 1
    comments = ratio(column(features, "comment_line_chars"), chars)
    none = np.full(len(features), np.nan)
    is_xml = pc.match_substring(features["media_type"], "xml").to_numpy(zero_copy_only=False)
    headers = (column(features, "num_xml_headers") > 0) & ~is_xml & (limit["drop_xml_headers"] == 1)
    generated = _is_generated(features["uri"]) & (limit["drop_generated"] == 1)
    checks = [
        below("code_too_few_lines", lines, limit["min_lines"]),
        above("code_too_many_lines", lines, limit["max_lines"]),
        below("code_too_few_chars", chars, limit["min_chars"]),
        above("code_too_many_chars", chars, limit["max_chars"]),
        above("code_mean_line_too_long", ratio(chars + 1, lines) - 1, limit["max_mean_line_chars"]),
        above("code_line_too_long", column(features, "longest_line_chars"), limit["max_line_chars"]),
        below(
            "code_low_alphanumeric",
            ratio(column(features, "num_alphanumeric"), chars),
            limit["min_alphanumeric_share"],
        ),
        below("code_low_alphabetic", ratio(column(features, "num_letters"), chars), limit["min_alphabetic_share"]),
        below("code_few_comments", comments, limit["min_comment_share"]),
        above("code_all_comments", comments, limit["max_comment_share"]),
        Check("code_xml_header", headers, none, none),
        Check("code_generated_file", generated, none, none),
    ]
    return first_failing(checks, is_code(features))


class _Limits:
    """Thresholds per row, by its medium."""

    def __init__(self, features: pa.Table, config: Config) -> None:
        sets = {**PUBLISHED_BY_MEDIUM, **config.per_medium}
        media = sorted(sets)
        index = pc.index_in(features["media_type"], value_set=pa.array(media, pa.string()))
        self._sets: list[BaseModel] = [config, *(sets[medium] for medium in media)]
        self._rows = pc.fill_null(pc.add(index, 1), 0).to_numpy(zero_copy_only=False)

    def __getitem__(self, field: str) -> Floats:
        values = [getattr(thresholds, field) for thresholds in self._sets]
        return np.array([np.nan if v is None else float(v) for v in values])[self._rows]


def _is_generated(uris: pa.ChunkedArray) -> Bools:
    return np.array([_GENERATED.search(uri.split("#", 1)[0]) is not None for uri in uris.to_pylist()], bool)
