"""Shares kept in each language by the rules that have lists or thresholds by language, beside English.

    python benchmarks/rules_by_language.py [--published] [--help-pages /usr/share/libreoffice/help]

Judges the shared glossary (16 languages) and the Helm pages (12), and with --help-pages an office suite's help, a
folder `<language>/**/*.html` (Debian: libreoffice-help-en-us, -de, -es, -fr, -it, -nl, -pl, -pt), and prints the share
kept of what is judged, and the points between it and the English originals of the same pages: a language has other
pages than another, so shares alone would compare pages. Pages without an original are left out.

In Markdown sources a paragraph's lines are made one line, and blanks at line ends are taken off: some originals are
wrapped in mid-sentence or have such blanks where translations have not, and rules that look at the ends of lines would
measure that. Quotes, tables and pages from HTML stay as they are. Of the help only pages of some length count, and only
those that are translated whole.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rule_parity import FINEWEB_C4, RULES, Page, judged_table, ours, raw_pages
from datasets_pipeline import extract
from datasets_pipeline.extract import ExtractOptions
from datasets_pipeline.features.language import normalize_language
from datasets_pipeline.rules import gopher_quality

# On documentation a brace is a placeholder or code; without this C4 drops every third page in every language.
OPTIONS: dict[str, dict[str, Any]] = {"c4_quality": {**FINEWEB_C4, "filter_curly_bracket": False}}
MIN_PAGES = 10
MAX_POINTS = 10
MIN_HELP_CHARS = 1500
ENGLISH_WORDS = frozenset({"the", "of", "and", "this", "from", "you"})
MAX_ENGLISH_SHARE = 0.01
"""Of the words of a translated page: one untranslated sentence in a long page."""
_WORDS = re.compile(r"\w+")
_MARKDOWN = MarkdownIt().enable("table")
HELP = "office-help"

Verdict = tuple[list[str | None], list[str], list[bool]]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--help-pages", type=Path, help="a folder with a folder of HTML pages for each language")
    parser.add_argument("--published", action="store_true", help="the published thresholds in every language")
    options = parser.parse_args()
    if options.published:
        gopher_quality.LANGUAGE_THRESHOLDS.clear()
    pages = list(raw_pages(None, ("cncf-glossary", "helm-docs")))
    if options.help_pages:
        pages += translated(help_pages(options.help_pages))
    far: list[str] = []
    for source in dict.fromkeys(page.source for page in pages):
        far += print_source(source, [page for page in pages if page.source == source])
    print(f"\nfarther than {MAX_POINTS} points from English, of languages with {MIN_PAGES} pages and more: {len(far)}")
    for line in far:
        print(f"  {line}")


def help_pages(folder: Path) -> Iterator[Page]:
    """The HTML pages as they are extracted."""
    for language in sorted(place for place in folder.iterdir() if place.is_dir()):
        code = normalize_language(language.name)
        for file in sorted(language.rglob("*.html")):
            found = extract.extract(file.read_bytes(), file.name, None, ExtractOptions())
            for document in found.documents:
                text = extract.normalize_text(document.text)
                yield Page(HELP, str(file.relative_to(language)), code, text)


def translated(pages: Iterator[Page]) -> Iterator[Page]:
    """English pages of some length and what translates all of them."""
    found = list(pages)
    long = {page.name for page in found if page.language == "en" and len(page.text) >= MIN_HELP_CHARS}
    for page in found:
        if page.name in long and (page.language == "en" or english_share(page.text) < MAX_ENGLISH_SHARE):
            yield page


def english_share(text: str) -> float:
    """Share of words that English can hardly do without."""
    words = _WORDS.findall(text.lower())
    return sum(word in ENGLISH_WORDS for word in words) / max(1, len(words))


def unwrapped(text: str) -> str:
    """Markdown with each paragraph on one line and without blanks at the ends of lines."""
    lines = text.split("\n")
    quotes = 0
    for token in reversed(_MARKDOWN.parse(text)):
        quotes += {"blockquote_close": 1, "blockquote_open": -1}.get(token.type, 0)
        if token.type == "paragraph_open" and token.map is not None and not quotes:
            first, end = token.map
            lines[first:end] = [" ".join([lines[first].rstrip(), *(line.strip() for line in lines[first + 1 : end])])]
    return "\n".join(line.rstrip() for line in lines)


def print_source(source: str, pages: list[Page]) -> list[str]:
    """The table of a source; a line for each rule and language that is farther from English than it should be."""
    originals = {page.name: row for row, page in enumerate(pages) if page.language == "en"}
    texts = [page.text if source == HELP else unwrapped(page.text) for page in pages]
    table = judged_table(texts, [page.language for page in pages])
    verdicts = {name: ours(name, table, OPTIONS.get(name, {})) for name in RULES}
    far: list[str] = []
    print(f"\n{source}\n\n| language | pages | {' | '.join(RULES)} |\n|---|---|{'---|' * len(RULES)}")
    for language in ("en", *sorted({page.language for page in pages} - {"en"})):
        rows = [row for row, page in enumerate(pages) if page.language == language and page.name in originals]
        beside = sorted({originals[pages[row].name] for row in rows})
        cells = []
        for name, verdict in verdicts.items():
            share, english = kept(verdict, rows), kept(verdict, beside)
            if share is None or english is None:
                cells.append("abstains")
                continue
            points = 100 * (share - english)
            cells.append(f"{share:.0%}" if language == "en" else f"{share:.0%} ({points:+.0f})")
            if len(rows) >= MIN_PAGES and abs(points) > MAX_POINTS:
                far.append(f"{source} {language} {name}: {points:+.0f} points, {why(verdict, rows, beside)}")
        print(f"| {language} | {len(rows)} | {' | '.join(cells)} |")
    return far


def kept(verdict: Verdict, rows: list[int]) -> float | None:
    """Share kept of the rows that are judged."""
    judged = [row for row in rows if verdict[2][row]]
    return sum(verdict[0][row] is None for row in judged) / len(judged) if judged else None


def why(verdict: Verdict, rows: list[int], originals: list[int]) -> str:
    """The reason whose share differs most from English."""
    here, there = (Counter(str(verdict[0][row]) for row in some if verdict[0][row]) for some in (rows, originals))
    most = max({*here, *there}, key=lambda reason: abs(here[reason] / len(rows) - there[reason] / len(originals)))
    return f"{most} {here[most] / len(rows):.0%} beside {there[most] / len(originals):.0%}"


if __name__ == "__main__":
    main()
