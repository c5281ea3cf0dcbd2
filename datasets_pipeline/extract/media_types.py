"""Which media type a file has: by its name, checked against its first bytes.

A name is believed unless the bytes contradict it: a `.html` that starts with `%PDF` is a PDF, a `.pdf`
that is plain text is text, a `.docx` that is a `.doc` inside is a `.doc`. Without a known name the bytes decide.
"""

import posixpath
import re

from datasets_pipeline.extract import containers
from datasets_pipeline.extract.containers import (
    DOC,
    DOCX,
    EPUB,
    MSG,
    ODP,
    ODS,
    ODT,
    OLE,
    PPT,
    PPTX,
    RTF,
    XLS,
    XLSB,
    XLSX,
    ZIP,
)  # fmt: skip

VERSION = "4"

MARKDOWN = "text/markdown"
HTML = "text/html"
PLAIN = "text/plain"
RESTRUCTURED_TEXT = "text/x-rst"
PYTHON = "text/x-python"
PACKAGE_METADATA = "text/x-python-metadata"
MAIL = "message/rfc822"
MBOX = "application/mbox"
PDF = "application/pdf"
BINARY = "application/octet-stream"

_BY_NAME = {
    "METADATA": PACKAGE_METADATA, "PKG-INFO": PACKAGE_METADATA, "Makefile": "text/x-makefile",
    "GNUmakefile": "text/x-makefile", "Dockerfile": "text/x-dockerfile", "Containerfile": "text/x-dockerfile",
    "CMakeLists.txt": "text/x-cmake", "Rakefile": "text/x-ruby", "Gemfile": "text/x-ruby",
}  # fmt: skip
_BY_EXTENSION = {
    "md": MARKDOWN, "markdown": MARKDOWN, "mdx": MARKDOWN, "qmd": MARKDOWN,
    "html": HTML, "htm": HTML, "xhtml": HTML, "shtml": HTML,
    "rst": RESTRUCTURED_TEXT, "rest": RESTRUCTURED_TEXT,
    "txt": PLAIN, "text": PLAIN, "log": PLAIN, "adoc": "text/asciidoc", "asciidoc": "text/asciidoc",
    "org": "text/org", "tex": "text/x-tex", "csv": "text/csv", "tsv": "text/tab-separated-values",
    "py": PYTHON, "pyi": PYTHON,
    "c": "text/x-c", "h": "text/x-c", "cc": "text/x-c++", "cpp": "text/x-c++", "hpp": "text/x-c++",
    "cs": "text/x-csharp", "go": "text/x-go", "java": "text/x-java", "js": "text/javascript",
    "kt": "text/x-kotlin", "lua": "text/x-lua", "pl": "text/x-perl", "r": "text/x-r", "rb": "text/x-ruby",
    "rs": "text/x-rust", "scala": "text/x-scala", "sh": "text/x-shellscript", "sql": "text/x-sql",
    "swift": "text/x-swift", "ts": "text/x-typescript", "css": "text/css",
    "mjs": "text/javascript", "cjs": "text/javascript", "jsx": "text/javascript", "tsx": "text/x-typescript",
    "mts": "text/x-typescript", "cts": "text/x-typescript", "kts": "text/x-kotlin", "pm": "text/x-perl",
    "cxx": "text/x-c++", "hh": "text/x-c++", "hxx": "text/x-c++", "inl": "text/x-c++", "cu": "text/x-cuda",
    "bash": "text/x-shellscript", "zsh": "text/x-shellscript", "ksh": "text/x-shellscript",
    "fish": "text/x-shellscript", "ps1": "text/x-powershell", "psm1": "text/x-powershell", "bat": "text/x-batch",
    "cmd": "text/x-batch", "php": "text/x-php", "mm": "text/x-objectivec", "hs": "text/x-haskell",
    "ml": "text/x-ocaml", "mli": "text/x-ocaml", "erl": "text/x-erlang", "ex": "text/x-elixir",
    "exs": "text/x-elixir", "clj": "text/x-clojure", "cljs": "text/x-clojure", "jl": "text/x-julia",
    "dart": "text/x-dart", "groovy": "text/x-groovy", "gradle": "text/x-groovy", "f90": "text/x-fortran",
    "f95": "text/x-fortran", "f": "text/x-fortran", "adb": "text/x-ada", "ads": "text/x-ada", "cob": "text/x-cobol",
    "cbl": "text/x-cobol", "pas": "text/x-pascal", "vb": "text/x-vb", "fs": "text/x-fsharp", "zig": "text/x-zig",
    "nim": "text/x-nim", "lisp": "text/x-lisp", "el": "text/x-lisp", "scm": "text/x-scheme", "s": "text/x-asm",
    "asm": "text/x-asm", "proto": "text/x-protobuf", "tf": "text/x-terraform", "mk": "text/x-makefile",
    "cmake": "text/x-cmake", "vue": "text/x-vue", "scss": "text/x-scss", "sass": "text/x-scss",
    "less": "text/x-scss", "sv": "text/x-verilog", "vhd": "text/x-vhdl", "vhdl": "text/x-vhdl", "tcl": "text/x-tcl",
    "awk": "text/x-awk", "graphql": "text/x-graphql", "sol": "text/x-solidity",
    "json": "application/json", "yaml": "application/yaml", "yml": "application/yaml",
    "toml": "application/toml", "xml": "application/xml", "ini": "text/x-ini", "cfg": "text/x-ini",
    "pdf": PDF, "rtf": RTF, "epub": EPUB,
    # A template and a file with macros are read like the document they make.
    "doc": DOC, "dot": DOC, "xls": XLS, "xlt": XLS, "ppt": PPT, "pps": PPT, "pot": PPT,
    "docx": DOCX, "docm": DOCX, "dotx": DOCX, "dotm": DOCX,
    "xlsx": XLSX, "xlsm": XLSX, "xltx": XLSX, "xltm": XLSX, "xlam": XLSX, "xlsb": XLSB,
    "pptx": PPTX, "pptm": PPTX, "potx": PPTX, "potm": PPTX, "ppsx": PPTX, "ppsm": PPTX,
    "odt": ODT, "ott": ODT, "ods": ODS, "ots": ODS, "odp": ODP, "otp": ODP,
    "eml": MAIL, "mbox": MBOX, "msg": MSG,
    "ipynb": "application/x-ipynb+json", "svg": "image/svg+xml",
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "tif": "image/tiff", "tiff": "image/tiff",
    "zip": ZIP, "gz": "application/gzip", "xz": "application/x-xz", "bz2": "application/x-bzip2",
    "zst": "application/zstd", "tar": "application/x-tar",
    "tgz": "application/gzip", "txz": "application/x-xz", "tbz2": "application/x-bzip2", "tzst": "application/zstd",
    "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
_SIGNATURES = (
    (b"%PDF-", PDF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"{\\rtf", RTF),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    *((b"BZh%d1AY" % level, "application/x-bzip2") for level in range(1, 10)),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x7fELF", "application/x-executable"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
)
# Read as text although their type does not begin with text/.
TEXT_APPLICATIONS = frozenset({"application/json", "application/yaml", "application/toml", "application/xml"})
# Text on the wire, but with a structure that reading as plain text would spoil; extractors of their own.
_STRUCTURED = frozenset({MAIL, MBOX, "application/x-ipynb+json", "image/svg+xml"})
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_SHEBANG = re.compile(rb"#![ \t]*\S{0,200}?/(?:env[ \t]+(?:-\S{1,20}[ \t]+)?)?([A-Za-z]{1,20})[\d.]*(?:\s|\Z)")
_BY_INTERPRETER = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "fish"), "text/x-shellscript"),
    "python": PYTHON, "pypy": PYTHON, "perl": "text/x-perl", "ruby": "text/x-ruby", "node": "text/javascript",
    "lua": "text/x-lua", "php": "text/x-php", "Rscript": "text/x-r", "awk": "text/x-awk", "tclsh": "text/x-tcl",
}  # fmt: skip
_SNIFFED_BYTES = 8192
# Readers look for the header of a PDF this far in: a blank or a line of a web server may stand before it.
_PDF_HEADER_BYTES = 1024
_MAILDIR = re.compile(r"(?:^|/)(?:cur|new)/\d[^/]*\Z")
_FIELD = re.compile(rb"([!-9;-~]{1,100})[ \t]{0,10}:")
_MAIL_ONLY = frozenset(
    {b"from", b"message-id", b"received", b"return-path", b"delivered-to", b"mime-version", b"x-mailer", b"in-reply-to"}
)
_MAIL_FIELDS = _MAIL_ONLY | {b"to", b"cc", b"date", b"subject", b"sender", b"reply-to", b"content-type"}


def media_type_of(uri: str, data: bytes) -> str:
    """The media type of a file from its name and bytes; never raises."""
    stated = stated_media_type(uri)
    if _MAILDIR.search(uri) and _looks_like_mail(data):
        stated = None  # the end of such a name is a host's, and may look like an extension
    return checked_media_type(stated, data)


def checked_media_type(stated: str | None, data: bytes) -> str:
    """The media type of bytes that are said to be of one: theirs where they contradict it; never raises."""
    signature = _signature(data)
    if stated is None:
        return signature or _sniff(data)
    if is_text(stated):
        return signature or stated
    if signature in (ZIP, OLE) or stated in _STRUCTURED:
        return stated  # a container that does not say what is in it: the extractor names what is wrong
    if signature:
        return signature
    if stated == PDF and b"%PDF-" in data[:_PDF_HEADER_BYTES]:
        return PDF  # whose source, read as text, would be numbers of objects and half of the words
    return _sniff(data) if looks_like_text(data) else stated


def stated_media_type(uri: str) -> str | None:
    """What the name says, None when it says nothing we know."""
    name = posixpath.basename(uri)
    extension = name.rpartition(".")[2].lower() if "." in name[1:] else ""
    return _BY_NAME.get(name) or _BY_EXTENSION.get(extension)


def interpreter_of(data: bytes) -> str | None:
    """The program a `#!` line names, without its version: `#!/usr/bin/env python3.11` is `python`."""
    found = _SHEBANG.match(data[:300])
    return found.group(1).decode("ascii") if found else None


def is_text(media_type: str) -> bool:
    """True for media types whose bytes are read as text."""
    return media_type.startswith("text/") or media_type in TEXT_APPLICATIONS


def looks_like_text(data: bytes) -> bool:
    """False when the first 8 KiB hold more control bytes than a text may (1 in 50), UTF-16 and UTF-32 aside."""
    head = data[:_SNIFFED_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")) or utf16_without_mark(head):
        return True
    return num_control_bytes(head) * 50 <= len(head)


def num_control_bytes(data: bytes) -> int:
    """Bytes below 0x20 and 0x7f that no text needs: all but tab, line feed, form feed, return, escape."""
    return len(data) - len(data.translate(None, _CONTROL_BYTES))


def utf16_without_mark(data: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` when every other byte is mostly NUL, as in Western UTF-16 without a mark."""
    head = data[: _SNIFFED_BYTES & ~1]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half < 2:
        return None
    if odd * 10 >= half * 7 and even * 20 <= half:
        return "utf-16-le"
    if even * 10 >= half * 7 and odd * 20 <= half:
        return "utf-16-be"
    return None


_CONTROL_BYTES = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in b"\t\n\x0c\r\x1b")


def _signature(data: bytes) -> str | None:
    found = next((media_type for mark, media_type in _SIGNATURES if data.startswith(mark)), None)
    if found is None and data[257:262] == b"ustar":
        return "application/x-tar"
    inside = {ZIP: containers.type_inside_zip, OLE: containers.type_inside_ole}.get(found or "")
    return (inside(data) if inside else None) or found


def _sniff(data: bytes) -> str:
    if not looks_like_text(data):
        return BINARY
    if _looks_like_mail(data):
        return MBOX if data.startswith(b"From ") else MAIL
    interpreter = interpreter_of(data)
    if interpreter:
        return _BY_INTERPRETER.get(interpreter, PLAIN)
    return HTML if _MARKUP.match(_without_opening_comments(data[:_SNIFFED_BYTES])) else PLAIN


def _looks_like_mail(data: bytes) -> bool:
    """Whether the file begins with the fields of a mail, as in a Maildir, where names say nothing.

    Text can begin with `Date:` as well; a mail has a field that only mail has, or one sender and another field.
    """
    lines = data[:_SNIFFED_BYTES].replace(b"\r\n", b"\n").partition(b"\n\n")[0].split(b"\n")
    fields = set()
    for number, line in enumerate(lines):
        field = _FIELD.match(line)
        if field:
            fields.add(field.group(1).lower())
        elif not (line.startswith((b" ", b"\t")) and fields) and not (number == 0 and line.startswith(b"From ")):
            return len(fields & _MAIL_ONLY) >= 2  # cut within a line by the bound on what is looked at, or broken
    return bool(fields & _MAIL_ONLY) and len(fields & _MAIL_FIELDS) >= 2


def _without_opening_comments(head: bytes) -> bytes:
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while head.startswith((b"<!--", b"<?xml")):
        _, closed, head = head.partition(b"-->" if head.startswith(b"<!--") else b"?>")
        if not closed:
            return b""
        head = head.lstrip()
    return head
