"""Regular expressions of one's own on RE2: drop documents, keep only those that match, delete or replace what matches.

- rule: regex
  patterns: {ticket: "INC[0-9]{7}", draft: "(?i)draft, do not cite"}
  action: replace
  replacement: <TICKET>

RE2 reads a text once, in time linear in its length, whatever the pattern is; look-around and back-references, which
no linear engine has, are refused. Flags stand in the pattern: (?i) any case, (?s) `.` matches newlines, (?m) `^` and
`$` at lines. Matches are of the stored text; of overlapping ones the first stays, then the longer one.
"""

import re
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.rules.found_spans import Found, span_column, without_overlaps
from datasets_pipeline.rules.verdicts import Check, Verdicts, column, first_failing

VERSION = "1"
KIND = "span"
LANGUAGES = None
"""Valid everywhere."""

MAX_PATTERN_CHARS = 10_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Config(BaseModel):
    """Options of `- rule: regex`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patterns: dict[str, str] = Field(
        min_length=1, description="Expressions by name; the name is the kind of its spans and part of its reason."
    )
    action: Literal["drop", "keep_only", "delete", "replace"] = Field(
        description="drop what matches one, keep_only what matches one, delete or replace each match."
    )
    replacement: str | None = Field(default=None, description="What stands in a match's place, as written; no groups.")

    @field_validator("patterns")
    @classmethod
    def _can_run(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name; write small letters, digits and _: ticket")
            problem = refusal(pattern)
            if problem is not None:
                raise ValueError(f"pattern {name} {problem}")
        return patterns

    @model_validator(mode="after")
    def _replacement_fits(self) -> "Config":
        if (self.action == "replace") != (self.replacement is not None):
            raise ValueError("give a replacement with action: replace, and only there; delete takes the match out")
        return self


def refusal(pattern: str) -> str | None:
    """Why RE2 cannot run a pattern, and what to do; None when it can."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"has {len(pattern):,} characters; at most {MAX_PATTERN_CHARS:,} are taken, split it"
    if re.search(r"(?<!\\)(?:\\\\)*\(\?(?:=|!|<=|<!)", pattern):
        return "looks ahead or behind, which no engine of linear time does; match the neighbours too, or rephrase it"
    if re.search(r"(?<!\\)(?:\\\\)*\\[1-9]", pattern) or "(?P=" in pattern:
        return "refers back to a group, which no engine of linear time does; write the alternatives out"
    if re.search(r"(?<!\\)(?:\\\\)*\\C", pattern):
        return "asks for a single byte with \\C, which may be half a character; write . or (?s:.)"
    try:
        compiled = _compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return f"is not one that RE2 reads ({words}); see its syntax, e.g. INC[0-9]{{7}}"
    if compiled.search(b"") is not None:
        return "matches the empty text, so it matches everywhere; ask for at least one character"
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # what it logs is the pattern
    return re2.compile(pattern, options)


def edits(config: Config) -> bool:
    """Whether these options take something out of texts."""
    return config.action in ("delete", "replace")


def drops(config: Config) -> bool:
    """Whether these options drop documents."""
    return not edits(config)


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """spans of the matches (delete, replace), num_matches, and first_pattern: the first in recipe order that matches.

    For drop and keep_only only whether a pattern matches is asked: num_matches counts patterns, and no spans are kept.
    """
    texts = documents["text"].combine_chunks()
    is_edited = edits(config)
    first: list[str | None] = [None] * len(texts)
    counts = np.zeros(len(texts), np.int64)
    found: dict[int, list[Found]] = {}
    for name, pattern in config.patterns.items():
        compiled = _compiled(pattern)
        # Arrow's RE2 looks at all texts at once; only what may match is looked at again.
        hits = pc.match_substring_regex(texts, pattern).fill_null(False).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(hits).tolist():
            if first[row] is None:
                first[row] = name
            if is_edited:
                data = texts[row].as_buffer().to_pybytes()
                matches = [(m.start(), m.end(), name, config.replacement) for m in compiled.finditer(data)]
                found.setdefault(row, []).extend(m for m in matches if m[1] > m[0])
            else:
                counts[row] += 1
    spans = {row: without_overlaps(matches) for row, matches in found.items()}
    for row, kept in spans.items():
        counts[row] = len(kept)
    return pa.table(
        {
            "spans": span_column(spans, len(texts)),
            "num_matches": pa.array(counts),
            "first_pattern": pa.array(first, pa.string()),
        }
    )


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """drop: regex_<name> of the first pattern that matches; keep_only: regex_no_match; else all pass."""
    num = len(features)
    score, none = column(found, "num_matches"), np.full(num, np.nan)
    checks = []
    if config.action == "drop":
        for name in config.patterns:
            hits = pc.equal(found["first_pattern"], name).fill_null(False).to_numpy(zero_copy_only=False)
            checks.append(Check(f"regex_{name}", hits, score, none))
    elif config.action == "keep_only":
        checks.append(Check("regex_no_match", score == 0, score, none))
    return first_failing(checks, np.ones(num, bool))
