"""The shared ancient texts as files a recipe reads: inscriptions split by group, literature, and holes to fill.

    python benchmarks/ancient_texts.py FOLDER [--test-share 0.3]

writes to FOLDER `inscriptions/train.jsonl`, `literature/{latin,greek}.jsonl` (works cut into pieces of about 4,000
characters) and `holes/{test,development}.jsonl`: what is hidden (kind `hidden_span`, all certain), with the text before
and behind it, and `context`, what the literature is cleaned against. Texts are without accents, in lower case
(`evaluation.infill_scores.plain_letters`). Inscriptions that share a group or a text are on one side: a side is drawn
by the smallest group among them. Development holes are for choosing; nothing is chosen by the test's.
"""

import argparse
import gzip
import hashlib
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.infill_scores import plain_letters

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ancient_texts"
LANGUAGES = {"la": "Latin", "grc": "Greek"}
PIECE_CHARACTERS = 4000
CONTEXT_WORDS = 6
SIDES = ("test", "development", "train")


@dataclass(frozen=True)
class HiddenSpan:
    """One hole: what is hidden, what stands around it, and whose text it is."""

    id: str
    language: str
    group: str
    prefix: str
    suffix: str
    answer: str

    @property
    def context(self) -> str:
        """The hidden text with so many words before and behind it."""
        before, behind = self.prefix.split(" "), self.suffix.split(" ")
        # The outermost may be the rest of the word that is hidden, so one more.
        near = " ".join(before[-CONTEXT_WORDS - 1 :]), " ".join(behind[: CONTEXT_WORDS + 1])
        return near[0] + self.answer + near[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--test-share", type=float, default=0.3, help="of groups; development gets a third of it")
    options = parser.parse_args()
    for line in prepare(options.folder, test_share=options.test_share):
        print(line)


def prepare(folder: Path, *, test_share: float = 0.3, literature_characters: int | None = None) -> list[str]:
    """Write the files, at most so many characters of each literature; what was written, in words."""
    rows = read_jsonl_gz(SHARED / "isicily.jsonl.gz")
    sides = sides_of(rows, test_share=test_share)
    told = []
    train = [
        {"id": row["id"], "language": row["lang"], "text": plain_letters(row["text"])}
        for row in rows
        if sides[row["id"]] == "train" and row["text"].strip()
    ]
    write_jsonl(folder / "inscriptions/train.jsonl", train)
    told.append(f"{len(train):,} inscriptions to train on, {sum(len(row['text']) for row in train):,} characters")
    for side in ("test", "development"):
        holes = [hole for hole in hidden_spans(rows) if sides[hole.id.split("#")[0]] == side]
        write_jsonl(folder / f"holes/{side}.jsonl", [{**asdict(hole), "context": hole.context} for hole in holes])
        counts = Counter(hole.language for hole in holes)
        told.append(f"{side} holes: " + ", ".join(f"{counts[tag]} {name}" for tag, name in LANGUAGES.items()))
    for tag, name in LANGUAGES.items():
        pieces = list(literature(name.lower(), tag, literature_characters))
        write_jsonl(folder / f"literature/{name.lower()}.jsonl", pieces)
        told.append(f"{name} literature: {sum(len(piece['text']) for piece in pieces):,} characters")
    return told


def sides_of(rows: list[dict[str, Any]], *, test_share: float) -> dict[str, str]:
    """test, development or train for each inscription, the same for all that share a group or a plain text."""
    owner: dict[str, str] = {}

    def root(key: str) -> str:
        while owner.setdefault(key, key) != key:
            owner[key] = owner[owner[key]]
            key = owner[key]
        return key

    for row in rows:
        first, second = sorted((root(f"group {row['group']}"), root(f"text {plain_letters(row['text']).strip()}")))
        owner[second] = first
    groups = defaultdict(list)
    for row in rows:
        groups[root(f"group {row['group']}")].append(row["group"])
    drawn = {key: _share_of(min(names)) for key, names in groups.items()}

    def side(share: float) -> str:
        return "test" if share < test_share else "development" if share < test_share * 4 / 3 else "train"

    return {row["id"]: side(drawn[root(f"group {row['group']}")]) for row in rows}


def _share_of(group: str) -> float:
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=7).digest()) / 2**56


def hidden_spans(rows: list[dict[str, Any]]) -> Iterator[HiddenSpan]:
    """The holes whose content is certain, Greek and Latin, plain."""
    groups = {row["id"]: row["group"] for row in rows}
    for item in read_jsonl_gz(SHARED / "isicily_restoration_items.jsonl.gz"):
        if item["kind"] == "hidden_span" and item["lang"] in LANGUAGES:
            yield HiddenSpan(
                item["id"],
                item["lang"],
                groups[item["id"].split("#")[0]],
                plain_letters(item["input"][: item["start"]]),
                plain_letters(item["input"][item["end"] :]),
                plain_letters(item["answer"]),
            )


def literature(name: str, tag: str, most: int | None) -> Iterator[dict[str, str]]:
    """Pieces of works, cut at spaces; with `most`, every work's beginning in proportion."""
    with tarfile.open(SHARED / f"{name}_literature.tar.xz") as archive:
        file = archive.extractfile(f"{name}_literature.jsonl")
        assert file is not None
        works = [json.loads(line) for line in file]
    texts = [plain_letters(work["text"]).strip() for work in works]
    share = 1.0 if most is None else min(1.0, most / sum(map(len, texts)))
    for work, text in zip(works, texts, strict=True):
        end = int(len(text) * share)
        begin = 0
        while begin < end:
            stop = text.find(" ", begin + PIECE_CHARACTERS)
            stop = end if stop < 0 or stop > end else stop
            yield {"id": f"{work['id']}#{begin}", "language": tag, "text": text[begin:stop].strip()}
            begin = stop + 1


def read_jsonl_gz(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))


if __name__ == "__main__":
    main()
