"""What lines begin and end with: marks of list items, numbers of sections, leaders, the end of a sentence."""

import re

BULLETS = "•◦▪▫■□●○‣⁃∙·►➢➤✓✔❖◆◊\uf0b7\uf0a7\uf0d8\uf076\uf0fc"
"""The last five are bullets of Symbol and Wingdings, which have no Unicode value."""
BULLET = re.compile(rf"(?:[{BULLETS}]|[-–—*](?=\s))\s*")
NUMBERED = re.compile(
    r"(?:\(?\d{1,3}[.)]|\d{1,2}(?:\.\d{1,2}){1,4}\.?|\([a-z]{1,4}\)|[a-zA-Z][.)]|\[\d{1,3}\])(?=\s+\S)"
)
SECTION = re.compile(r"\d{1,2}(?:\.\d{1,2}){1,4}\.?\s+[^\W\d_][^.;:]*$")
LEADERS = re.compile(r"(?:\s?[.·…_]){4,}\s*")
"""Dots or lines that lead to a page number, or wait to be written on."""
_SENTENCE_END = re.compile(r"[.!?:;。！？؟…][\"'”’)\]]*$")


def is_mark(text: str) -> bool:
    """Whether a cell is nothing but the mark of a list item."""
    if len(text) > 8 or text.isdigit():
        return False
    return bool(BULLET.fullmatch(text) or BULLET.fullmatch(text + " ") or NUMBERED.match(text + " x"))


def ends_a_sentence(text: str) -> bool:
    return bool(_SENTENCE_END.search(text[-8:]))
