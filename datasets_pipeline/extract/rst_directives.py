"""reStructuredText to a docutils tree in which no directive and no role is unknown.

Sphinx and its extensions have hundreds of directives and roles; docutils drops the words of one that it does
not know. Here a directive without a handler keeps its argument and its content, a role keeps its text. Both
are registered for one parse only: what a document registers (`.. role::`, `.. default-role::`) ends with it.

Nothing outside of the text is read: no file, no URL, no configuration, no clock (`.. date::`).
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

# What docutils does itself, from the text alone, with all options Sphinx documents use.
_OF_DOCUTILS = frozenset({
    "admonition", "attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning",
    "class", "compound", "container", "csv-table", "default-role", "epigraph", "footer", "header", "highlights",
    "line-block", "list-table", "parsed-literal", "pull-quote", "replace", "role", "rubric", "sidebar", "table",
    "topic", "unicode",
})  # fmt: skip
# Directives that say how a page is built and hold no words for its reader.
_UNSEEN = frozenset({
    "contents", "currentmodule", "default-domain", "date", "docinfo", "highlight", "include", "index", "meta",
    "module-contents", "py:currentmodule", "restructuredtext-test-directive", "sectionauthor", "codeauthor", "sectnum",
    "section-numbering", "tabularcolumns", "target-notes", "testsetup", "testcleanup", "title",
})  # fmt: skip
_CODE = frozenset({
    "code", "code-block", "sourcecode", "ipython", "doctest", "testcode", "testoutput", "productionlist", "prompt",
    "literalinclude", "graphviz", "digraph", "graph", "mermaid", "plantuml", "uml", "plot", "jupyter-execute",
})  # fmt: skip
_VERSIONS = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "deprecated-removed": "Deprecated since version",
    "versionremoved": "Removed in version",
}
_ADMONITIONS = frozenset({"seealso", "todo", "example", "question", "abstract", "success", "failure", "bug", "info"})
# Their argument is a signature or a name of the code, not a sentence.
_DESCRIPTIONS = re.compile(
    r"(?:[a-z]+:)|auto[a-z]+|(?:class|function|method|attribute|property|data|module|exception|decorator|option"
    r"|program|envvar|confval|setting|describe|object|cmdoption|signature|macro|type|var|member|autosummary)\Z"
)
_TOCTREE = frozenset({"toctree", "autosummary", "hlist"})
# Roles whose text is a name in the code.
_CODE_ROLES = re.compile(
    r"(?:[a-z]+:)?(?:func|function|class|meth|method|mod|module|attr|attribute|data|exc|obj|const|macro|type|member"
    r"|option|envvar|file|samp|program|command|kbd|makevar|regexp|code|literal|cmd|setting|var|expr|any|py|c|cpp)\Z"
)
_LABEL_OF_TEXT = re.compile(r"(?s)(.+?)\s*<[^<>]*>\Z")
_DIRECTIVE_NAME = re.compile(
    r"^[ \t]*(?:.*?\|[^|]+\|[ ]+|\.\.[ ]+)([A-Za-z0-9](?:[A-Za-z0-9_+:.-]*[A-Za-z0-9])?)[ ]?::"
)
_RAW_TAG = re.compile(r"<[^<>]*>")
_RAW_UNSEEN = re.compile(r"(?is)<(script|style)\b.*?(?:</\1[^<>]*>|\Z)")

_lock = threading.Lock()  # docutils keeps its registries in module globals


def parse(text: str) -> Any:
    """The docutils tree of a document, before any transform. Whatever docutils raises rises."""
    from docutils import frontend, utils
    from docutils.parsers import rst

    parser = rst.Parser(inliner=_inliner())
    settings = frontend.get_default_settings(rst.Parser)
    for name, value in _SETTINGS.items():
        setattr(settings, name, value)
    document = utils.new_document("text", settings)
    with _lock, _registered(text):
        parser.parse(text, document)
    return document


_SETTINGS: dict[str, Any] = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "syntax_highlight": "none",
    "line_length_limit": 1 << 20,
    "_disable_config": True,
}


@contextmanager
def _registered(text: str) -> Iterator[None]:
    """The registries with a handler for every directive of the text, as they were before afterwards."""
    from docutils.parsers.rst import directives, roles

    before = dict(directives._directives), dict(roles._roles)
    try:
        for line in text.splitlines():
            found = _DIRECTIVE_NAME.match(line) if "::" in line else None
            if found and found.group(1).lower() not in _OF_DOCUTILS:
                directives.register_directive(found.group(1).lower(), _generic_class())
        yield
    finally:
        for registry, kept in ((directives._directives, before[0]), (roles._roles, before[1])):
            registry.clear()
            registry.update(kept)


def _inliner() -> Any:
    """docutils' reader of inline markup, for which an unknown role is its text.

    Not a subclass: docutils builds its expressions from the attributes of the very class.
    """
    from docutils import nodes
    from docutils.parsers.rst import roles
    from docutils.parsers.rst.states import Inliner
    from docutils.utils import unescape

    inliner = Inliner()
    known = inliner.interpreted

    def interpreted(rawsource: str, text: str, role: str | None, lineno: int) -> Any:
        if not role or role in _DOCUTILS_ROLES or role in roles._roles:
            return known(rawsource, text, role, lineno)
        shown = role_text(unescape(text))
        if role.lower() in ("pep", "rfc", "cve", "cwe"):
            shown = f"{role.upper()} {shown}"
        kind = nodes.literal if _CODE_ROLES.match(role) else nodes.inline
        return [kind(rawsource, shown)], []

    inliner.interpreted = interpreted
    return inliner


_DOCUTILS_ROLES = frozenset({"emphasis", "literal", "math", "strong", "subscript", "superscript", "sub", "sup"})


def role_text(text: str) -> str:
    """What a reader sees of a cross reference: `title <label>` is its title; marks before a name go."""
    titled = _LABEL_OF_TEXT.match(text)
    return (titled.group(1) if titled else text).removeprefix("!").removeprefix("~")


class _AnyOption(dict[str, Callable[[str], str]]):
    """An option_spec that takes every option as it is."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Callable[[Any], str]:
        return lambda value: value or ""


@lru_cache(maxsize=1)
def _generic_class() -> Any:
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Generic(Directive):  # type: ignore[misc]
        """Any directive: its argument, then its content."""

        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = _AnyOption()

        def run(self) -> list[Any]:
            name = self.name.lower()
            argument = self.arguments[0] if self.arguments else ""
            if name in _UNSEEN:
                return []
            if name in ("image", "figure"):
                return [nodes.image(alt=self.options.get("alt", "")), *self._content()]
            if name == "raw":
                return self._raw(argument)
            if name == "math":
                return [nodes.math_block("", "\n".join(filter(None, [argument, *self.content])))]
            if name in _CODE:
                return self._code(name, argument)
            if name in _VERSIONS and argument.strip():
                return self._version(_VERSIONS[name], argument)
            if name in _ADMONITIONS:
                return self._admonition(name, argument)
            if name in _TOCTREE:
                return self._toctree()
            if _DESCRIPTIONS.match(name):
                signatures = [line.strip().rstrip("\\") for line in argument.splitlines()]
                return [*(nodes.paragraph("", "", nodes.literal("", s)) for s in signatures if s), *self._content()]
            return [*self._paragraph(argument), *self._content()]

        def _content(self) -> list[Any]:
            container = nodes.container()
            # Sections inside of a directive are allowed by Sphinx's own; here as there.
            self.state.nested_parse(self.content, self.content_offset, container, match_titles=True)
            return [container] if container.children else []

        def _paragraph(self, text: str) -> list[Any]:
            if not text.strip():
                return []
            inline, messages = self.state.inline_text(text, self.lineno)
            return [nodes.paragraph(text, "", *inline), *messages]

        def _raw(self, output_format: str) -> list[Any]:
            if "html" not in output_format.lower():
                return []
            words = _RAW_TAG.sub(" ", _RAW_UNSEEN.sub(" ", "\n".join(self.content)))
            return [nodes.paragraph("", " ".join(words.split()))] if words.strip() else []

        def _code(self, name: str, argument: str) -> list[Any]:
            shown = [nodes.paragraph("", self.options["caption"])] if self.options.get("caption") else []
            if name == "literalinclude":
                return shown
            code = "\n".join(self.content)
            language = argument.split()[0] if argument.split() and "\n" not in argument else ""
            if argument and not language:
                code = f"{argument}\n{code}"
            language = language or {"doctest": "pycon", "testcode": "python", "ipython": "ipython"}.get(name, "")
            block = nodes.literal_block(code, code)
            block["language"] = language
            return [*shown, block] if code.strip() else shown

        def _version(self, label: str, argument: str) -> list[Any]:
            version, *note = argument.split(None, 1)
            return [*self._paragraph(": ".join([f"{label} {version}", *note])), *self._content()]

        def _admonition(self, name: str, argument: str) -> list[Any]:
            title = {"seealso": "See also"}.get(name, name.capitalize())
            admonition = nodes.admonition("", nodes.title("", title))
            admonition.extend([*self._paragraph(argument), *self._content()])
            return [admonition]

        def _toctree(self) -> list[Any]:
            if self.name.lower() == "hlist":
                return self._content()
            shown = [nodes.paragraph("", self.options["caption"])] if self.options.get("caption") else []
            entries = [role_text(line.strip()) for line in self.content if line.strip()]
            items = [nodes.list_item("", nodes.paragraph("", entry)) for entry in entries]
            return [*shown, nodes.bullet_list("", *items)] if items else shown

    return Generic
