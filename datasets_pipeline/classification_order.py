"""Which of two classifications is the stricter one (CONTRACTS 2: of several occurrences the strictest decides).

A word that the order does not name is stricter than all that it does: a class nobody told us about is no open one.
A document about which nothing is stated is `unknown`, which no statement is weaker than.
"""

from collections.abc import Iterable, Mapping, Sequence

UNKNOWN = "unknown"
DEFAULT_ORDER = ("public", "internal", "confidential", "secret")
_ALIASES = {"restricted": "secret"}


def class_ranks(order: Sequence[str] | None) -> Mapping[str, int]:
    """{class: rank}, the most open class having rank 0; order None: the default one, with `restricted` as `secret`."""
    ranks = {name: rank for rank, name in enumerate(DEFAULT_ORDER if order is None else order)}
    aliases = _ALIASES if order is None else {}
    return ranks | {alias: ranks[name] for alias, name in aliases.items()}


def strictest_class(classes: Iterable[str], ranks: Mapping[str, int]) -> str:
    """The strictest of several classes, ties broken by name; `unknown` when none of them is stated."""
    stated = sorted(set(classes) - {UNKNOWN})
    return max(stated, key=lambda name: ranks.get(name, len(ranks)), default=UNKNOWN)
