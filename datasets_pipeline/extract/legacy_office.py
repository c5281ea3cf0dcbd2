"""RTF, DOC and PPT through LibreOffice, which makes DOCX or PPTX of them; those are read by their own extractors.

Without LibreOffice such a file is `converter_missing`. It runs headless in a scratch folder with a profile of its own,
which is deleted, and with macros off. A conversion takes about 2 s of processor time, most of it for the start.
"""

import functools
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from datasets_pipeline.extract import docx, ole, pptx
from datasets_pipeline.extract.containers import DOC, DOCX, PPT, PPTX, RTF
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult

VERSION = "1"
MEDIA_TYPES = (DOC, PPT, RTF)

_SUFFIXES = {DOC: "doc", PPT: "ppt", RTF: "rtf"}
_TIMEOUT_SECONDS = 120
_ABSENT = "absent"


def programs() -> dict[str, str]:
    """{"soffice": its version}, or "absent"; asked once per process."""
    return {"soffice": _version()}


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The document that the converted file gives. Raises ExtractionError."""
    if _is_encrypted(data):
        raise ExtractionError("encrypted", f"{uri}: protected by a password; take it off, or exclude the file")
    program = _program()
    if program is None:
        raise ExtractionError(
            "converter_missing",
            f"{uri}: {media_type} is read through LibreOffice, which is not installed; install it (`apt-get install "
            "libreoffice-writer-nogui libreoffice-impress-nogui`), or save the file as DOCX or PPTX",
        )
    suffix = "pptx" if media_type == PPT else "docx"
    converted = _convert(program, data, _SUFFIXES[media_type], suffix, uri)
    extractor, target = (pptx, PPTX) if suffix == "pptx" else (docx, DOCX)
    result = extractor.extract(converted, uri, target, options)
    documents = [
        # LibreOffice states the language of its own surface where the file states none.
        replace(
            d, end=len(data), media_type=media_type, extractor="legacy_office", extractor_version=VERSION, language=None
        )
        for d in result.documents
    ]
    return ExtractionResult(documents, result.rejects)


def _is_encrypted(data: bytes) -> bool:
    """By [MS-DOC] 2.5.2, bit fEncrypted, and [MS-PPT] 2.3.2, headerToken."""
    document, user = ole.stream(data, "WordDocument")[:12], ole.stream(data, "Current User")[:16]
    return (len(document) == 12 and bool(document[11] & 1)) or user[12:] == b"\xdf\xc4\xd1\xf3"


def _convert(program: str, data: bytes, suffix: str, target: str, uri: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="ingot-convert-") as scratch:
        folder = Path(scratch)
        source = folder / f"document.{suffix}"
        source.write_bytes(data)
        command = [
            program, f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--norestore",
            "--nolockcheck", "--nodefault", "--nologo", "--convert-to", target, "--outdir", str(folder / "out"),
            str(source),
        ]  # fmt: skip
        environment = {"HOME": scratch, "TMPDIR": scratch, "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
        try:
            _run(command, environment, scratch)
        except subprocess.TimeoutExpired:
            raise ExtractionError(
                "timeout", f"{uri}: LibreOffice did not finish in {_TIMEOUT_SECONDS} s; save it as {target.upper()}"
            ) from None
        result = folder / "out" / f"document.{target}"
        if not result.is_file():
            raise ExtractionError(
                "parser_error",
                f"{uri}: LibreOffice made no {target.upper()} of it: it is damaged, protected by a password or of "
                "another format; open it by hand, or exclude it",
            )
        return result.read_bytes()


def _run(command: list[str], environment: dict[str, str], folder: str) -> None:
    """Run to the end or kill it with its children: the program is a script that starts another."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(_TIMEOUT_SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _program() -> str | None:
    return shutil.which("soffice") or shutil.which("libreoffice")


@functools.cache
def _version() -> str:
    program = _program()
    if program is None:
        return _ABSENT
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return "unknown"
    return " ".join(told.split()[:3]) or "unknown"  # `LibreOffice 7.4.7.2 40(Build:2)`
