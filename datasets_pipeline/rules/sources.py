"""Keep or drop documents by where they stand: names of sources, paths by glob.

- rule: sources
  deny: [old_wiki]
  deny_paths: ["**/drafts/**", "archive/"]

A text that stands in several places is judged by its primary one (the smallest source rank, source, uri). Globs are
those of a source's include and exclude, on RE2, against the document's uri without what stands behind a `#` or in an
archive (`!/`).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.rules.verdicts import Bools, Check, Verdicts, first_failing
from datasets_pipeline.sources.globs import is_included
from ingot.errors import RecipeError

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere."""


class Config(BaseModel):
    """Options of `- rule: sources`; null does not ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] | None = Field(default=None, min_length=1, description="Names of the sources that stay.")
    deny: tuple[str, ...] | None = Field(default=None, min_length=1, description="Names of sources that are dropped.")
    allow_paths: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Globs of which the uri must match one, e.g. docs/**."
    )
    deny_paths: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Globs of uris that are dropped, whatever allow_paths says."
    )

    @field_validator("allow_paths", "deny_paths")
    @classmethod
    def _are_globs(cls, globs: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for glob in globs or ():
            try:
                is_included("x", [glob], [])
            except RecipeError as error:
                raise ValueError(str(error)) from None
        return globs

    @model_validator(mode="after")
    def _asks_something(self) -> "Config":
        if all(getattr(self, name) is None for name in Config.model_fields):
            raise ValueError("asks nothing; give allow, deny, allow_paths or deny_paths")
        return self


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons source_denied, source_not_allowed, path_denied, path_not_allowed, in this order."""
    num = len(features)
    none, no = np.full(num, np.nan), np.zeros(num, bool)
    sources = features["source"]
    paths = _paths(features["uri"]) if config.allow_paths or config.deny_paths else []
    checks = [
        Check("source_denied", _is_one_of(sources, config.deny) if config.deny else no, none, none),
        Check("source_not_allowed", ~_is_one_of(sources, config.allow) if config.allow else no, none, none),
        Check("path_denied", _match(paths, config.deny_paths) if config.deny_paths else no, none, none),
        Check("path_not_allowed", ~_match(paths, config.allow_paths) if config.allow_paths else no, none, none),
    ]
    return first_failing(checks, np.ones(num, bool))


def _is_one_of(column: pa.ChunkedArray, names: tuple[str, ...]) -> Bools:
    return pc.is_in(column, value_set=pa.array(names, pa.string())).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _paths(uris: pa.ChunkedArray) -> list[str]:
    return [uri.split("!/", 1)[0].split("#", 1)[0] for uri in uris.to_pylist()]


def _match(paths: list[str], globs: tuple[str, ...]) -> Bools:
    return np.array([is_included(path, globs, ()) for path in paths], bool)
