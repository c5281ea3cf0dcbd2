"""Edits are spans of the stored text; this applies their union (CONTRACTS 4).

Deletion beats replacement where spans overlap; overlapping replacements become the most severe kind.
The stored text is never changed: what a shard holds is computed from it and from the spans.
"""

from collections.abc import Sequence
from typing import TypedDict

from ingot.digests import digest_of

EDITS_VERSION = "1"
"""Of what `apply_spans` makes of a text and its spans."""


class Span(TypedDict):
    """[start, end) in UTF-8 bytes; replacement None means delete."""

    start: int
    end: int
    kind: str
    replacement: str | None
    keyed_hash: str | None


# Most severe first; a kind that is not named comes after these, by name.
SEVERITY = ("private_key", "api_key", "payment_card", "bank_account", "national_id", "email", "phone", "ip_address")


def merge_spans(groups: Sequence[Sequence[Span]]) -> list[Span]:
    """The union of several rules' spans: sorted, not overlapping."""
    spans = sorted((span for group in groups for span in group), key=lambda s: (s["start"], s["end"], s["kind"]))
    merged: list[Span] = []
    for span in spans:
        if merged and span["start"] < merged[-1]["end"]:
            merged[-1] = _union(merged[-1], span)
        else:
            merged.append(Span(**span))
    return merged


def _union(left: Span, right: Span) -> Span:
    winner = min(left, right, key=lambda s: (s["replacement"] is not None, *_severity(s["kind"])))
    return Span(
        start=min(left["start"], right["start"]),
        end=max(left["end"], right["end"]),
        kind=winner["kind"],
        replacement=winner["replacement"],
        keyed_hash=winner["keyed_hash"],
    )


def _severity(kind: str) -> tuple[int, str]:
    return (SEVERITY.index(kind) if kind in SEVERITY else len(SEVERITY), kind)


def apply_spans(text: str, spans: Sequence[Span]) -> str:
    """The text after its edits, outer blanks stripped; spans are sorted and do not overlap."""
    if not spans:
        return text
    data = text.encode()
    pieces: list[bytes] = []
    position = 0
    for span in spans:
        pieces.append(data[position : span["start"]])
        if span["replacement"] is not None:
            pieces.append(span["replacement"].encode())
        position = span["end"]
    pieces.append(data[position:])
    return b"".join(pieces).decode().strip()


def edit_digest(spans: Sequence[Span]) -> str:
    """Identity of a document's edits; empty when there are none."""
    names = ("start", "end", "kind", "replacement")
    return digest_of([{name: span[name] for name in names} for span in spans]) if spans else ""  # type: ignore[literal-required]
