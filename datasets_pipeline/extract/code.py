"""Source code as it stands: the programming language and the licence of its opening comment are recorded.

Python has a module of its own (docstrings); both take the licence from here. Nothing is parsed: the language
comes from the name, the `#!` line, and a few words where one extension serves several languages.
"""

import posixpath
import re

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.licences import UNKNOWN, spdx_of_header, spdx_of_text
from datasets_pipeline.extract.media_types import interpreter_of
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult

VERSION = "1"

LANGUAGES = {
    "text/x-c": "C", "text/x-c++": "C++", "text/x-csharp": "C#", "text/x-go": "Go", "text/x-java": "Java",
    "text/javascript": "JavaScript", "text/x-kotlin": "Kotlin", "text/x-lua": "Lua", "text/x-perl": "Perl",
    "text/x-r": "R", "text/x-ruby": "Ruby", "text/x-rust": "Rust", "text/x-scala": "Scala",
    "text/x-shellscript": "Shell", "text/x-sql": "SQL", "text/x-swift": "Swift", "text/x-typescript": "TypeScript",
    "text/css": "CSS", "text/x-php": "PHP", "text/x-objectivec": "Objective-C", "text/x-haskell": "Haskell",
    "text/x-ocaml": "OCaml", "text/x-erlang": "Erlang", "text/x-elixir": "Elixir", "text/x-clojure": "Clojure",
    "text/x-julia": "Julia", "text/x-dart": "Dart", "text/x-groovy": "Groovy", "text/x-powershell": "PowerShell",
    "text/x-batch": "Batch", "text/x-fortran": "Fortran", "text/x-ada": "Ada", "text/x-cobol": "COBOL",
    "text/x-pascal": "Pascal", "text/x-vb": "Visual Basic", "text/x-fsharp": "F#", "text/x-zig": "Zig",
    "text/x-nim": "Nim", "text/x-lisp": "Lisp", "text/x-scheme": "Scheme", "text/x-asm": "Assembly",
    "text/x-protobuf": "Protocol Buffers", "text/x-terraform": "Terraform", "text/x-dockerfile": "Dockerfile",
    "text/x-makefile": "Makefile", "text/x-cmake": "CMake", "text/x-vue": "Vue", "text/x-scss": "SCSS",
    "text/x-verilog": "Verilog", "text/x-vhdl": "VHDL", "text/x-tcl": "Tcl", "text/x-awk": "Awk",
    "text/x-graphql": "GraphQL", "text/x-solidity": "Solidity", "text/x-cuda": "CUDA",
}  # fmt: skip
MEDIA_TYPES = tuple(LANGUAGES)

# More exact names by extension; the media type covers both.
_BY_EXTENSION = {"tsx": "TSX", "jsx": "JSX", "bash": "Bash", "zsh": "Zsh", "fish": "Fish", "ksh": "KornShell"}
_BY_INTERPRETER = {"bash": "Bash", "zsh": "Zsh", "fish": "Fish", "ksh": "KornShell", "node": "JavaScript"}
_CPP = re.compile(r"^[ \t]*(?:class[ \t]+\w|namespace\b|template[ \t]*<|using[ \t]+namespace\b|public:)|\bstd::", re.M)
_OBJECTIVE_C = re.compile(r"^[ \t]*@(?:interface|protocol|implementation|property|class)\b", re.MULTILINE)
_HINTED_CHARACTERS = 65536
_OPENING_CHARACTERS = 8192
_COMMENT_LINE = re.compile(r"[ \t]*(?:#!?|//[/!]?|--|;+|%+|/?\*+|\(\*|\{-|\"\"\"|<!--|REM\b|')")
_GPL = re.compile(
    r"gnu (affero |lesser |library )?general public licen[cs]e(?:(?!general public).){0,400}?\bversion (\d)(?:\.(\d))?"
    r"(.{0,120})",
)
_FAMILIES = {"affero ": "AGPL", "lesser ": "LGPL", "library ": "LGPL", None: "GPL"}
_NOTICES = (
    ("mozilla public license, v. 2.0", "MPL-2.0"),
    ("licensed under the mit license", "MIT"),
    ("boost software license, version 1.0", "BSL-1.0"),
)


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The file as one document."""
    decoded = decode(data, uri, declared=options.encoding, max_odd_share=options.max_odd_share)
    licence, evidence = source_licence(decoded.text) or (None, None)
    document = ExtractedDocument(
        text=decoded.text,
        start=0,
        end=len(data),
        media_type=media_type,
        extractor="code",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence=evidence,
        metadata=decoded.metadata | {"programming_language": programming_language(uri, media_type, decoded.text)},
    )
    return ExtractionResult([document])


def programming_language(uri: str, media_type: str, text: str) -> str:
    """The language of a source file."""
    extension = posixpath.basename(uri).rpartition(".")[2].lower()
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    interpreter = interpreter_of(text[:300].encode("utf-8", "replace"))
    if interpreter in _BY_INTERPRETER:
        return _BY_INTERPRETER[interpreter]
    if extension == "h":
        head = text[:_HINTED_CHARACTERS]
        if _OBJECTIVE_C.search(head):
            return "Objective-C"
        return "C++" if _CPP.search(head) else "C"
    return LANGUAGES.get(media_type, "unknown")


def source_licence(text: str) -> tuple[str, str] | None:
    """(expression, evidence) when the opening comment of a source file states a licence, else None."""
    stated = spdx_of_header(text)
    if stated:
        return stated
    comment = _opening_comment(text)
    words = " ".join(re.sub(r"[^\w.,()+-]+", " ", comment.lower()).split())
    gnu = _GPL.search(words)
    if gnu:
        family, major, minor, rest = gnu.groups()
        number = f"{major}.{minor or '1' if family and family != 'affero ' and major == '2' else minor or '0'}"
        if family == "library ":
            number = f"{major}.{minor or '0'}"
        suffix = "or-later" if "later version" in rest else "only"
        return f"{_FAMILIES[family]}-{number}-{suffix}", "licence comment"
    found = next((name for phrase, name in _NOTICES if phrase in words), None) or spdx_of_text(words)
    return None if found == UNKNOWN else (found, "licence comment")


def _opening_comment(text: str) -> str:
    """The comments before the first code, marks taken off; at most the first 8,192 characters."""
    lines: list[str] = []
    closing: str | None = None
    for line in text[:_OPENING_CHARACTERS].lstrip("\ufeff").splitlines():
        bare = line.strip()
        if closing is None:
            if not bare:
                continue
            mark = _COMMENT_LINE.match(line)
            if mark is None:
                break
            opened = next((end for start, end in _BLOCKS if bare.startswith(start)), None)
            if opened and opened not in bare[2:]:
                closing = opened
        elif closing in bare:
            closing = None
        lines.append(_COMMENT_LINE.sub("", line, count=1))
    return "\n".join(lines)


_BLOCKS = (
    ("/*", "*/"),
    ("(*", "*)"),
    ("{-", "-}"),
    ('"""', '"""'),
    ("<!--", "-->"),
    ("--[[", "]]"),
    ("=begin", "=end"),
)
