"""Small corpora to curate: made-up pages with known fates, and members of the shared real documents.

A corpus is a folder with one sub-folder a source. The made-up one needs nothing but this file; the real
one skips, saying so, where the shared data is absent.
"""

import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RAW_DOCUMENTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_documents"

# Short parts: a sentence made of long phrases repeats runs of five words, which Gopher's rules drop.
_DETERMINERS = ("the", "a", "our", "every", "that", "this", "one", "her", "his", "another")
_QUALITIES = (
    "old", "careful", "distant", "patient", "narrow", "painted", "western", "heavy", "silent", "famous", "hollow",
    "early", "modest", "wooden", "brass", "foggy", "second", "generous", "crooked", "borrowed",
)  # fmt: skip
_NOUNS = (
    "harbour", "ferry", "lamp", "crane", "pilot", "table", "rope", "barge", "tower", "captain", "dredger", "quay",
    "barrel", "crate", "letter", "bell", "station", "net", "map", "cargo", "office", "dog", "list", "anchor", "sail",
    "clerk", "gate", "market", "bridge", "warehouse", "compass", "lantern", "orchard", "winter", "signal", "river",
)  # fmt: skip
_VERBS = (
    "waits for", "carries", "follows", "has described", "cannot reach", "will replace", "resembles", "belongs to",
    "turns towards", "pays for", "was built after", "should protect", "hides", "announces", "outlives", "measures",
)  # fmt: skip
_LINKS = ("when", "because", "although", "before", "while", "unless", "and", "but", "so that", "until", "where", "if")

GERMAN = (
    "Der Hafenmeister wartet am Morgen auf die erste Fähre und schreibt in sein Buch, welche Schiffe in der Nacht "
    "angekommen sind. Danach geht er über den alten Kai zu den Lagerhäusern, prüft die Schlösser und spricht mit den "
    "Leuten, die dort arbeiten. Wenn das Wetter schlecht ist, bleibt er im Büro und ordnet die Briefe der Reeder."
)
ADDRESS = "harbour.office@salt-quay-trading.org"


def page(number: int, *, sentences: int = 14) -> str:
    """A page of plain English that the rules keep; different numbers share no long run of words."""
    chosen = random.Random(f"page {number}")
    lines = [f"# Harbour notes, sheet {number}", ""]
    for start in range(0, sentences, 4):
        paragraph = [
            f"{_clause(chosen)} {chosen.choice(_LINKS)} {_clause(chosen)}.".capitalize()
            for _ in range(min(4, sentences - start))
        ]
        lines += [" ".join(paragraph), ""]
    return "\n".join(lines)


def _clause(chosen: random.Random) -> str:
    words = (_DETERMINERS, _QUALITIES, _NOUNS, _VERBS, _DETERMINERS, _QUALITIES, _NOUNS)
    return " ".join(chosen.choice(choices) for choices in words)


def edited(text: str, number: int, *, share: float = 0.03) -> str:
    """The same page with about `share` of its words replaced, one stretch of it, as an editor would."""
    chosen = random.Random(f"edit {number}")
    words = text.split(" ")
    length = max(1, round(len(words) * share))
    start = chosen.randrange(len(words) // 2, len(words) - length)
    new = [f"amendment{number}", *(chosen.choice(_QUALITIES + _NOUNS) for _ in range(length - 1))]
    return " ".join([*words[:start], *new, *words[start + length :]])


@dataclass(frozen=True)
class Corpus:
    """Folders of documents and the recipe that reads them."""

    folder: Path
    recipe: dict[str, Any] = field(repr=False)

    def path(self, source: str, uri: str) -> Path:
        return self.folder / source / uri

    def write(self, source: str, uri: str, text: str | bytes) -> Path:
        path = self.path(source, uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


def recipe_of(folder: Path, sources: list[dict[str, Any]], **sections: Any) -> dict[str, Any]:
    """A recipe over sub-folders of a folder, small enough that every mechanism shows on dozens of pages."""
    return {
        "corpus": "harbour",
        "sources": [{"source": "folder", "uri": str(folder / entry["name"]), **entry} for entry in sources],
        "rules": [
            {"rule": "language", "keep": ["en"]},
            {"rule": "length", "min_words": 20},
            {"rule": "gopher_quality", "max_non_alpha_words_ratio": 0.6, "when": {"media": "text/markdown"}},
            {"rule": "gopher_repetition", "when": {"media": ["text/markdown", "text/html"]}},
            {"rule": "pii"},
        ],
        "heldout": {"share": 0.12},
        "shards": {"cut_bits": 2},
        "tokenizer": {"vocab_size": 300},
        **sections,
    }


def made_up_at(folder: Path) -> Corpus:
    """The recipe of the made-up corpus, over whatever lies in a folder."""
    sources: list[dict[str, Any]] = [
        {"name": "notes", "licence": "CC-BY-4.0", "rank": 10},
        {"name": "mirror", "licence": "CC-BY-SA-4.0", "rank": 20, "source_class": "public"},
    ]
    return Corpus(folder, recipe_of(folder, sources))


def made_up(folder: Path, *, num_pages: int = 36) -> Corpus:
    """Two sources of made-up pages: kept, edited, dropped by several rules, copies, near-copies, unreadable files."""
    corpus = made_up_at(folder)
    for number in range(num_pages):
        corpus.write("notes", f"sheets/{number:03}.md", page(number))
    corpus.write("notes", "sheets/address.md", page(900) + f"\nWrite to {ADDRESS} – ‘gern’ auf Deutsch.\n")
    corpus.write("notes", "kurz/hafen.md", f"---\nlang: de\n---\n# Hafen\n\n{GERMAN}\n")
    corpus.write("notes", "stub.md", "# See the other sheet\n\nIt is there.\n")
    corpus.write("notes", "odd/latin1.txt", page(901).replace("Harbour", "Häfen").encode("latin-1"))
    corpus.write("notes", "odd/page.html", f"<html><body><h1>Gates</h1><p>{page(902)[30:]}</p></body></html>")
    corpus.write("notes", "odd/empty.md", b"")
    corpus.write("notes", "odd/picture.md", bytes(range(256)) * 8)
    corpus.write("mirror", "copy-of-003.md", page(3))  # the same text: one document
    corpus.write("mirror", "nearly-004.md", edited(page(4), 1))  # a near-duplicate
    for number in range(200, 206):
        corpus.write("mirror", f"own/{number}.md", page(number))
    return corpus


def real(folder: Path) -> Corpus:
    """About ninety pages of three public documentation sites, versions and translations among them."""
    corpus = Corpus(
        folder,
        recipe_of(
            folder,
            [
                {
                    "name": "helm", "licence": "MIT", "rank": 10,
                    "path_pattern": r"version-(?P<version>\d+)/(?P<family>.+)$",
                },
                {
                    "name": "glossary", "licence": "CC-BY-4.0", "rank": 20,
                    "path_pattern": r"^content/(?P<language>[a-z]{2})/(?P<family>.+)$",
                },
                {"name": "eips", "licence": "CC0-1.0", "rank": 30},
            ],
        ),
    )  # fmt: skip
    _unpack("helm-docs", folder / "helm", ("helm-docs/versioned_docs/version-",), every=3, limit=40)
    _unpack("cncf-glossary", folder / "glossary", ("content/en/", "content/de/"), every=4, limit=36)
    _unpack("eips", folder / "eips", ("EIPS/eip-",), every=40, limit=16)
    return corpus


def _unpack(archive: str, folder: Path, parts: tuple[str, ...], *, every: int, limit: int) -> None:
    """Every n-th regular member whose name holds one of `parts`, without the archive's own top folder."""
    path = RAW_DOCUMENTS / f"{archive}.tar.xz"
    if not path.is_file():
        pytest.skip(f"needs {path.name} of the shared data (../shared/data/raw_documents), which is not here")
    seen = taken = 0
    with tarfile.open(path) as members:
        for member in members:
            if not member.isfile() or not any(part in member.name for part in parts):
                continue
            seen += 1
            if (seen - 1) % every == 0 and taken < limit:
                taken += 1
                target = folder / member.name.split("/", 1)[1]
                target.parent.mkdir(parents=True, exist_ok=True)
                content = members.extractfile(member)
                assert content is not None
                target.write_bytes(content.read())


CORPORA = {"made_up": made_up, "real": real}
