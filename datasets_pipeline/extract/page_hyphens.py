"""Words that were cut at a line end, put together again."""

import re
from collections import Counter
from collections.abc import Iterable

_SOFT = "\N{SOFT HYPHEN}"
"""The file itself says that the word goes on."""
_HYPHENS = "-\N{HYPHEN}" + _SOFT
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LAST_WORD = re.compile(r"([^\W_]+(?:-[^\W_]+)*)[-\N{HYPHEN}\N{SOFT HYPHEN}]$")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
# After a hyphen that stands for a second half left out: "Ein- und Ausgang", "pre- and post-war".
_CONJUNCTIONS = frozenset(("and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "o", "e", "en", "of", "och", "og"))


class Joiner:
    """Joins two lines of a paragraph. Knows the words of the document: "well-" and "known" make "well-known" where
    the document writes it so elsewhere, else "wellknown" (a cut word is far more common than a cut compound)."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._words: Counter[str] = Counter(word.lower() for line in lines for word in _WORD.findall(line))

    def join(self, text: str, line: str) -> str:
        """The text with a further line, after a blank or without one."""
        if not text or text[-1] not in _HYPHENS or len(text) == 1 or text[-2].isspace():
            return f"{text} {line}" if not _are_both_ideographs(text, line) else text + line
        before, after = _LAST_WORD.search(text, max(len(text) - 100, 0)), _FIRST_WORD.match(line)
        marked = text[-1] == _SOFT
        stem = text[:-1]
        if before is None or after is None:
            return f"{stem}-{line}"
        if after.group().lower() in _CONJUNCTIONS:
            return f"{stem}- {line}"
        if not after.group()[0].islower() or not before.group(1)[-1].isalpha():
            return f"{stem}-{line}"
        first, second = before.group(1).lower(), after.group().lower()
        whole, compound = self._words[first + second], self._words[f"{first}-{second}"]
        if compound > whole or (not whole and not marked and "-" in first):
            return f"{stem}-{line}"
        return stem + line


def is_cut(text: str) -> bool:
    """Whether a line ends in the middle of a word."""
    return len(text) > 1 and text[-1] in _HYPHENS and text[-2].isalpha()


def settled(text: str) -> str:
    """The text with plain hyphens, and without those that only said where a word may be cut."""
    return text.replace("\N{HYPHEN}", "-").replace(_SOFT, "")


def _are_both_ideographs(text: str, line: str) -> bool:
    """Chinese and Japanese lines are joined without a blank."""
    return bool(text and line) and all("\u3000" <= character <= "\u9fff" for character in (text[-1], line[0]))
