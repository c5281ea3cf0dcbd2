"""Keep or drop documents by their web address: host, domain, path, words in it.

- rule: urls
  deny_domains: [example.net]
  deny_prefixes: [example.org/forum/]
  lists:
    - {kind: deny_domains, uri: lists/adult_domains.txt}

A domain is a host and all hosts below it. The address is the document's uri where that is one (web and WARC sources),
or `url` of its metadata; a document without an address is abstained from. A text that stands in several places is
judged by its primary one. Lists are local files, nothing is downloaded; their content is part of the version's
identity.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets_pipeline.rules import list_files
from datasets_pipeline.rules.verdicts import Check, Verdicts, first_failing

VERSION = "1"
KIND = "threshold"
LANGUAGES = None
"""Valid everywhere."""

ListKind = Literal[
    "allow_hosts", "allow_domains", "allow_prefixes", "deny_hosts", "deny_domains", "deny_prefixes", "deny_words",
    "soft_words",
]  # fmt: skip
_WORD = re.compile(r"[^\W_]+")


class ListFile(BaseModel):
    """A list in a local file: one entry a line, `#` begins a comment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ListKind = Field(description="The option that the entries are added to.")
    uri: str = Field(min_length=1, description="Path of the file, relative to the recipe.")


class Config(BaseModel):
    """Options of `- rule: urls`. Entries are compared in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_hosts: tuple[str, ...] = Field(default=(), description="Hosts that stay: docs.example.org.")
    allow_domains: tuple[str, ...] = Field(default=(), description="Domains that stay, hosts below them too.")
    allow_prefixes: tuple[str, ...] = Field(default=(), description="Host and beginning of the path: example.org/a/.")
    deny_hosts: tuple[str, ...] = Field(default=(), description="Hosts that are dropped.")
    deny_domains: tuple[str, ...] = Field(default=(), description="Domains that are dropped, hosts below them too.")
    deny_prefixes: tuple[str, ...] = Field(default=(), description="Host and beginning of a path that are dropped.")
    deny_words: tuple[str, ...] = Field(default=(), description="One of these words in the address is enough to drop.")
    soft_words: tuple[str, ...] = Field(default=(), description="Words of which `max_soft_words` are still accepted.")
    max_soft_words: int = Field(default=1, ge=0, description="Most different soft words in an address (datatrove: 1).")
    lists: tuple[ListFile, ...] = Field(default=(), description="Local files whose entries are added.")

    @field_validator(
        "allow_hosts", "allow_domains", "allow_prefixes", "deny_hosts", "deny_domains", "deny_prefixes", "deny_words",
        "soft_words",
    )  # fmt: skip
    @classmethod
    def _plain_entries(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not value.strip() or "://" in value or "*" in value:
                raise ValueError(f"{value!r} is no entry; write a host, host/path or word, without https:// or *")
        return tuple(sorted({value.strip().lower() for value in values}))

    @field_validator("deny_words", "soft_words")
    @classmethod
    def _single_words(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not _WORD.fullmatch(value):
                raise ValueError(f"{value!r} is never one word of an address; write letters and digits without signs")
        return values

    @model_validator(mode="after")
    def _asks_something(self) -> "Config":
        if not any(getattr(self, name) for name in Config.model_fields if name != "max_soft_words"):
            raise ValueError("asks nothing; give an allow or a deny list, or a file in lists")
        return self


def inputs(config: Config) -> dict[str, str]:
    """Digest of each list file's entries."""
    return {f"list.{index}.{entry.kind}": list_files.digest(entry.uri) for index, entry in enumerate(config.lists)}


def judge(config: Config, features: pa.Table) -> Verdicts:
    """Reasons url_<host, domain, prefix, word>_denied, url_soft_words, url_not_allowed, in this order."""
    listed = {name: frozenset(getattr(config, name)) for name in ListKind.__args__}  # type: ignore[attr-defined]
    for entry in config.lists:
        listed[entry.kind] |= frozenset(list_files.entries(entry.uri))
    addresses = _addresses(features)
    found = [_reason(url, listed, config.max_soft_words) if url else None for url in addresses]
    none = np.full(len(features), np.nan)
    reasons = ("url_host_denied", "url_domain_denied", "url_prefix_denied", "url_word_denied", "url_soft_words",
               "url_not_allowed")  # fmt: skip
    column = np.array(found, dtype=object)
    return first_failing(
        [Check(reason, column == reason, none, none) for reason in reasons],
        np.array([url is not None for url in addresses], bool),
    )


def _addresses(features: pa.Table) -> list[str | None]:
    """The web address of each row; null where there is none."""
    uris = features["uri"].to_pylist()
    stated = pc.match_substring(features["metadata"], '"url"').to_numpy(zero_copy_only=False)
    found: list[str | None] = []
    for row, uri in enumerate(uris):
        if not uri.startswith(("http://", "https://")):
            uri = json.loads(features["metadata"][row].as_py()).get("url") if stated[row] else None
        found.append(uri if isinstance(uri, str) and uri.startswith(("http://", "https://")) else None)
    return found


def _reason(url: str, listed: Mapping[str, frozenset[str]], max_soft_words: int) -> str | None:
    host, path = _parts(url)
    domains = [host[at:] for at in (0, *(m.end() for m in re.finditer(r"\.", host)))]
    if host in listed["deny_hosts"]:
        return "url_host_denied"
    if not listed["deny_domains"].isdisjoint(domains):
        return "url_domain_denied"
    if _begins(host + path, listed["deny_prefixes"]):
        return "url_prefix_denied"
    if listed["deny_words"] or listed["soft_words"]:
        words = set(_WORD.findall(host + path))
        if words & listed["deny_words"]:
            return "url_word_denied"
        if len(words & listed["soft_words"]) > max_soft_words:
            return "url_soft_words"
    asks = listed["allow_hosts"] or listed["allow_domains"] or listed["allow_prefixes"]
    is_allowed = (
        host in listed["allow_hosts"]
        or not listed["allow_domains"].isdisjoint(domains)
        or _begins(host + path, listed["allow_prefixes"])
    )
    return "url_not_allowed" if asks and not is_allowed else None


@lru_cache(maxsize=8)
def _lengths(prefixes: frozenset[str]) -> tuple[int, ...]:
    return tuple(sorted({len(prefix) for prefix in prefixes}))


def _begins(address: str, prefixes: Iterable[str]) -> bool:
    """Whether one of the prefixes begins the address: one lookup a length, however long the list is."""
    listed = frozenset(prefixes)
    return any(address[:length] in listed for length in _lengths(listed))


def _parts(url: str) -> tuple[str, str]:
    """(host, path with query) in lower case, unquoted; an address that cannot be read has an empty host."""
    try:
        split = urlsplit(url)
        host = (split.hostname or "").rstrip(".")
    except ValueError:
        return "", ""
    path = unquote(split.path or "/") + (f"?{unquote(split.query)}" if split.query else "")
    return host, path.lower()
