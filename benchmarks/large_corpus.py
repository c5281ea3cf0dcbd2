"""A corpus of any size on disk, made of real sentences, with planted edits whose similarity is known.

    python benchmarks/large_corpus.py FOLDER --megabytes 1000

Sentences of the shared English documentation are put together anew, about 3.5 kB a document: two documents that were
not planted share a sentence or two of thirty. One document in fifty comes again with some neighbouring sentences
replaced, one in two hundred comes again as it is. The same size and seed give the same bytes. Writes JSON lines of
about 32 MB a file and `planted.tsv`: doc_id, doc_id and exact Jaccard of word 5-grams, computed here by Python sets.
"""

import argparse
import json
import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_pipeline.normalize import document_id, normalize_text

SENTENCES_OF = Path(__file__).parents[2] / "shared" / "data" / "near_duplicates" / "docs.tar.xz"
FILE_BYTES = 32_000_000
SENTENCES_PER_DOCUMENT = 33
#: Sentences of 33 that an edit replaces; they give Jaccard of about .94, .89, .83, .78 and .61.
REPLACED = (1, 2, 3, 4, 8)
_EDIT_EVERY, _COPY_EVERY = 50, 200
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Planted:
    """Two documents whose similarity is known."""

    left: bytes
    right: bytes
    jaccard: float


def main() -> None:
    """Write a corpus of the size that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    num, size = write_corpus(options.folder, options.megabytes * 1_000_000, seed=options.seed)
    print(f"{num:,} documents, {size / 1e6:,.0f} MB of text in {options.folder}")


def write_corpus(folder: Path, num_bytes: int, *, seed: int = 1) -> tuple[int, int]:
    """Write files until their texts have num_bytes; returns (documents, bytes of text)."""
    folder.mkdir(parents=True)
    sentences = real_sentences()
    encoded = [json.dumps(sentence, ensure_ascii=False)[1:-1].encode() for sentence in sentences]
    sizes = [len(sentence.encode()) for sentence in sentences]
    drawn = random.Random(seed)
    total = documents = number = 0
    later: list[list[int]] = []
    with open(folder / "planted.tsv", "w") as planted:
        while total < num_bytes:
            waiting, later = later, []
            in_file = 0
            with open(folder / f"part-{number:05d}.jsonl", "wb") as file:
                while in_file < FILE_BYTES and total < num_bytes:
                    if waiting and drawn.random() < 0.04:
                        chosen = waiting.pop()
                    else:
                        chosen = drawn.choices(range(len(sentences)), k=SENTENCES_PER_DOCUMENT)
                        if documents % _EDIT_EVERY == 0:
                            other = _edited(chosen, drawn, len(sentences))
                            later.append(other)
                            planted.write(_line(_text(chosen, sentences), _text(other, sentences)))
                        elif documents % _COPY_EVERY == 1:
                            later.append(chosen)
                    file.write(b'{"text": "' + _body(chosen, encoded) + b'"}\n')
                    size = sum(sizes[index] for index in chosen)
                    in_file, total, documents = in_file + size, total + size, documents + 1
                later += waiting
            number += 1
        with open(folder / f"part-{number:05d}.jsonl", "wb") as file:
            for chosen in later:
                file.write(b'{"text": "' + _body(chosen, encoded) + b'"}\n')
                total, documents = total + sum(sizes[index] for index in chosen), documents + 1
    return documents, total


def planted_pairs(folder: Path) -> Iterator[Planted]:
    """The pairs that a corpus was written with."""
    with open(folder / "planted.tsv") as lines:
        for line in lines:
            left, right, jaccard = line.split("\t")
            yield Planted(bytes.fromhex(left), bytes.fromhex(right), float(jaccard))


def real_sentences() -> list[str]:
    """Distinct English sentences of eight words or more, in the order they stand in the shared documentation."""
    found: dict[str, None] = {}
    with tarfile.open(SENTENCES_OF) as archive:
        member = archive.extractfile("docs.jsonl")
        assert member is not None
        for line in member:
            document = json.loads(line)
            if document["lang"] == "en":
                pieces = (s for row in document["text"].split("\n") for s in re.split(r"(?<=[.!?]) +", row.strip()))
                found.update(dict.fromkeys(s for s in pieces if len(s.split()) >= 8 and len(s) < 600))
    return list(found)


def jaccard(left: str, right: str) -> float:
    """Exact similarity of the sets of five words in a row, as the shared pairs define it."""
    a, b = _shingles(left), _shingles(right)
    return len(a & b) / len(a | b)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return set(zip(*(words[i:] for i in range(5)), strict=False))


def _edited(chosen: list[int], drawn: random.Random, num_sentences: int) -> list[int]:
    num = drawn.choice(REPLACED)
    start = drawn.randrange(len(chosen) - num + 1)
    return [*chosen[:start], *(drawn.randrange(num_sentences) for _ in range(num)), *chosen[start + num :]]


def _line(left: str, right: str) -> str:
    ids = [document_id(normalize_text(text)).hex() for text in (left, right)]
    return f"{ids[0]}\t{ids[1]}\t{jaccard(left, right):.6f}\n"


def _text(chosen: list[int], sentences: list[str]) -> str:
    return "\n\n".join(" ".join(sentences[i] for i in chosen[k : k + 4]) for k in range(0, len(chosen), 4))


def _body(chosen: list[int], encoded: list[bytes]) -> bytes:
    return b"\\n\\n".join(b" ".join([encoded[i] for i in chosen[k : k + 4]]) for k in range(0, len(chosen), 4))


if __name__ == "__main__":
    main()
