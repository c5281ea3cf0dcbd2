"""Run a filter or formatter of datatrove as a rule: the bridge for pipelines that are used to it.

- rule: datatrove
  filter: datatrove.pipeline.filters.GopherQualityFilter
  options: {min_doc_words: 30}

A filter drops with its own reason string; text that a filter or formatter changed becomes spans of the stored text.
What it writes into a document's metadata is not kept. Blocks are Python over every word, far slower than our rules of
the same name; their tokenizer is used without spaCy's memory zone and sentencizer, which cost it most of its time.

A document sees nothing of the others: counters and random numbers of a block start anew with each document, from its
id. Nothing is downloaded: a model or list that is not on this machine is refused, give its path in `options`. A
document on which the block raises is abstained from and counted. The class's source and version are in the identity.
"""

import hashlib
import importlib
import inspect
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from datasets_pipeline.rules.found_spans import Found, span_column
from datasets_pipeline.rules.text_difference import difference
from datasets_pipeline.rules.verdicts import Check, Verdicts, first_failing
from ingot.errors import RecipeError

VERSION = "2"
KIND = "span"
LANGUAGES = None
"""As the block itself: most of datatrove's are made for English; scope it with `when`."""
READS_LANGUAGE = True

INSTALL = "pip install 'ingot[datatrove]'"
# A tokenizer keeps every word it ever met; it is made anew above this many.
MAX_VOCABULARY = 500_000
_PROBE = "This is a page of a handbook.\nIt has two lines, and one address: https://example.org/page.\n"


class Config(BaseModel):
    """Options of `- rule: datatrove`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter: str = Field(
        pattern=r"^datatrove\.[A-Za-z0-9_.]+\.[A-Za-z0-9_]+$",
        description="Class of datatrove: datatrove.pipeline.filters.<Name> or datatrove.pipeline.formatters.<Name>.",
    )
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Arguments of the class, by name.")

    @field_validator("filter")
    @classmethod
    def _is_a_block(cls, name: str) -> str:
        try:
            block_class(name)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return name


def block_class(name: str) -> Any:
    """The class behind a dotted name; RecipeError when it is no filter or formatter of datatrove."""
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        filters = importlib.import_module("datatrove.pipeline.filters.base_filter")
        formatters = importlib.import_module("datatrove.pipeline.formatters.base")
    except ImportError as error:
        raise RecipeError(f"{name} cannot be imported ({error.name or error}); see its name, or {INSTALL}") from None
    found = getattr(module, class_name, None)
    if not inspect.isclass(found) or not issubclass(found, (filters.BaseFilter, formatters.BaseFormatter)):
        raise RecipeError(f"{name} is no filter or formatter; write datatrove.pipeline.filters.GopherQualityFilter")
    return found


def inputs(config: Config) -> dict[str, str]:
    """Version of datatrove and digest of the class's file; tries the block first, so that what it needs is told now."""
    return dict(_inputs(config.filter, json.dumps(config.options, sort_keys=True)))


@lru_cache(maxsize=32)
def _inputs(name: str, options: str) -> tuple[tuple[str, str], ...]:
    import importlib.metadata

    page = {"url": "https://example.org/page", "uri": "page", "language": "en"}
    try:
        _judge_text(_block(name, options), _PROBE, page, b"probe", name)
    except RecipeError:
        raise
    except Exception as error:
        raise RecipeError(f"{name} fails on a plain page ({type(error).__name__}: {error}); see its options") from error
    source = Path(inspect.getfile(block_class(name))).read_bytes()
    versions = {"datatrove": importlib.metadata.version("datatrove"), "source": hashlib.sha256(source).hexdigest()}
    for package in ("spacy", "ftfy", "tldextract"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(versions.items())


@lru_cache(maxsize=32)
def _block(name: str, options: str) -> Any:
    """The block, made once a process."""
    _patch()
    values = json.loads(options)
    if "exclusion_writer" in values:
        raise RecipeError("option exclusion_writer copies documents elsewhere; take it out, see the decisions")
    found = block_class(name)
    try:
        block = found(**values)
    except ImportError as error:
        raise RecipeError(f"{name} cannot start: {error} For all of datatrove's word filters: {INSTALL}") from None
    except (TypeError, ValueError) as error:
        wanted = ", ".join(inspect.signature(found.__init__).parameters.keys() - {"self", "exclusion_writer"})
        raise RecipeError(f"{name} refuses its options ({error}); it takes: {wanted}") from None
    if hasattr(block, "tldextractor"):
        from tldextract import TLDExtract

        block.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)  # its own snapshot, no look at the network
    return block


@lru_cache(maxsize=1)
def _patch() -> None:
    """Once a process: no download, and a tokenizer that keeps its caches."""
    import datatrove.io
    from datatrove.utils import word_tokenizers
    from loguru import logger

    logger.disable("datatrove")  # its lines may hold text
    download = datatrove.io.download_file

    def local_only(remote_path: str, local_path: str, progress: bool = True) -> None:
        if not Path(remote_path).is_file():
            raise RecipeError(
                f"{remote_path} is not on this machine and nothing is downloaded; "
                "fetch it elsewhere and give its path in options, or put it into the cache of huggingface_hub"
            )
        download(remote_path, local_path, progress)

    def word_tokenize(self: Any, text: str) -> list[str]:
        tokens = [token.text for token in _tokenizer(self).make_doc(text)]
        return word_tokenizers.strip_strings(tokens)  # type: ignore[no-any-return]

    def _sentences(self: Any, text: str) -> Any:
        nlp = _tokenizer(self)
        nlp.max_length = len(text) + 10
        return nlp(text).sents

    def sent_tokenize(self: Any, text: str) -> list[str]:
        return word_tokenizers.strip_strings([sentence.text for sentence in _sentences(self, text)])  # type: ignore[no-any-return]

    def span_tokenize(self: Any, text: str) -> list[tuple[int, int]]:
        return [(sentence.start_char, sentence.end_char) for sentence in _sentences(self, text)]

    datatrove.io.download_file = local_only
    for function in (word_tokenize, sent_tokenize, span_tokenize):
        # Japanese is tokenized in parts, and as datatrove does it.
        shipped = getattr(word_tokenizers.SpaCyTokenizer, function.__name__)
        setattr(word_tokenizers.SpaCyTokenizer, function.__name__, _unless_japanese(function, shipped))


def _unless_japanese(ours: Any, shipped: Any) -> Any:
    return lambda self, text: shipped(self, text) if self.language == "ja" else ours(self, text)


def _tokenizer(tokenizer: Any) -> Any:
    if tokenizer._tokenizer is not None and len(tokenizer._tokenizer.vocab) > MAX_VOCABULARY:
        tokenizer._tokenizer = None
    return tokenizer.tokenizer


def find_spans(config: Config, documents: pa.Table, key: bytes) -> pa.Table:
    """spans of what the block changed, the reason with which it drops, and the class of an error that it raised."""
    block = _block(config.filter, json.dumps(config.options, sort_keys=True))
    kind = config.filter.rpartition(".")[2].lower()
    found: dict[int, list[Found]] = {}
    reasons: list[str | None] = []
    errors: list[str | None] = []
    columns = ("doc_id", "uri", "language", "text")
    for row, (doc_id, uri, language, text) in enumerate(zip(*(documents[c].to_pylist() for c in columns), strict=True)):
        metadata = {"language": language, "uri": uri}
        if uri.startswith(("http://", "https://")):
            metadata["url"] = uri
        try:
            reason, after = _judge_text(block, text, metadata, doc_id, config.filter)
        except RecipeError:
            raise
        except Exception as error:  # one document's fault is its own
            reasons.append(None)
            errors.append(type(error).__name__)
            continue
        reasons.append(reason)
        errors.append(None)
        if reason is None and after != text:
            found[row] = difference(text, after, kind)
    return pa.table(
        {
            "spans": span_column(found, len(reasons)),
            "reason": pa.array(reasons, pa.string()),
            "error": pa.array(errors, pa.string()),
        }
    )


def _judge_text(block: Any, text: str, metadata: dict[str, Any], doc_id: bytes, name: str) -> tuple[str | None, str]:
    """(reason of a drop or None, the text afterwards)."""
    from datatrove.data import Document

    _start_anew(block, doc_id)
    try:
        if hasattr(block, "format"):
            return None, block.format(text)
        document = Document(text=text, id=doc_id.hex(), metadata=metadata)
        answer = block.filter(document)
    except ImportError as error:
        raise RecipeError(f"{name} cannot run: {error}; install what it needs: {INSTALL}") from None
    kept, reason = answer if isinstance(answer, tuple) else (answer, None)
    if kept:
        return None, document.text
    return str(reason or type(block).__name__), text


def _start_anew(block: Any, doc_id: bytes) -> None:
    """Set what a block carries from one document to the next: random numbers and turns of its replacements."""
    if hasattr(block, "uniform"):
        block.uniform = np.random.default_rng(int.from_bytes(doc_id, "little")).uniform
    for part in vars(block).values():
        if hasattr(part, "_replace_i"):
            part._replace_i = 0


def judge(config: Config, features: pa.Table, found: pa.Table) -> Verdicts:
    """The block's own reason strings; it abstains where the block raised."""
    reasons = np.array(found["reason"].to_pylist(), dtype=object)
    none = np.full(len(reasons), np.nan)
    names = sorted({reason for reason in reasons if reason is not None})
    checks = [Check(name, reasons == name, none, none) for name in names]
    return first_failing(checks, ~np.array(found["error"].is_valid().to_pylist(), bool))
