r"""Formulas of Word (Office Math, ECMA-376 part 1, 22.1) as LaTeX: `\frac{a}{b}`, `x^{2}`, `\sum_{i=1}^{n}`."""

from collections.abc import Callable
from typing import Any

from datasets_pipeline.extract.office_xml import local_name, parse

VERSION = "1"

_MATH = (
    "{http://schemas.openxmlformats.org/officeDocument/2006/math}",
    "{http://purl.oclc.org/ooxml/officeDocument/math}",
)
_OPERATORS = {
    "∑": r"\sum", "∏": r"\prod", "∐": r"\coprod", "∫": r"\int", "∬": r"\iint", "∭": r"\iiint", "∮": r"\oint",
    "⋂": r"\bigcap", "⋃": r"\bigcup", "⋀": r"\bigwedge", "⋁": r"\bigvee",
}  # fmt: skip
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "lim",
     "max", "min", "sup", "inf", "det", "exp", "gcd"}
)  # fmt: skip
_ACCENTS = {
    "\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0305": r"\bar", "\u0307": r"\dot",
    "\u0308": r"\ddot", "\u20d7": r"\vec", "\u0301": r"\acute", "\u0300": r"\grave",
}  # fmt: skip
_BRACES = {"{": r"\{", "}": r"\}", "〈": r"\langle", "〉": r"\rangle", "⟨": r"\langle", "⟩": r"\rangle"}


def formulas_as_text(part: bytes) -> bytes:
    """An XML part in which every formula is a run of text, `$...$`, or `$$...$$` on a line of its own.

    Raises lxml's XMLSyntaxError for what is no XML, or nested beyond 256 levels.
    """
    from lxml import etree

    root = parse(part)
    if b"oMath" not in part:
        return part
    namespace = root.tag.partition("}")[0] + "}"
    for math in [element for element in root.iter(*(m + "oMathPara" for m in _MATH), *(m + "oMath" for m in _MATH))]:
        parent = math.getparent()
        if parent is None or local_name(parent) == "oMathPara":
            continue
        alone = local_name(math) == "oMathPara"
        formulas = [latex(child).strip() for child in (math if alone else [math]) if local_name(child) == "oMath"]
        sign = "$$" if alone else "$"
        run = etree.Element(namespace + "r")
        for formula in filter(None, formulas):
            text = etree.SubElement(run, namespace + "t")
            text.text = f"{sign}{formula}{sign}"
            if alone and formula is not formulas[-1]:
                etree.SubElement(run, namespace + "br")
        run.tail = math.tail
        parent.replace(math, run)
    return etree.tostring(root)


def latex(element: Any) -> str:
    """LaTeX of an Office Math element; the words of an element that is not known are kept."""
    name = local_name(element)
    if name == "t":
        return _escaped(element.text or "")
    if name.endswith("Pr"):
        return ""
    writer = _WRITERS.get(name)
    return writer(element) if writer else "".join(latex(child) for child in element)


def _part(element: Any, name: str) -> str:
    return next((latex(child) for child in element if local_name(child) == name), "")


def _property(element: Any, name: str, default: str) -> str:
    """m:val of a property, `default` where it is not stated."""
    for properties in element:
        if not local_name(properties).endswith("Pr"):
            continue
        for child in properties:
            if local_name(child) == name:
                return next((value for key, value in child.attrib.items() if key.endswith("}val")), default)
    return default


def _fraction(element: Any) -> str:
    command = "binom" if _property(element, "type", "bar") == "noBar" else "frac"
    return rf"\{command}{{{_part(element, 'num')}}}{{{_part(element, 'den')}}}"


def _scripts(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    base = _part(element, "e")
    base = base if len(base) <= 1 or base[1:].isalpha() and base[0] == "\\" else f"{{{base}}}"
    scripts = (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")
    return "{}" + scripts + base if local_name(element) == "sPre" else base + scripts


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    return rf"\sqrt{f'[{degree}]' if degree else ''}{{{_part(element, 'e')}}}"


def _operator(element: Any) -> str:
    sign = _property(element, "chr", "∫")
    below, above = _part(element, "sub"), _part(element, "sup")
    scripts = (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")
    return f"{_OPERATORS.get(sign, sign)}{scripts} {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    opening, closing = _property(element, "begChr", "("), _property(element, "endChr", ")")
    separator = _property(element, "sepChr", "|")
    inside = separator.join(latex(child) for child in element if local_name(child) == "e")
    return _BRACES.get(opening, opening) + inside + _BRACES.get(closing, closing)


def _function(element: Any) -> str:
    name = _part(element, "fName")
    return f"{chr(92) + name if name in _FUNCTIONS else name} {_part(element, 'e')}"


def _limit(element: Any) -> str:
    base = _part(element, "e")
    sign = "_" if local_name(element) == "limLow" else "^"
    return f"{chr(92) + base if base in _FUNCTIONS else base}{sign}{{{_part(element, 'lim')}}}"


def _accent(element: Any) -> str:
    sign = _property(element, "chr", "\u0302")
    return f"{_ACCENTS.get(sign, chr(92) + 'hat')}{{{_part(element, 'e')}}}"


def _bar(element: Any) -> str:
    return rf"\{'overline' if _property(element, 'pos', 'bot') == 'top' else 'underline'}{{{_part(element, 'e')}}}"


def _matrix(element: Any) -> str:
    rows = [row for row in element if local_name(row) == "mr"]
    lines = (" & ".join(latex(cell) for cell in row if local_name(cell) == "e") for row in rows)
    return r"\begin{matrix}" + r" \\ ".join(lines) + r"\end{matrix}"


def _equations(element: Any) -> str:
    return r" \\ ".join(latex(child) for child in element if local_name(child) == "e")


def _escaped(text: str) -> str:
    return "".join("\\" + sign if sign in "#$%&_{}" else sign for sign in text)


_WRITERS: dict[str, Callable[[Any], str]] = {
    "f": _fraction, "sSub": _scripts, "sSup": _scripts, "sSubSup": _scripts, "sPre": _scripts, "rad": _root,
    "nary": _operator, "d": _delimited, "func": _function, "limLow": _limit, "limUpp": _limit, "acc": _accent,
    "bar": _bar, "m": _matrix, "eqArr": _equations,
}  # fmt: skip
