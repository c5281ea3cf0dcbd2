"""Python files: as source, or as the documentation inside them.

Docstrings come one after the other under their qualified names, in file order:

    numpy.linalg._linalg.norm

    Matrix or vector norm. ...

Parsing costs about 1 s for 2 MB of source.
"""

import ast
import io
import re
import tokenize
import warnings

from datasets_pipeline.extract.code import source_licence
from datasets_pipeline.extract.decoding import Decoded, decode
from datasets_pipeline.extract.media_types import PYTHON, RESTRUCTURED_TEXT
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult

VERSION = "2"
MEDIA_TYPES = (PYTHON,)

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The file's source, or its docstrings (options.python), as one document; none without docstrings."""
    decoded = decode(data, uri, declared=_cookie(data) or options.encoding, max_odd_share=options.max_odd_share)
    licence, evidence = source_licence(decoded.text) or (None, None)
    docstrings = options.python == "docstrings"
    text = _docstrings(decoded, uri) if docstrings else decoded.text
    if docstrings and not text:
        return ExtractionResult([])  # a module without documentation is no fault
    document = ExtractedDocument(
        text=text,
        start=0,
        end=len(data),
        media_type=RESTRUCTURED_TEXT if docstrings else media_type,
        extractor="python_docstrings" if docstrings else "python_source",
        extractor_version=VERSION,
        licence=licence,
        licence_evidence=evidence,
        metadata=decoded.metadata if docstrings else decoded.metadata | {"programming_language": "Python"},
    )
    return ExtractionResult([document])


def module_name(uri: str) -> str:
    """Dotted name of a module file: `numpy/linalg/__init__.py` is `numpy.linalg`."""
    return re.sub(r"(?:/__init__)?\.pyi?$", "", uri).strip("/").replace("/", ".")


def _docstrings(decoded: Decoded, uri: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a foreign file is not news, and shows its line
            tree = ast.parse(decoded.text.replace("\r\n", "\n").replace("\r", "\n"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last says "nested too deeply"
        line = f" at line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ExtractionError("parser_error", f"{uri}: not valid Python{line}; exclude it or read its source") from None
    parts = []
    waiting: list[tuple[str, ast.AST]] = [(module_name(uri), tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, _Documented):
            docstring = ast.get_docstring(node, clean=True)
            if docstring and docstring.strip():
                parts.append(f"{name}\n\n{docstring.strip()}")
        for child in reversed(list(ast.iter_child_nodes(node))):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                waiting.append((f"{name}.{child.name}", child))
            elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                waiting.append((name, child))
    return "\n\n\n".join(parts)


def _cookie(data: bytes) -> str | None:
    """The encoding a PEP 263 comment declares, None when there is none or it is wrong."""
    try:
        name, _ = tokenize.detect_encoding(io.BytesIO(data[:2048]).readline)
    except SyntaxError:
        return None
    return None if name.startswith("utf-8") else name
