"""The made-up handbook that the whole road is tested on: about 80 small files with planted secrets and names.

Every page is plain English from a seeded choice of sentences, so that language, length and repetition
rules keep it; two pages are dropped on purpose. Each page carries one planted secret or name that occurs
nowhere else, so that one search over all bytes finds a leak and names the page it came from.
"""

import hashlib
import json
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NUM_PAGES = 60
NUM_PLANTED = 200
NUM_PLANTED_FIRST = 142
"""Those that stand in the handbook before the next night brings the rest."""
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "raw_documents"
_REAL_PAGES = 12
_REAL_BYTES = 4_000

_SUBJECTS = (
    "The night shift", "A new colleague", "The laboratory", "Our workshop", "The purchasing office", "Every team lead",
    "The archive", "A visiting auditor", "The training group", "The person on call", "Our smallest customer",
)  # fmt: skip
_VERBS = (
    "keeps a record of", "reviews", "prepares", "asks about", "explains", "measures", "writes down", "repeats",
    "checks", "plans", "describes",
)  # fmt: skip
_OBJECTS = (
    "the temperature of the furnace", "every delivery that arrives late", "the list of open questions",
    "the weight of each sample", "the way to the nearest exit", "what the last meeting decided",
    "the cost of a broken part", "the names of the machines", "the plan for the coming week",
    "how long a repair should take", "the colour of the warning lamp", "the order in which valves are closed",
)  # fmt: skip
_ENDINGS = (
    "before the day begins", "when the bell has rung twice", "because nobody wants to guess later",
    "and then tells the others about it", "unless the weather is too cold", "with a pencil and a clean sheet",
    "so that the next person can go on", "after lunch on the first Monday", "if the two numbers do not agree",
    "while the engine is still warm", "as the old manual recommends", "although it takes a little longer",
)  # fmt: skip
_FIRST = ("Zebulon", "Quillon", "Ottoline", "Peregrin", "Wilhelmina", "Thaddeus", "Isambard", "Philippa", "Ludovic",
          "Hesperia")  # fmt: skip
_LAST = ("Quarrington", "Featherwick", "Oxbarrow", "Vandersloot", "Krummhold", "Pennyfarth", "Drakesmoor",
         "Wobblethorn", "Ashgrimble", "Yellowby")  # fmt: skip


def planted() -> list[str]:
    """200 things that must not leave the documents: 100 secrets and 100 person names, each unique."""
    secrets = [f"sk-live-{hashlib.sha256(f'secret {n}'.encode()).hexdigest()[:24]}" for n in range(NUM_PLANTED // 2)]
    names = [f"{first} {last}" for first in _FIRST for last in _LAST]
    return [item for pair in zip(secrets, names, strict=True) for item in pair]


@dataclass(frozen=True)
class Handbook:
    """A folder of documents, and what is known about some of them."""

    folder: Path
    kept: str = "page-007.md"
    dropped_short: str = "too-short.md"
    """Dropped by the rule `length`."""
    dropped_twin: str = "copy-of-011.md"
    """A near-duplicate of `twin`: one of the two is dropped in favour of the other."""
    twin: str = "page-011.md"
    unreadable: str = "no-text.html"
    """Quarantined: the parser gives nothing of it."""
    binary: str = "binary.md"
    """Quarantined: not text."""
    num_seen: int = 0
    """Files a look at the folder finds in both sources."""

    @property
    def pages(self) -> Path:
        """The folder of the source `pages`; the uris above are relative to it."""
        return self.folder / "pages"


def page(number: int, *secrets: str, num_sentences: int = 24, num_changed: int = 0) -> str:
    """The text of a page; `num_changed` of its sentences are others than in the first edition."""
    first, second = random.Random(f"page {number}"), random.Random(f"page {number}, second edition")
    sentences = [_sentence(first) for _ in range(num_sentences)]
    sentences[num_sentences - num_changed :] = [_sentence(second) for _ in range(num_changed)]
    sentences[3:3] = [f"The entry of this page is {secret} and it is not to be repeated." for secret in secrets]
    paragraphs = [" ".join(sentences[i : i + 6]) for i in range(0, len(sentences), 6)]
    return f"# Chapter {number} of the handbook\n\n" + "\n\n".join(paragraphs) + "\n"


def _sentence(choose: random.Random) -> str:
    return " ".join(choose.choice(part) for part in (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)) + "."


def write_handbook(folder: Path) -> Handbook:
    """Make the folder: pages, revised pages, a near-duplicate pair, and everything that is not kept."""
    secrets = planted()
    pages, records = folder / "pages", folder / "records"
    pages.mkdir(parents=True)
    records.mkdir()
    for number in range(NUM_PAGES):
        (pages / f"page-{number:03d}.md").write_text(page(number, *secrets[2 * number : 2 * number + 2]))
    for number in range(20, 30):
        # Jaccard 0.5 to 0.8 with the page it revises: held apart from a held-out page, but no duplicate.
        revised = page(number, secrets[2 * number], num_changed=5)
        (pages / f"revised-{number:03d}.md").write_text(revised)
    twin = (pages / "page-011.md").read_text().replace("Chapter 11 of", "Chapter eleven of")
    (pages / "copy-of-011.md").write_text(f"{twin}\nCopied by {secrets[121]}, who knows {secrets[120]}.\n")
    (pages / "too-short.md").write_text(f"Please ask {secrets[123]} for {secrets[122]} before you open the gate.\n")
    (pages / "no-text.html").write_text(f"<body><style>{secrets[136]} and {secrets[137]} " + "seen by nobody " * 200)
    (pages / "binary.md").write_bytes(bytes(range(256)) * 8 + f"{secrets[138]} {secrets[139]}".encode())
    for number, text in enumerate(_real_pages()):
        (pages / f"real-{number:02d}.md").write_text(text)
    rows = [json.dumps({"text": page(900 + n, *secrets[126 + 2 * n : 128 + 2 * n])}) for n in range(5)]
    rows[2:2] = [f'{{"text": "{secrets[124]} and {secrets[125]}"', f'{{"body": "{secrets[140]} {secrets[141]}"}}']
    (records / "notes.jsonl").write_text("\n".join(rows) + "\n")
    return Handbook(folder, num_seen=sum(1 for path in folder.rglob("*") if path.is_file()))


def edit_handbook(handbook: Handbook, gone: str) -> None:
    """The next night: one page is gone, one has changed, twenty-nine are new, with the rest of the plants."""
    secrets = planted()
    (handbook.pages / gone).unlink()
    (handbook.pages / handbook.kept).write_text(page(7, *secrets[14:16], num_changed=3))
    for number in range(100, 129):
        text = page(number, *secrets[2 * number - 58 : 2 * number - 56])
        (handbook.pages / f"page-{number}.md").write_text(text)


def _real_pages() -> Iterator[str]:
    """A few pages of a real handbook, when the shared test data is there."""
    archive = SHARED_DATA / "18f-handbook.tar.xz"
    if not archive.is_file():
        return
    found = 0
    with tarfile.open(archive) as members:
        for member in members:
            if found == _REAL_PAGES:
                return
            file = members.extractfile(member) if member.name.endswith(".md") and member.size > _REAL_BYTES else None
            if file is not None:
                found += 1
                yield file.read(_REAL_BYTES).decode(errors="ignore")


RECIPE = """\
corpus: handbook
model: tiny
sources:
  - source: folder
    name: pages
    uri: {folder}/pages
    include: ["**/*.md", "**/*.html"]
    licence: internal
  - source: jsonl
    name: notes
    uri: {folder}/records
rules:
  - rule: language
    keep: [en]
  - rule: length
    min_words: 20
  - rule: pii
    policy: redact
dedup:
  near: {{threshold: 0.8}}
heldout: {{share: 0.2}}
tokenizer: {{vocab_size: 512}}
train:
  - stage: pretrain
    model: {{family: llama, layers: 1, width: 32}}
    sequence_length: 64
    batch_tokens: 1024
    tokens: 16_384
    checkpoint_every_steps: 5
    log_every_steps: 1
evaluate:
  suites: [heldout]
  options:
    heldout: {{num_samples: 1, sample_tokens: 16, baselines: [unigram, ngram, xz]}}
  gate: {{min_documents: 5}}
"""


def write_recipe(path: Path, handbook: Handbook) -> Path:
    """The recipe of the handbook: 16 training steps of a model with one layer."""
    path.write_text(RECIPE.format(folder=handbook.folder))
    return path
