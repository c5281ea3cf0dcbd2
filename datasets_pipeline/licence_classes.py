"""What kind of licence an SPDX identifier names, and whether an expression is admitted by a choice of identifiers.

Classes are for sorting documents, not legal advice. `A OR B` gives the choice, so one admitted licence is enough; of
`A AND B` each must be; `A WITH exception` goes by both names, its own and that of A.
"""

import re
from collections.abc import Callable

CLASSES = (
    "public_domain", "permissive", "weak_copyleft", "copyleft", "no_derivatives", "non_commercial", "other", "unknown",
)  # fmt: skip
"""From free to strict; `other` is stated and not known to us, `unknown` is not stated."""

_PUBLIC_DOMAIN = ("CC0", "CC-PDDC", "PDDL", "Unlicense", "0BSD", "WTFPL", "public-domain")
_WEAK_COPYLEFT = (
    "LGPL", "MPL", "EPL", "CDDL", "CC-BY-SA", "OSL", "ODbL", "CECILL-C", "MS-RL", "QPL", "OFL", "Artistic-1",
)  # fmt: skip
_COPYLEFT = ("GPL", "AGPL", "EUPL", "SSPL", "GFDL", "CECILL-2", "Sleepycat")
_PERMISSIVE = (
    "MIT", "BSD", "Apache", "ISC", "PSF", "Python-2", "CNRI-Python", "Zlib", "libpng", "CC-BY", "HPND", "BSL-1", "X11",
    "NCSA", "PostgreSQL", "Unicode", "W3C", "curl", "UPL", "AFL", "ECL", "bzip2", "BlueOak", "FTL", "ICU", "TCL",
    "PHP", "ODC-By", "OGL-UK", "CDLA-Permissive", "OpenSSL", "OLDAP", "ZPL", "CECILL-B", "MS-PL", "Artistic-2", "Ruby",
    "Vim",
)  # fmt: skip
_TOKEN = re.compile(r"\(|\)|[^\s()]+")


def licence_class(name: str) -> str:
    """The class of one identifier, as in CLASSES; `LicenseRef-BSD` is of the class of BSD."""
    if name == "unknown":
        return "unknown"
    plain = name.removeprefix("LicenseRef-")
    if "-NC" in plain:
        return "non_commercial"
    if "-ND" in plain:
        return "no_derivatives"
    for kind, prefixes in (
        ("public_domain", _PUBLIC_DOMAIN),
        ("weak_copyleft", _WEAK_COPYLEFT),
        ("copyleft", _COPYLEFT),
        ("permissive", _PERMISSIVE),
    ):
        if plain.startswith(prefixes):
            return kind
    return "other"


Names = tuple[str, ...]
"""The names that one licence goes by: `A WITH exception` also by A."""


def is_admitted(expression: str, admits: Callable[[Names], bool]) -> bool:
    """Whether an SPDX expression leaves a choice that is admitted; what cannot be read counts as one name."""
    tokens = _TOKEN.findall(expression)
    if not any(token in ("AND", "OR", "WITH", "(", ")") for token in tokens):
        return admits((expression,))
    try:
        answer, rest = _either(tokens, admits)
    except IndexError:
        return admits((expression,))
    return answer if not rest else admits((expression,))


def _either(tokens: list[str], admits: Callable[[Names], bool]) -> tuple[bool, list[str]]:
    answer, rest = _both(tokens, admits)
    while rest and rest[0] == "OR":
        other, rest = _both(rest[1:], admits)
        answer = answer or other
    return answer, rest


def _both(tokens: list[str], admits: Callable[[Names], bool]) -> tuple[bool, list[str]]:
    answer, rest = _one(tokens, admits)
    while rest and rest[0] == "AND":
        other, rest = _one(rest[1:], admits)
        answer = answer and other
    return answer, rest


def _one(tokens: list[str], admits: Callable[[Names], bool]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        answer, rest = _either(tokens[1:], admits)
        if rest[0] != ")":
            raise IndexError
        return answer, rest[1:]
    if tokens[0] in (")", "AND", "OR", "WITH"):
        raise IndexError
    name, rest = tokens[0], tokens[1:]
    if rest and rest[0] == "WITH":
        return admits((name, f"{name} WITH {rest[1]}")), rest[2:]
    return admits((name,)), rest
