"""`ingot fit-rules`: thresholds and stop words of a language from its own good text."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from ingot import manifest
from ingot.errors import NotFoundError, RecipeError
from ingot.parquet import read_table
from interface.context import open_settings, open_store
from interface.output import Printer

TEXT_FILES = (".txt", ".md", ".jsonl")


def fit_rules(options: Namespace, printer: Printer) -> int:
    """Print what the published thresholds lose, the section for a recipe, and a stop-word list."""
    import yaml

    from datasets_pipeline.features.language import UNKNOWN, normalize_language
    from datasets_pipeline.features.stop_words import STOP_WORDS
    from datasets_pipeline.fit_rules import MIN_DOCUMENTS, fit, section, stop_words

    language = normalize_language(options.language)
    if language == UNKNOWN:
        raise RecipeError(f"--language {options.language!r} is no language code; write an ISO 639 code such as fi")
    if not 0 < options.lost < 0.5:
        raise RecipeError(f"--lost {options.lost} is no share between 0 and 0.5; 0.01 is one document in a hundred")
    texts = _texts(options.source, language)
    if not texts:
        raise NotFoundError(
            f"{options.source} holds no text in {language}; name a corpus version, or a folder of .txt, .md or .jsonl"
        )
    checks = fit(texts, language, options.lost)
    wanted, words = section(checks, language), stop_words(texts)
    printer.line(f"{len(texts):,} documents in {language}; a check may lose {options.lost:.1%} of them")
    if len(texts) < MIN_DOCUMENTS:
        printer.line(f"note: fewer than {MIN_DOCUMENTS} documents say little about one in {1 / options.lost:.0f}")
    rows = [[c.rule, c.field, c.published, f"{c.lost:.1%}", "off" if c.fitted is None else c.fitted] for c in checks
            if c.fitted != c.published]  # fmt: skip
    if rows:
        printer.table(rows, ["rule", "threshold", "published", "loses", "fitted"])
        printer.line("\nfor the recipe:\n")
        entries = [{"rule": rule, **values} for rule, values in wanted.items()]
        printer.line(yaml.safe_dump({"rules": entries}, sort_keys=False, allow_unicode=True).rstrip())
    else:
        printer.line("every published threshold loses less: the recipe needs nothing of its own for this language")
    known = "has one already" if language in STOP_WORDS else "has none: rules that ask for one abstain"
    printer.line(f"\nstop words found ({language} {known}; lists stand in datasets_pipeline/features/stop_words.py):")
    printer.line(" ".join(words))
    printer.result({"language": language, "documents": len(texts), "rules": wanted, "stop_words": words,
                    "checks": [check.__dict__ for check in checks]})  # fmt: skip
    return 0


def _texts(source: str, language: str) -> list[str]:
    place = Path(source).expanduser()
    return _of_folder(place) if place.exists() else _of_corpus(source, language)


def _of_corpus(name: str, language: str) -> list[str]:
    """Texts of a corpus version in a language, as they stand in its shards."""
    store = open_store(open_settings())
    corpus, version = manifest.find(store, name)
    texts: list[str] = []
    for shard in manifest.read(store, corpus, version).identity.shards:
        table = read_table(store, f"shards/{shard.sha256}.parquet", columns=["text", "language"])
        rows: list[dict[str, Any]] = table.to_pylist()
        texts += [row["text"] for row in rows if row["language"] == language]
    return texts


def _of_folder(place: Path) -> list[str]:
    """Texts of a folder or file: files of .txt and .md as they are, `text` of each line of .jsonl."""
    from datasets_pipeline.normalize import normalize_text

    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    texts: list[str] = []
    for file in files:
        if file.suffix not in TEXT_FILES or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
            # Not splitlines: U+2028 and its like may stand inside a JSON string.
            lines = [line for line in text.split("\n") if line.strip()]
            found = [json.loads(line)["text"] for line in lines] if file.suffix == ".jsonl" else [text]
            if not all(isinstance(part, str) for part in found):
                raise TypeError
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise RecipeError(
                f"{file} is not UTF-8 text or JSON lines with 'text' ({type(error).__name__}); mend it or take it out"
            ) from None
        texts += [normalize_text(part) for part in found]
    return [text for text in texts if text]
