"""`ingot init DIR --source PATH`: a workspace with a commented recipe, after a short look at the folder."""

import os
import re
import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from ingot.config import NAME_PATTERN, parse_recipe
from ingot.errors import DataError, RecipeError
from ingot.recipe_errors import allowed_characters
from ingot.recipe_files import read_values
from interface.output import Printer

_MAX_FILES = 20_000
_SAMPLE_FILES = 40
_SAMPLE_BYTES = 20_000
# What the folder source reads, by file ending; the second kind is not looked into here, that needs a parser.
_TEXT = (".md", ".markdown", ".txt", ".rst", ".html", ".htm", ".py", ".text")
_PARSED = (".pdf", ".docx", ".pptx", ".xlsx", ".odt", ".odp", ".ods", ".epub", ".ipynb", ".eml", ".mbox")
_READABLE = (*_TEXT, *_PARSED)
_TEXT_SHARE = 0.05
"""Bytes of text in a byte of such a file, for a first guess of how much there is to train on."""
_BYTES_PER_TOKEN = 3.5
_EPOCHS = 4
_SKIPPED_FOLDERS = {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv"}


@dataclass(frozen=True)
class Look:
    """What a short look at a folder found."""

    files: Counter[str]
    readable: int
    readable_bytes: int
    languages: Counter[str]
    truncated: bool


def init(options: Namespace, printer: Printer) -> int:
    """`ingot init`."""
    if options.name is not None and not re.fullmatch(NAME_PATTERN, options.name):
        raise RecipeError(f"--name {options.name!r} is no corpus name; {allowed_characters(NAME_PATTERN)}")
    source = Path(options.source).expanduser().resolve()
    folder = Path(options.folder).expanduser()
    if not source.is_dir():
        raise RecipeError(f"--source {options.source} is not a folder; give the folder that holds your documents")
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file; choose another folder")
    if (folder / "recipe.yaml").exists():
        raise RecipeError(f"{folder}/recipe.yaml exists; edit it, or choose another folder")
    look = look_at(source)
    if look.readable == 0:
        kinds = (
            ", ".join(f"{num} {ending or 'without ending'}" for ending, num in look.files.most_common(5)) or "no files"
        )
        raise DataError(f"{source} holds {kinds}, nothing that is read yet; known endings: {', '.join(_READABLE)}")
    name = options.name or corpus_name(folder.resolve().name)
    text = recipe_text(name, source, look)
    parse_recipe(read_values(text, "the recipe for this folder"))  # what init writes, build must take
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("rules", "sources", "graders"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    size = f"about {look.readable_bytes:,} bytes of text"
    printer.line(f"{source}: {look.readable:,} readable files, {size}, {_languages(look)}")
    printer.line(f"wrote {folder / 'recipe.yaml'}")
    printer.line(f"next: ingot build {shlex.quote(options.folder)}")
    printer.result({"recipe": str(folder / "recipe.yaml"), "files": look.readable, "bytes": look.readable_bytes})
    return 0


def corpus_name(name: str) -> str:
    """A folder's name as a corpus name."""
    cleaned = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    return (cleaned or "corpus")[:60]


def look_at(source: Path) -> Look:
    """Count files by ending and guess languages from a few of them."""
    files: Counter[str] = Counter()
    readable: list[Path] = []
    size = 0
    truncated = False
    for number, path in enumerate(_walk(source)):
        if number >= _MAX_FILES:
            truncated = True
            break
        files[path.suffix.lower()] += 1
        if path.suffix.lower() in _READABLE:
            readable.append(path)
            size += round(path.stat().st_size * (_TEXT_SHARE if path.suffix.lower() in _PARSED else 1))
    texts = [path for path in readable if path.suffix.lower() in _TEXT]
    return Look(files, len(readable), size, _guess_languages(texts), truncated)


def _walk(source: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _guess_languages(paths: list[Path]) -> Counter[str]:
    import pyarrow as pa

    from datasets_pipeline.features import compute_features

    step = max(1, len(paths) // _SAMPLE_FILES)
    texts = [path.read_bytes()[:_SAMPLE_BYTES].decode("utf-8", "replace") for path in paths[::step][:_SAMPLE_FILES]]
    if not texts:
        return Counter()
    none = pa.nulls(len(texts), pa.string())
    kinds = pa.array(["text/plain"] * len(texts))
    features = compute_features(pa.array(texts, pa.large_string()), kinds, none)
    return Counter(language for language in features["language"].to_pylist() if language != "und")


def _languages(look: Look) -> str:
    names = [language for language, _ in look.languages.most_common(5)]
    return f"mostly {', '.join(names)}" if names else "language unknown"


def quoted(text: str) -> str:
    """A value as YAML that stays text whatever it holds: `no`, `2024`, a blank, a '#' or a line break."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 30).strip()


def recipe_text(name: str, source: Path, look: Look) -> str:
    """The recipe, with sizes that fit the folder and a sentence beside each choice."""
    tokens = max(20_000, min(2_000_000, 1_000 * round(look.readable_bytes / _BYTES_PER_TOKEN * _EPOCHS / 1_000)))
    small = look.readable_bytes < 2_000_000
    common = [language for language, num in look.languages.most_common() if num >= max(2, look.languages.total() // 20)]
    languages = sorted(common or [language for language, _ in look.languages.most_common(1)])
    keep = ", ".join(map(quoted, languages))
    # About a dozen documents must be held out to say anything; a tiny folder gives a larger share for that.
    share = max(0.02, min(0.3, round(12 / max(1, look.readable), 2)))
    include = ", ".join(quoted(f"**/*{ending}") for ending in _READABLE)
    language_rule = f"  - rule: language\n    keep: [{keep}] # found in a sample of your files\n" if keep else ""
    return f"""\
# {name}: written after a short look at the folder ({look.readable:,} readable files, {look.readable_bytes:,} bytes).
# Every key: `ingot schema recipe`. Try a change without editing: `ingot build FOLDER --set train.0.tokens=50_000`.
# Rules, sources and graders of your own: rules/house.py in this file's folder is `- rule: house` below. Commands that
# are given the folder find them; for a command that is given something else, set INGOT_WORKSPACE to the folder.
corpus: {quoted(name)}

sources:
  - source: folder
    name: {quoted(name)}
    uri: {quoted(str(source))} # a place: it may move without making a new version
    include: [{include}]
    licence: internal # for documents that do not state their own

# What is dropped, and why, stands in the data card; `ingot why FILE` tells it for one document.
rules:
{language_rule}  - rule: length
    min_words: 5
  - rule: gopher_repetition
    when: {{ media: [text/plain, text/markdown, text/html] }}
  - rule: pii
    policy: redact # e-mail addresses, telephone numbers, keys and the like are replaced

dedup:
  near: {{ threshold: 0.8 }} # word 5-gram Jaccard from which two documents are one

heldout: {{ share: {share} }} # never trained on; the model is measured on them

tokenizer: {{ vocab_size: {1024 if small else 4096} }}

train:
  - stage: pretrain
    model: {{ family: llama, layers: {2 if small else 4}, width: {96 if small else 128} }}
    sequence_length: 256
    batch_tokens: {1024 if small else 4096}
    tokens: {tokens:_} # about {_EPOCHS} passes over your text at the most

evaluate:
  suites: [heldout]
"""
