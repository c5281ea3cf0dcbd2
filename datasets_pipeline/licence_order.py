"""Which of two licences is the stricter one (CONTRACTS 2: of several occurrences the strictest decides).

An order for caution, not legal advice: what is not known is treated as the strictest.
"""

_PUBLIC_DOMAIN = {"CC0-1.0", "Unlicense", "0BSD", "public-domain", "PDDL-1.0", "WTFPL"}
_WEAK_COPYLEFT = ("LGPL", "MPL", "EPL", "CDDL", "CC-BY-SA", "OSL")
_STRONG_COPYLEFT = ("GPL", "AGPL", "EUPL", "CC-BY-NC", "CC-BY-ND", "SSPL")
_PERMISSIVE = ("MIT", "BSD", "Apache", "ISC", "PSF", "Python-2", "Zlib", "CC-BY", "HPND", "BSL-1.0", "X11", "NCSA")


def strictness(licence: str) -> int:
    """0 (public domain) to 5 (unknown); an expression is as strict as its strictest part."""
    parts = licence.replace("(", " ").replace(")", " ").split()
    names = [part for part in parts if part not in ("AND", "OR", "WITH")]
    return max((_rank(name) for name in names), default=5)


def _rank(name: str) -> int:
    if name == "unknown":
        return 5
    if name in _PUBLIC_DOMAIN:
        return 0
    for rank, prefixes in ((3, _STRONG_COPYLEFT), (2, _WEAK_COPYLEFT), (1, _PERMISSIVE)):
        if name.startswith(prefixes):
            return rank if not (rank == 3 and name.startswith("LGPL")) else 2
    return 4


def strictest(licences: list[str]) -> str:
    """The strictest of several licences; ties are broken by name."""
    return max(sorted(licences), key=strictness)
