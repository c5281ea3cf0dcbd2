"""Exact match: the completion is the reference, up to outer blanks, line ends and Unicode composition."""

import unicodedata


def grade(completion: str, reference: str) -> float:
    """1.0 when both texts are the same, else 0.0; case and inner blanks count.

    An empty completion scores 0.0 whatever the reference is: a model that says nothing earns nothing.
    """
    answer = _normalized(completion)
    return 1.0 if answer and answer == _normalized(reference) else 0.0


def _normalized(text: str) -> str:
    """The normalization of stored documents: NFC, `\\n` line ends, outer blanks stripped."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
