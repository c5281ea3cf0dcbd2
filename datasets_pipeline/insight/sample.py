"""A sample of a source's files, drawn by a hash of their names: the same on every machine and in every run.

Drawn by kind of file (the end of its name), because a kilobyte of HTML and one of PDF hold different amounts of text;
numbers of a kind are multiplied by what of that kind was left out.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datasets_pipeline.sources.base import FileEntry

SHARE = 0.001
"""Of a source's files, at least."""
AT_LEAST = 400
"""Files of a source that are read whatever the share: of fewer, shares of a few percent are not seen."""
_AT_LEAST_OF_A_KIND = 20
_MAX_BYTES = 256 << 20
"""Of a source's sample: huge files are few, and a few of them are much text."""
_ALWAYS = 4
_PART = re.compile(r"@\d+-\d+\Z")
"""What a part of a huge file has at its end."""


@dataclass
class Kind:
    """Files of one kind: all of them, and those drawn."""

    files: int = 0
    bytes: int = 0
    drawn_files: int = 0
    drawn_bytes: int = 0

    @property
    def by_files(self) -> float:
        """What stands for one file that was drawn."""
        return self.files / self.drawn_files if self.drawn_files else 0.0

    @property
    def by_bytes(self) -> float:
        """What stands for one byte that was drawn."""
        return self.bytes / self.drawn_bytes if self.drawn_bytes else self.by_files


@dataclass
class Draw:
    """Draws from a source when its files are listed, and remembers what there was."""

    source: str
    share: float = SHARE
    at_least: int = AT_LEAST
    part: float = 1.0
    """Of the sample only this part, its first files: two sizes tell what is fixed and what grows."""
    kinds: dict[str, Kind] = field(default_factory=dict)

    def __call__(self, listing: Sequence[FileEntry]) -> list[FileEntry]:
        """The files of the sample, in the listing's order."""
        by_kind: dict[str, list[FileEntry]] = {}
        for entry in listing:
            by_kind.setdefault(kind_of(entry.uri), []).append(entry)
        wanted = max(self.share, min(1.0, self.at_least / len(listing)))
        drawn: set[str] = set()
        budget = _MAX_BYTES
        for name, entries in sorted(by_kind.items()):
            kind = self.kinds[name] = Kind(len(entries), sum(entry.size for entry in entries))
            num = min(len(entries), max(_AT_LEAST_OF_A_KIND, round(wanted * len(entries))))
            num = max(1, round(num * self.part))
            for entry in sorted(entries, key=lambda e: _draw(self.source, e.uri))[:num]:
                if kind.drawn_files >= _ALWAYS and entry.size > budget:
                    continue
                budget -= entry.size
                kind.drawn_files += 1
                kind.drawn_bytes += entry.size
                drawn.add(entry.uri)
        return [entry for entry in listing if entry.uri in drawn]

    @property
    def is_whole(self) -> bool:
        """Every file of the source was drawn."""
        return all(kind.drawn_files == kind.files for kind in self.kinds.values())


def kind_of(uri: str) -> str:
    """The end of a file's name, in lower case; empty where it has none."""
    name = _PART.sub("", uri).rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name.lstrip(".") else ""


def totals(draws: Mapping[str, Draw]) -> tuple[int, int, int, int]:
    """(files, bytes, files drawn, bytes drawn) of all sources."""
    kinds = [kind for draw in draws.values() for kind in draw.kinds.values()]
    return (
        sum(k.files for k in kinds), sum(k.bytes for k in kinds),
        sum(k.drawn_files for k in kinds), sum(k.drawn_bytes for k in kinds),
    )  # fmt: skip


def _draw(source: str, uri: str) -> bytes:
    return hashlib.blake2b(f"{source}\0{uri}".encode(errors="surrogateescape"), digest_size=16).digest()
